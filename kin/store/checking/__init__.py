"""What `kin check` looks for in the files of `.kin/`, and what it can mend."""
