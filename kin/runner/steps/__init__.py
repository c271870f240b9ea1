"""One step of a pipeline: who plays it, what it is told, and what its end means."""
