"""The classes of layers that saved models, and configs, know by their names."""

from typing import Any, TypeVar

import numpy as np

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.initializers import is_name
from ragmask.layers.weighted import Weighted

REGISTERED: dict[str, type[Any]] = {}  # which are made of their arguments
MODELS: dict[str, type[Any]] = {}  # which are made of the layers they run
L = TypeVar("L", bound=type[Weighted])
_CLASS, _CONFIG = "class_name", "config"  # as Keras calls them


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
    if not (isinstance(cls, type) and issubclass(cls, Weighted)):
        raise UnsupportedTypeError(f"register takes a class of layers; got {cls!r}")
    taken = (MODELS | REGISTERED).get(cls.__name__, cls)
    if (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
        raise InvalidInputError(f"a layer is registered as {cls.__name__!r} already: {taken!r}")
    REGISTERED[cls.__name__] = cls
    return cls


def serialized(value: Any) -> Any:
    """The same with each layer as its class's name and its config, and no numpy in it."""
    if isinstance(value, Weighted):
        return {_CLASS: type(value).__name__, _CONFIG: value.get_config()}  # type: ignore[attr-defined]
    if isinstance(value, list | tuple):
        return type(value)(map(serialized, value))
    if isinstance(value, dict):
        return {key: serialized(one) for key, one in value.items()}
    if isinstance(value, np.dtype):
        return value.name
    return value.item() if isinstance(value, np.generic) else value


def from_serialized(value: Any) -> Any:
    """What `serialized` was given, its layers made anew; of Keras's config of a dtype, its name."""
    if isinstance(value, list | tuple):
        return type(value)(map(from_serialized, value))
    if not isinstance(value, dict):
        return value
    if not {_CLASS, _CONFIG} <= value.keys():
        return {key: from_serialized(one) for key, one in value.items()}
    if value[_CLASS] == "DTypePolicy":
        return value[_CONFIG]["name"]
    cls = (MODELS | REGISTERED).get(value[_CLASS])
    if cls is None and is_name(value[_CLASS]):
        return value  # of an initializer
    if cls is None:
        raise InvalidInputError(
            f"{value[_CLASS]!r} is no layer that is known here: import what defines it, with "
            "@rm.layers.register above it"
        )
    return cls.from_config(value[_CONFIG])
