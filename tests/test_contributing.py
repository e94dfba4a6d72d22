"""CONTRIBUTING.md lists the modules that there are."""

from tests import layout


def test_the_layout_is_up_to_date():
    text = layout.PAGE.read_text(encoding="utf-8")
    assert layout.MARKED.search(text)
    assert text == layout.page(), "run `python tests/layout.py --write`"
