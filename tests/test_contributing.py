"""CONTRIBUTING.md shows the source tree as it is."""

from tests.layout import current, layout


def test_its_layout_is_up_to_date():
    assert current()[0] == layout(), "python tests/layout.py --write brings it up to date"


def test_every_module_says_what_it_is():
    lines = layout().split("```")[1].splitlines()
    assert len(lines) > 50
    assert not [
        line for line in lines if len(line.split()) < 2 and line not in ("text", "ragmask/")
    ]
