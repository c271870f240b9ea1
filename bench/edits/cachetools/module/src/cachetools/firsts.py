"""Keys for a whole list of calls."""

from cachetools.keys import firstkey


def firsts(values):
    """Return the keys of calls with one argument each."""

    return [firstkey(value) for value in values]
