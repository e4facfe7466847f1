"""REST to gRPC; knows no business."""
