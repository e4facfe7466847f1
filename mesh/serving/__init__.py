"""The server side of calls: dispatch, access and bounds, for lanes and unary gRPC."""
