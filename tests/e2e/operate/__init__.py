"""Operations: the runner, its commands, pages, metrics, tools."""
