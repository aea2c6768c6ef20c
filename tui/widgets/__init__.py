"""One widget per file, its style beside it."""
