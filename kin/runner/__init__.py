"""What happens: claim, pipeline, step, supervisor, gates, merge, recover, undo."""
