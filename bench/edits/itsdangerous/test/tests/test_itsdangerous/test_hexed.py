from itsdangerous.encoding import hexed


def test_hexed():
    assert hexed("a") == "61"
