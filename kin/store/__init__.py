"""What is on disk: reader, text edits, locks, index, tasks, decisions, records, journal."""
