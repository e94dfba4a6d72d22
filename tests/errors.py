"""Patterns for what errors say."""


def inside(layer, message):
    """A message, and the note of the layer that it comes from."""
    return rf"(?s){message}.*in layer '{layer}'"
