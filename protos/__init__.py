"""The contracts, each with its generated code beside it."""

from pathlib import Path

DESCRIPTORS = Path(__file__).with_name("descriptors.binpb")
"""The file with every descriptor and its comments; `python -m protos.generate` writes it."""
