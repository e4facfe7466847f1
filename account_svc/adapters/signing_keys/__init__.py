"""The folder of keys that players' tokens are signed with."""
