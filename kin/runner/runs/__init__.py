"""A run from its claim to its end: begun, planned, sent back, finished, told."""
