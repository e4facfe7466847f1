"""Which key signs players' tokens, and who may know it by when. Pure."""
