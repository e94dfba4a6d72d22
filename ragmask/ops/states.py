"""The states that a recurrent layer's rows begin with."""

from typing import Any

import numpy as np

from ragmask import arrow
from ragmask.arrays.coerce import same_device, values_array
from ragmask.arrays.protocol import AnyArray
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.kernels.cells import Cell
from ragmask.ops.input import Input


def initial_states(states: Any, cell: Cell, given: Input, units: int) -> tuple[AnyArray, ...]:
    """The states that rows begin with, checked, in the dtype that is computed in; by default 0.

    states : None, or an array (rows, units) for each of the cell's, alone where it has one.
    """
    arrays, shape = given.arrays, (len(given.rows), units)
    dtype = np.result_type(given.rows.dtype, np.float32)
    if states is None:
        zeros = arrays.read_only(arrays.full(0, shape, dtype))
        return (zeros,) * cell.states
    checked = []
    for name, state in by_name(states, cell, shape).items():
        what = f"initial_state's {name}"
        array = values_array(_of_arrow(state) if arrow.is_arrow(state) else state, what)
        same_device(x=given.rows.values, **{name: array})
        if array.dtype.kind not in "biuf":
            raise UnsupportedTypeError(f"initial_state's {name} holds no reals; got {array.dtype}")
        if array.shape != shape:
            raise InvalidInputError(
                f"initial_state's {name} has shape {array.shape}; (rows, units) is {shape}"
            )
        checked.append(arrays.read_only(array.astype(dtype)))
    return tuple(checked)


def _of_arrow(state: Any) -> Any:
    """Vectors, one a row, as `recur` gives them: where a row was null, its state is 0."""
    return np.ma.filled(arrow.read_scalars(arrow.arrow_array(state)), 0)


def by_name(states: Any, cell: Cell, shape: Any) -> dict[str, Any]:
    """Each of a cell's states, of which one may come alone; shape is for the error."""
    names = "hc"[: cell.states]
    if cell.states == 1 and not (isinstance(states, tuple | list) and len(states) == 1):
        states = (states,)
    if not isinstance(states, tuple | list) or len(states) != cell.states:
        raise InvalidInputError(
            f"initial_state is a pair ({', '.join(names)}), each of shape {shape}; "
            f"got {type(states).__name__}"
        )
    return dict(zip(names, states, strict=True))
