"""Short runs of the programs in proof/."""
