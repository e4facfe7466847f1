"""Injects faults into a mesh under load and checks that nothing is lost: `make faults`."""
