"""What an error says in all: its message, and the notes that layers and files add."""

import re
from contextlib import contextmanager

import pytest


def told(error):
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


@contextmanager
def raises(kind, match, layer=None):
    """An error of that kind, whose message matches; of that layer, where one is named."""
    with pytest.raises(kind) as caught:
        yield caught
    assert re.search(match, str(caught.value)), told(caught.value)
    if layer is not None:
        assert f"in layer {layer!r}" in told(caught.value).splitlines(), told(caught.value)
