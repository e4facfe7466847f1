"""A payment provider to develop and test against; as far as the mesh knows, another company."""
