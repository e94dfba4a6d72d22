"""Keras's operations of each number, and its brackets, as the layers that do the same."""

from typing import Any

import keras
import numpy as np

from ragmask import layers
from ragmask.layers.graph import Symbol
from ragmask.layers.layer import snake_case


def called_on(node: Any, given: list[Any]) -> Any:
    """What an operation gives for what it is given, symbols among it.

    As in Keras the mask is forgotten, and a layer behind it that would use it gives a warning.
    """
    operation = node.operation
    if type(operation).__name__ == "GetItem":
        symbol, key = given
        entries = key if isinstance(key, tuple) else (key,)
        return layers.GetItem(entries, keeps_mask=False, name=operation.name)(symbol)
    name = _name_in_numpy(operation)
    operands = [*given, 0] if type(operation).__name__ == "Relu" else given
    symbols = [one for one in operands if isinstance(one, Symbol)]
    constants = [None if isinstance(one, Symbol) else _constant(one) for one in operands]
    layer = layers.Operation(name, constants, keeps_mask=False, name=operation.name)
    return layer(symbols if len(symbols) > 1 else symbols[0])


def is_known(node: Any) -> bool:
    """Whether an operation is one of each number, or brackets."""
    operation, arguments = node.operation, node.arguments
    kind = type(operation)
    if not kind.__module__.startswith("keras.src.ops") or any(arguments.kwargs.values()):
        return False
    if kind.__name__ == "GetItem":
        return len(arguments.args) == 2
    function = getattr(np, _name_in_numpy(operation), None)
    is_of_each = isinstance(function, np.ufunc) and function.signature is None
    wanted = 1 if kind.__name__ == "Relu" else getattr(function, "nin", None)
    return is_of_each and len(arguments.args) == wanted


def _name_in_numpy(operation: Any) -> str:
    name = snake_case(type(operation).__name__)
    return "maximum" if name == "relu" else name


def _constant(given: Any) -> Any:
    array = np.asarray(keras.ops.convert_to_numpy(given))
    return array.item() if array.ndim == 0 else array
