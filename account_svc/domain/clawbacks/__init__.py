"""What to take back for money that went back, and what a comparison finds. Pure."""
