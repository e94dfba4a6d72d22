"""Layers of Keras's that are not here say why."""

import pytest

import ragmask as rm
from ragmask import layers
from ragmask.layers.elsewhere import ELSEWHERE


@pytest.mark.parametrize("name", ["Conv2D", "Lambda", "RandomFlip", "StringLookup"])
def test_they_say_why(name):
    with pytest.raises(rm.MissingAttributeError, match=f"has no {name}: it "):
        getattr(layers, name)
    assert not hasattr(layers, name)


def test_what_nobody_has_is_missing_as_ever():
    with pytest.raises(AttributeError, match=r"ragmask\.layers' has no attribute 'Conv9D'"):
        layers.Conv9D  # noqa: B018


def test_what_is_here_is_not_among_them():
    """A layer that is made leaves the list of those that are not."""
    assert not set(ELSEWHERE) & set(dir(layers))
