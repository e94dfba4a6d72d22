"""The classes of layers that saved models may hold, by their names."""

from typing import Any, TypeVar

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.layer import Layer

_registered: dict[str, type[Layer]] = {}
L = TypeVar("L", bound=type[Layer])


def register(cls: L) -> L:
    """Let saved models hold layers of this class, known by its name.

    >>> import ragmask as rm
    >>> @rm.layers.register
    ... class Twice(rm.layers.Layer):
    ...     def call(self, inputs):
    ...         return inputs * 2

    What `get_config` gives must be JSON, or arrays, dtypes, tuples or layers. Raises
    InvalidInputError for a name that is taken.
    """
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise UnsupportedTypeError(f"register takes a class of layers; got {cls!r}")
    taken = _registered.get(cls.__name__)
    again = taken is not None and (taken.__module__, taken.__qualname__) == (
        cls.__module__,
        cls.__qualname__,
    )
    if taken is not None and not again:
        raise InvalidInputError(f"a layer is registered as {cls.__name__!r} already: {taken!r}")
    _registered[cls.__name__] = cls
    return cls


def registered(name: str) -> type[Layer] | None:
    """The class of that name."""
    return _registered.get(name)


def class_of(name: str) -> Any:
    """The class of that name, which is there."""
    return _registered[name]


def is_model(layer: Layer) -> bool:
    return isinstance(layer, class_of("Model"))
