"""What operators do and see: the runner, its commands, pages, metrics, tools."""
