"""The command line: parses, calls, prints. One file a command group; no logic, imports made where they are used."""
