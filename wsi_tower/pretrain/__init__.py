"""Pre-training: the methods."""
