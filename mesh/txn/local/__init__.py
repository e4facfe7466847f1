"""The coordinator's own participant, in its process: no RPC."""
