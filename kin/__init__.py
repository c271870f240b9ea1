"""kin: a software company in your git repository."""

__version__ = "0.1.0"
