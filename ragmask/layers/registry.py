"""The classes of layers that saved models know by their names."""

from typing import Any, TypeVar

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.layer import Layer

REGISTERED: dict[str, type[Layer]] = {}  # which are made of their arguments
MODELS: dict[str, type[Any]] = {}  # which are made of the layers they run
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
    taken = (MODELS | REGISTERED).get(cls.__name__, cls)
    if (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
        raise InvalidInputError(f"a layer is registered as {cls.__name__!r} already: {taken!r}")
    REGISTERED[cls.__name__] = cls
    return cls
