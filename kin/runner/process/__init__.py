"""Processes of agents and gates: started, read, limited, ended, and all that they leave behind."""
