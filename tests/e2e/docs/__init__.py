"""What README, the pages in docs/ and /docs show works as it is written."""
