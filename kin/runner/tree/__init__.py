"""A task's own checkout, and what is saved of the work in it."""
