"""Where batches enter a model, and whether they fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.graph import Symbol, input_symbol
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, shown_shape


@register
class InputLayer(Layer):
    """Where a batch enters a model."""

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        dtype: npt.DTypeLike | None = None,
        *,
        batch_size: int | None = None,
        batch_shape: Sequence[int | None] | None = None,
        optional: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.optional = bool(optional)
        if (shape is None) is (batch_shape is None) or None not in (batch_shape, batch_size):
            raise InvalidInputError(
                "shape is that of a row, batch_shape has the rows before it: an Input takes one of "
                f"them; got {shape!r} and {batch_shape!r}"
            )
        row: Any = shape if batch_shape is None else batch_shape[1:]
        self.shape: Any = row
        if isinstance(row, list | tuple):
            self.shape = tuple(int(one) if isinstance(one, np.integer) else one for one in row)
        self.dtype = np.dtype(np.float32 if dtype is None else dtype)
        self._calls.append(input_symbol(self, self.shape, self.dtype).node)

    @property
    def batch_shape(self) -> tuple[int | None, ...]:
        """With None for the rows, of which there may be any number."""
        return (None, *self.shape)

    def get_config(self) -> dict[str, Any]:
        config = {"shape": list(self.shape), "dtype": self.dtype.name, "name": self.name}
        return {**config, "optional": True} if self.optional else config


def Input(  # noqa: N802
    shape: Sequence[int | None] | None = None,
    dtype: npt.DTypeLike = "float32",
    *,
    batch_size: int | None = None,
    batch_shape: Sequence[int | None] | None = None,
    optional: bool = False,
    name: str | None = None,
) -> Any:
    """What stands for a batch until the model is called.

    >>> import ragmask as rm
    >>> rm.layers.Input((None, 12), name="frames")
    Symbol(shape (rows, time, 12), float32, from 'frames')

    shape : of a row: (None,) for steps that are numbers, such as ids, (None, features) for steps
        that are vectors, (features,) for a vector that has no time.
    batch_shape : in its place, the same with the rows before it, as Keras has it. Batches may have
        any number of rows, whatever it and `batch_size` say.
    optional : whether the model may be called on None in its place.
    """
    return InputLayer(
        shape,
        dtype,
        batch_size=batch_size,
        batch_shape=batch_shape,
        optional=optional,
        name=name,
    ).output


def without_list(structure: Any) -> Any:
    """A list of one symbol is that symbol, as Keras takes it."""
    while isinstance(structure, list | tuple) and len(structure) == 1:
        structure = structure[0]
    return structure


def entry_for(symbol: Symbol) -> Any:
    """An Input of what a layer inside a graph gives."""
    if len(symbol.shape) < 2:
        raise InvalidInputError(f"a model begins with rows of something; {symbol!r} has none")
    return Input(symbol.spec.shape[1:], symbol.dtype, name=symbol.node.layer.name)


def check_entry(model: str, name: str, symbol: Symbol, batch: Any) -> None:
    """Raise where a batch's steps have another shape than its Input says."""
    if batch is None and symbol.node.layer.optional:
        return
    if not isinstance(batch, Spec | Ragged | Padded) and not hasattr(batch, "shape"):
        raise UnsupportedTypeError(
            f"model {model!r}: input {name!r} takes a batch, and is not optional; "
            f"got a {type(batch).__name__}"
        )
    is_spec = isinstance(batch, Spec)
    has_time = batch.kind != "dense" if is_spec else isinstance(batch, Ragged | Padded)
    given: Any = batch.item_shape if has_time else getattr(batch, "shape", (0,))[1:]
    item_shape = symbol.spec.item_shape
    if symbol.spec.kind == "dense":  # of a width that an array has, masked or not
        is_ragged = batch.kind == "ragged" if is_spec else isinstance(batch, Ragged)
        fits = not is_ragged and tuple(batch.shape[1:]) == symbol.spec.shape[1:]
    else:
        fits = given == item_shape if has_time else len(given) > 0 and given[1:] == item_shape
    if not fits:
        hint = ""
        if isinstance(batch, Ragged) and (given, symbol.shape) == ((), (None, None, 1)):
            hint = ": make each number a step of one, x.with_values(x.values[:, None])"
        raise InvalidInputError(
            f"model {model!r}: input {name!r} is of shape {shown_shape(symbol.shape)}; "
            f"got {'steps' if has_time else 'rows'} of shape {given}{hint}"
        )
