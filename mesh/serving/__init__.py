"""The server side of a call: dispatch, access and bounds, whatever carried it."""
