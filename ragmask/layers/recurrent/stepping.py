"""Cells of any class over the kept steps of rows, in a loop of Python: one call a step."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ragmask.arrays.protocol import Array, Ints
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError
from ragmask.layers.recurrent.cells import GatedCell
from ragmask.layers.recurrent.gates import Gated
from ragmask.layers.recurrent.stacks import (
    as_list,
    call_cell,
    flat,
    initial_state,
    name_of,
    output_size,
    reset_dropout,
)
from ragmask.layers.spec import Spec, shown_shape
from ragmask.ops.input import Input, floats

Step = Callable[[Array, list[Array]], tuple[Array, list[Array]]]


class Result(NamedTuple):
    """What a recurrent layer computes: sequences aligned with the input's steps, or None, the
    output of each row's last kept step, and its last states, in lists as they came."""

    outputs: Any
    last: Array
    states: list[Any]


def first_states(cell: Any, rows: int, dtype: Any) -> list[Any]:
    """The states that a cell says rows begin with, checked."""
    states = as_list(initial_state(cell, rows, dtype))
    for one in flat(states):
        if np.ndim(one) < 2 or len(one) != rows:
            raise InvalidInputError(
                f"cell {name_of(cell)}: get_initial_state(batch_size={rows}) gave a state of shape "
                f"{np.shape(one)}; states are (rows, units)"
            )
    return states


def states_given(given: Any, first: list[Any], names: Sequence[str]) -> list[Any]:
    """The states that a caller brings, arrays or what is known of them, checked to be like those
    that a cell begins with."""
    wanted, states = flat(first), flat(given)
    if len(states) != len(wanted):
        count = f"{len(wanted)} array{'s' if len(wanted) != 1 else ''}"
        shapes = " and ".join(shown_shape(one.shape) for one in wanted)
        raise InvalidInputError(
            f"initial_state is {count}, {', '.join(names)}, of shape {shapes}; got {len(states)}"
        )
    return [_checked(*one) for one in zip(states, wanted, names, strict=True)]


def _checked(state: Any, own: Any, name: str) -> Any:
    if hasattr(state, "__cuda_array_interface__"):
        raise DeviceError("states of a batch on the host live there too: move initial_state")
    array = state if isinstance(state, Spec) else np.asarray(state)
    if array.dtype.kind not in "biuf":
        raise UnsupportedTypeError(f"initial_state's {name} holds no reals; got {array.dtype}")
    shape = array.input_shape if isinstance(array, Spec) else array.shape
    fits = [None in pair or len(set(pair)) == 1 for pair in zip(shape, own.shape, strict=False)]
    if len(shape) != len(own.shape) or not all(fits):
        raise InvalidInputError(
            f"initial_state's {name} has shape {shown_shape(shape)}; (rows, units) is "
            f"{shown_shape(own.shape)}"
        )
    return array


def like(structure: Any, states: list[Any]) -> list[Any]:
    """Arrays in the lists of another structure of as many."""
    left = iter(states)

    def packed(one: Any) -> Any:
        return [packed(part) for part in one] if isinstance(one, list | tuple) else next(left)

    return [packed(one) for one in structure]


