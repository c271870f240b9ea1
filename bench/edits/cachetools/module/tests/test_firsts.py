from cachetools.firsts import firsts


def test_firsts():
    assert firsts([1, 2]) == [(1,), (2,)]
