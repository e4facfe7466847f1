"""Load generators and connections that several programs of proof use."""
