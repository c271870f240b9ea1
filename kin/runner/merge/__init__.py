"""From a finished branch to a target that moved beside a person's work, and back again (docs/git.md)."""
