"""What a kernel asks of its arguments' types, answered when it is compiled."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload


def by_precision(single: Callable[..., Any], double: Callable[..., Any]) -> Callable[[Any], Any]:
    """One name for two compiled functions of a number: float32's and float64's."""

    def function(x: Any) -> Any:
        return single(x) if isinstance(x, np.float32) else double(x)

    def call_single(x: Any) -> Any:
        return single(x)

    def call_double(x: Any) -> Any:
        return double(x)

    @overload(function)
    def choose(x: Any) -> Any:
        return call_single if x == types.float32 else call_double

    return function


def computed_in(x: Any) -> Any:
    """The type in which the numbers of an array are computed: float32 for float16, else its own."""
    return np.float32 if x.dtype == np.float16 else x.dtype.type


def shuffled_in(value: Any) -> Any:
    """The type in which a number is handed from lane to lane: numba-cuda shuffles no uint64."""
    return value.dtype.type


def bytes_of_item(x: Any) -> int:
    """The bytes of an array's item, known when the kernel is compiled."""
    size: int = x.itemsize
    return size


@overload(computed_in)
def _computed_in(x: Any) -> Any:
    name = str(getattr(x, "dtype", x))  # of an array, or of a number
    dtype = np.dtype("float32" if name == "float16" else name).type

    def number_type(x: Any) -> Any:
        return dtype

    return number_type


@overload(shuffled_in)
def _shuffled_in(value: Any) -> Any:
    dtype = np.dtype("int64" if str(value) == "uint64" else str(value)).type

    def number_type(value: Any) -> Any:
        return dtype

    return number_type


@overload(bytes_of_item)
def _bytes_of_item(x: Any) -> Any:
    size = np.dtype(str(x.dtype)).itemsize

    def item_size(x: Any) -> int:
        return size

    return item_size
