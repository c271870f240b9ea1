from cachetools.keys import firstkey


def test_firstkey():
    assert firstkey(1, 2, three=3) == (1,)
