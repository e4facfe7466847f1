"""The contracts, each with its generated code beside it."""

from pathlib import Path

DESCRIPTORS = Path(__file__).with_name("descriptors.binpb")
"""Every descriptor with its comments, as `python -m protos.generate` leaves them."""
