"""The folder of keys that sign players' tokens."""
