from itsdangerous.marks import mark


def test_mark():
    assert mark("aaaaaaa") == "61616161"
