"""Load and cost measurements: `python -m proof.bench`.

The load runs in its own process, so that its cost is measured separately; the process reads its
settings as one line of JSON. The programs print measured figures and assert nothing.
"""
