from itsdangerous.encoding import hexed


def mark(value: str | bytes) -> str:
    """The first bytes of a value, for a log."""
    return hexed(value)[:8]
