"""Where batches enter models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask.layers.graph import input_symbol
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register


@register
class InputLayer(Layer):
    """Where a batch enters a model."""

    def __init__(
        self, shape: Sequence[int | None], dtype: Any = "float32", *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.shape: Any = tuple(shape) if isinstance(shape, list | tuple) else shape
        self.dtype = np.dtype(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "dtype": self.dtype.name, "name": self.name}


def Input(  # noqa: N802
    shape: Sequence[int | None], dtype: npt.DTypeLike = "float32", *, name: str | None = None
) -> Any:
    """What stands for a batch until the model is called.

    >>> import ragmask as rm
    >>> rm.layers.Input((None, 12), name="frames")
    Symbol(shape (rows, time, 12), float32, from 'frames')

    shape : of a row: (None,) for steps that are numbers, such as ids, (None, features) for steps
        that are vectors, (features,) for a vector that has no time.
    """
    layer = InputLayer(shape, dtype, name=name)
    return input_symbol(layer, layer.shape, layer.dtype)
