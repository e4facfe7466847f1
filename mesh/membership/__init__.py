"""Which instances are alive, and this instance's place among them."""
