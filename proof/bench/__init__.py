"""Load and cost measurements: `python -m proof.bench`.

The load runs in a process of its own, told what to do in one line of JSON, so that
what it costs is seen apart. What is printed was measured; nothing is asserted.
"""
