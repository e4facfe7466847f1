"""Which versions of other people's packages are installed, and whether they are safe."""
