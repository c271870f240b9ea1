"""Other clones, the remote and the host of a CI job."""
