"""Cells of any class: checked, built and called; and stacks of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.calls import takes
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register

_MOST_CELLS = 1000  # of stacks in stacks, too, which a small file could make


@register
class StackedRNNCells(Layer):
    """Cells of which each takes the output of the one before: one cell for `RNN`.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> cell = rm.layers.StackedRNNCells([rm.layers.LSTMCell(3), rm.layers.GRUCell(2)])
    >>> output, states = cell(np.ones((2, 4), "f4"), cell.get_initial_state(2))
    >>> output.shape, len(states)
    ((2, 2), 2)

    cells : each a cell as `RNN` takes it.

    Called on (rows, features) and the states of each cell, in a list.
    """

    def __init__(self, cells: Sequence[Any], **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(cells, list | tuple) or not cells:
            raise InvalidInputError(
                f"layer {self.name!r}: cells is a list of one cell or more; got {cells!r}"
            )
        self._size = sum(getattr(one, "_size", 1) for one in cells)
        if self._size > _MOST_CELLS:
            raise InvalidInputError(
                f"layer {self.name!r}: {self._size} cells are more than {_MOST_CELLS}"
            )
        for one in cells:
            check_cell(one, self.name)
        self.cells = list(cells)

    def build(self, input_shape: Any) -> None:
        for one in self.cells:
            build_cell(one, input_shape)
            input_shape = None, output_size(one)

    def call(  # type: ignore[override]
        self, inputs: Any, states: Any, training: bool = False
    ) -> Any:
        if len(states) != len(self.cells):
            raise InvalidInputError(
                f"layer {self.name!r} has {len(self.cells)} cells; it was given the states of "
                f"{len(states)}"
            )
        new = []
        for one, before in zip(self.cells, states, strict=True):
            inputs, after = call_cell(one, inputs, as_list(before), training)
            after = as_list(after)
            new.append(after if isinstance(before, list | tuple) or len(after) > 1 else after[0])
        return inputs, new

    @property
    def state_size(self) -> list[Any]:
        """Those of each cell."""
        return [one.state_size for one in self.cells]

    @property
    def output_size(self) -> int:
        """Features of the last cell's output."""
        return output_size(self.cells[-1])

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """Those of each cell; zeros for a cell that does not say."""
        return [initial_state(one, batch_size or 0, self.dtype) for one in self.cells]

    def reset_dropout_mask(self) -> None:
        """Of all cells: see `LSTMCell`."""
        for one in self.cells:
            reset_dropout(one)


# -- cells of any class: with `call(inputs, states)` and `state_size` -----------------------


def check_cell(cell: Any, layer: str) -> None:
    """Raise for what is no cell."""
    wanted = "a cell has call(inputs, states), which gives the output and the new states"
    is_layer = hasattr(cell, "return_sequences")
    if is_layer or not callable(getattr(cell, "call", None)) or isinstance(cell, type):
        raise UnsupportedTypeError(f"layer {layer!r}: {wanted}; got {cell!r}")
    sizes = getattr(cell, "state_size", None)
    nested = isinstance(cell, StackedRNNCells)
    each = sizes if isinstance(sizes, list | tuple) else [sizes]
    if not nested and not (each and all(_is_size(one) for one in each)):
        raise InvalidInputError(
            f"layer {layer!r}: cell {name_of(cell)} needs state_size, the number of units of its "
            f"state, or a list of one for each of its states; got {sizes!r}"
        )
    size = getattr(cell, "output_size", None)
    if size is not None and not _is_size(size):
        raise InvalidInputError(
            f"layer {layer!r}: cell {name_of(cell)} has output_size {size!r}; it is a number"
        )


def _is_size(given: Any) -> bool:
    is_number = isinstance(given, int | np.integer) and not isinstance(given, bool)
    return bool(is_number and given > 0)


def name_of(cell: Any) -> str:
    kind = type(cell).__name__
    return f"{cell.name!r} ({kind})" if isinstance(cell, Layer) else kind


def build_cell(cell: Any, input_shape: Any) -> None:
    if hasattr(cell, "build") and not getattr(cell, "built", False):
        cell.build(input_shape)
        cell.built = True


def output_size(cell: Any) -> int:
    """Features of a cell's output: by default those of its first state."""
    size = getattr(cell, "output_size", None)
    return int(as_list(cell.state_size)[0] if size is None else size)


def initial_state(cell: Any, rows: int, dtype: Any) -> Any:
    """The states that rows begin with, as the cell says, or zeros."""
    if hasattr(cell, "get_initial_state"):
        return cell.get_initial_state(batch_size=rows)
    if isinstance(cell.state_size, list | tuple):
        return [np.zeros((rows, size), dtype) for size in cell.state_size]
    return np.zeros((rows, cell.state_size), dtype)


def call_cell(cell: Any, inputs: Any, states: Any, training: bool) -> Any:
    """(output, states) of a cell's step."""
    if isinstance(cell, Layer):
        result = cell(inputs, states)  # which knows of training
    else:
        options = {"training": training} if takes(type(cell).call, "training") else {}
        result = cell.call(inputs, states, **options)
    if not isinstance(result, list | tuple) or len(result) != 2:
        raise InvalidInputError(
            f"cell {name_of(cell)}: its call(inputs, states) gives the output and the states, "
            f"(output, states); got {type(result).__name__}"
        )
    return result


def reset_dropout(cell: Any) -> None:
    """Let it draw anew, at the next step, what dropout leaves."""
    for name in ("reset_dropout_mask", "reset_recurrent_dropout_mask"):
        getattr(cell, name, lambda: None)()


def as_list(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def flat(states: Any) -> list[Any]:
    """The arrays in lists of states, in lists of these; numbers in lists are an array."""
    if isinstance(states, list | tuple):
        if states and not _has_arrays(states):
            return [np.asarray(states)]
        return [one for part in states for one in flat(part)]
    return [states]


def _has_arrays(states: Any) -> bool:
    if isinstance(states, list | tuple):
        return any(map(_has_arrays, states))
    return hasattr(states, "shape")