def step_by_step(
    cell: Any,
    x: Any,
    first: list[Any],
    initial: list[Array],
    *,
    training: bool,
    go_backwards: bool,
    zero_output_for_mask: bool,
    outputs: bool,
) -> Result:
    """Run a cell over the kept steps of each row. first : what `first_states` gave.

    Rows go by length: each step takes those that have one, so that nothing of rows × width is made.
    """
    given = Input.of(x)
    if not given.arrays.is_host:
        raise DeviceError("cells that have no kernels run on the host: pass x.to_host()")
    rows = floats(given.rows.compact(), "x")
    at, counts = _kept_steps(rows.mask, rows.lengths)
    order = np.argsort(-counts, kind="stable")
    begin = (np.cumsum(counts) - counts)[order]
    counts = counts[order]
    step = _step_of(cell, first, training, rows.dtype)
    size = output_size(cell)
    made = np.zeros((rows.n_steps if outputs else 0, size), rows.dtype)
    states = [one.astype(rows.dtype)[order] for one in initial]
    ends = [one.copy() for one in states]
    last = _output_before(cell, first, initial, size).astype(rows.dtype)[order]
    active = np.searchsorted(-counts, -np.arange(counts[0] if len(counts) else 0), "left")
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            for number, n in enumerate(active):
                index = counts[:n] - 1 - number if go_backwards else number
                steps = at[begin[:n] + index]
                output, states = step(rows.values[steps], [one[:n] for one in states])
                left = active[number + 1] if number + 1 < len(active) else 0
                for end, one in zip([last, *ends], [output, *states], strict=True):
                    end[left:n] = one[left:]
                if outputs:
                    made[steps] = output
    finally:
        reset_dropout(cell)
    steps = None
    if outputs:
        if rows.mask is not None and not zero_output_for_mask:
            made = _repeated(made, rows.mask, rows.starts, rows.lengths, go_backwards)
        steps = given.give(made.astype(given.rows.dtype, copy=False), given.rows.compact_mask())
    back = np.argsort(order)
    last, *ends = (one[back].astype(given.rows.dtype, copy=False) for one in (last, *ends))
    return Result(steps, last, like(first, ends))


def _has_own_call(cell: Gated) -> bool:
    return isinstance(cell, GatedCell) and type(cell).call is not GatedCell.call


def _kept_steps(mask: Any, lengths: Ints) -> tuple[Ints, Ints]:
    """Where the kept steps of rows that lie end to end are, and how many each row has."""
    if mask is None:
        return np.arange(lengths.sum()), lengths
    at = np.flatnonzero(mask)
    edges = np.searchsorted(at, np.cumsum(lengths), "left")
    return at, np.diff(edges, prepend=0)


def _repeated(made: Array, mask: Any, starts: Ints, lengths: Ints, go_backwards: bool) -> Array:
    """At masked steps the output that was computed before them; zeros where there is none."""
    n, ends = len(made), np.repeat(starts + lengths, lengths)
    if go_backwards:
        source = np.where(mask, np.arange(n), n)
        source = np.minimum.accumulate(source[::-1])[::-1]
        is_there = source < ends
    else:
        source = np.maximum.accumulate(np.where(mask, np.arange(n), -1))
        is_there = source >= np.repeat(starts, lengths)
    repeated = made[np.where(is_there, source, 0)]
    repeated[~is_there] = 0
    return repeated


def _output_before(cell: Any, first: list[Any], initial: list[Array], size: int) -> Array:
    """The output of rows that have no kept step: the first state, of a stack's last cell, where
    that can be one, else zeros."""
    states = like(first, initial)
    state = states[-1] if len(getattr(cell, "cells", [])) > 1 else states[0]
    state = flat(state)[0]
    return state if state.shape[1:] == (size,) else np.zeros((len(state), size), state.dtype)


def _step_of(cell: Any, first: list[Any], training: bool, dtype: Any) -> Step:
    """A cell's step on arrays, and its results checked."""
    if isinstance(cell, Gated) and not _has_own_call(cell):
        return lambda inputs, states: cell.step(inputs, states, training)
    item_shapes = [one.shape[1:] for one in flat(first)]
    size = output_size(cell)

    def checked(given: Any, shape: tuple[int, ...], what: str) -> Array:
        array = np.asarray(given)
        if array.dtype.kind not in "biuf" or array.shape != shape:
            raise InvalidInputError(
                f"cell {name_of(cell)} gave {what} of shape {array.shape}, {array.dtype}; it is to "
                f"be of shape {shape}, real"
            )
        return array.astype(dtype, copy=False)

    def step(inputs: Array, states: list[Array]) -> tuple[Array, list[Array]]:
        output, new = call_cell(cell, inputs, like(first, states), training)
        after = flat(new)
        if len(after) != len(item_shapes):
            raise InvalidInputError(
                f"cell {name_of(cell)} gave {len(after)} new states; it has {len(item_shapes)}"
            )
        n = len(inputs)
        return checked(output, (n, size), "an output"), [
            checked(one, (n, *shape), f"state {number}")
            for number, (one, shape) in enumerate(zip(after, item_shapes, strict=True))
        ]

    return step
