"""Rows of words and of events, for the tests of the command line."""

WORDS = [["a", "b"], [], None, ["c", None, "d"], ["e"], []]

EVENTS = [
    [{"name": "x", "t": 1}],
    [{"name": "y", "t": None}, None],
    None,
    [],
    [{"name": None, "t": None}],
    [{"name": "z", "t": 3}] * 4,
]
