"""Members of runs as files that run without this package, checked before they are handed over."""
