"""What things are: tasks, decisions, runs, steps, settings, statuses and their legal moves."""
