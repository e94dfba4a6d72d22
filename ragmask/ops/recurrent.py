"""Recurrent layers over ragged rows: what the ops of all cells do."""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ragmask import threads
from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.protocol import AnyArray, Array, Bools, Ints
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError
from ragmask.kernels.cells import Cell
from ragmask.kernels.constants import (
    MOST_SLOTS,
    MULTIPLY_NS,
    PANEL_BYTES,
    STATES_NS,
    TILE_ROWS,
    UNIT_NS,
)
from ragmask.kernels.packing import Packed, pack, pack_for_gradient, unpack_gradient
from ragmask.kernels.registry import COUNT_KEPT
from ragmask.ops.input import Input, floats
from ragmask.ops.recurrent_cuda import gradient_on_cuda, keep_on_cuda, run_on_cuda
from ragmask.ops.states import initial_states
from ragmask.rows.rows import Rows
from ragmask.threads import run_chunks
from ragmask.weights.recurrent import RecurrentWeights

_NO_IDS, _NO_MASK = read_only(np.empty(0, np.int64)), read_only(np.empty(0, np.bool_))


def recur(
    kind: type[RecurrentWeights],
    x: Any,
    weights: Any,
    *,
    mask: Any,
    initial_state: Any,
    go_backwards: bool,
    zero_output_for_mask: bool,
    outputs: bool,
    out: Any,
) -> tuple[Any, tuple[Array, ...]]:
    """The outputs in x's kind, or None, and the last states, of the cell that has such weights."""
    if not isinstance(weights, kind):
        raise UnsupportedTypeError(
            f"weights must be {kind.__name__}; got {type(weights).__name__}: read arrays with "
            f"{kind.__name__}(kernel, recurrent_kernel, bias), from_keras or from_torch"
        )
    given = Input.of(x, mask)
    if given.rows.item_shape != (weights.features,):
        raise InvalidInputError(
            f"x has steps of shape {given.rows.item_shape}; "
            f"the weights were made for ({weights.features},)"
        )
    rows = floats(given.rows, "x")
    if weights.device != given.arrays.place:
        raise DeviceError(
            f"x lives on {given.arrays.place}, and the weights are for batches on "
            f"{weights.device}: pass x.to_device() or .to_host(), or the weights that to_device() "
            "was called on"
        )
    initial = initial_states(initial_state, kind.cell, given, weights.units)
    run: Any = given.arrays.twin(_run_on_host, run_on_cuda)
    options = bool(go_backwards), bool(zero_output_for_mask)
    steps, states = run(given, rows, weights, initial, options, outputs, out)
    if outputs:
        steps = given.give(steps, given.rows.compact_mask())
    return steps, tuple(map(given.give_rows, states))


def _run_on_host(
    given: Input,
    rows: Rows,
    weights: RecurrentWeights,
    initial: tuple[Array, ...],
    options: tuple[bool, bool],
    outputs: bool,
    out: Any,
) -> tuple[Array | None, tuple[Array, ...]]:
    """The outputs, end to end, and the last states, in x's dtype."""
    dtype, output = given.rows.dtype, None
    target = HOST.empty((0, weights.units), rows.dtype)
    if outputs:
        target = output = given.output((weights.units,), dtype, out)
        if dtype != rows.dtype:
            target = HOST.empty(output.shape, rows.dtype)
    packed = weights.packed(rows.dtype)
    out = given.out_starts, target
    last = _compute(weights.cell, rows, _NO_IDS, packed, initial, options, out)
    if output is not None and target is not output:
        output[...] = target
    return output, tuple(state.astype(dtype, copy=False) for state in last)


def recur_over_ids(
    ids: Input,
    weights: RecurrentWeights,
    packed: Packed,
    *,
    go_backwards: bool,
    zero_output_for_mask: bool,
    outputs: bool,
) -> tuple[Any, tuple[Array, ...]]:
    """`recur` over the vectors of ids, whose products with the kernel lie in a table already.

    ids int64, checked; packed is what `packed_for_ids` gave of the weights. The results are those
    of the vectors themselves, but for rounding.
    """
    rows, dtype, units = ids.rows, packed.first_sums.dtype, weights.units
    nothing = rows.over(read_only(HOST.empty((rows.n_steps, 0), dtype)))
    zeros = read_only(HOST.full(0, (len(rows), units), dtype))
    output = HOST.empty((rows.n_steps if outputs else 0, units), dtype)
    options, initial = (go_backwards, zero_output_for_mask), (zeros,) * weights.cell.states
    out = ids.out_starts, output
    last = _compute(weights.cell, nothing, rows.values, packed, initial, options, out)
    return ids.give(output, rows.mask) if outputs else None, last


def _compute(
    cell: Cell,
    rows: Rows,
    ids: Ints,
    packed: tuple[Array, Array],
    initial: tuple[Array, ...],
    options: tuple[bool, bool],
    out: tuple[Array, ...],
) -> tuple[Array, ...]:
    """Write the outputs, and give the last states. options (go_backwards, zero_output_for_mask).

    out (starts, outputs), and where it is to be kept what the gradient takes.
    """
    last = tuple(HOST.empty(state.shape, state.dtype) for state in initial)
    order, slots, chunks = _plan(cell, rows, initial[0].shape[1])
    run_chunks(
        cell.cpu if len(out) == 2 else cell.cpu_keeping,
        chunks,
        (order, rows.values, ids, rows.starts, rows.lengths, _mask_of(rows)),
        tuple(packed),
        (initial, last),
        (slots, *options),
        out,
    )
    return last


def recur_and_keep(
    cell: Cell,
    x: Rows,
    kernel: AnyArray,
    recurrent_kernel: AnyArray,
    bias: AnyArray,
    initial: AnyArray,
    go_backwards: bool,
    keep: bool = True,
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """(outputs, last states, what `recur_gradient` takes of each step), for checked arrays.

    x : rows end to end, of floats that are computed in; all arrays are of their dtype.
    initial, and the last states: (states, rows, units), the outputs first. What is kept is empty
    unless `keep`.
    """
    run: Any = x.arrays.twin(_keep_on_host, keep_on_cuda)
    return run(cell, x, (kernel, recurrent_kernel, bias), initial, go_backwards, keep)


def recur_gradient(
    cell: Cell,
    x: Rows,
    kernel: AnyArray,
    recurrent_kernel: AnyArray,
    bias: AnyArray,
    initial: AnyArray,
    go_backwards: bool,
    outputs: AnyArray,
    kept: AnyArray,
    of_outputs: AnyArray | None,
    of_last: AnyArray | None,
    wants_x: bool = True,
) -> tuple[AnyArray | None, AnyArray, AnyArray, AnyArray, AnyArray]:
    """The gradients of x, if it is wanted, the three weights and the initial states.

    The arguments, outputs and kept are those of `recur_and_keep`. of_outputs (n_steps, units) and
    of_last (states, rows, units) are the gradients of what it gave; None stands for zeros. A masked
    step gets and gives 0: the gradient of its output, which repeats another, is not looked at.
    """
    run: Any = x.arrays.twin(_gradient_on_host, gradient_on_cuda)
    weights, results = (kernel, recurrent_kernel, bias), (outputs, kept)
    return run(cell, x, weights, initial, go_backwards, results, (of_outputs, of_last), wants_x)


def kept_of_a_step(cell: Cell, units: int, number_bytes: int) -> int:
    """How many numbers of a step are kept on the host: those of whole lanes of units."""
    lanes = PANEL_BYTES // number_bytes
    return -(-units // lanes) * lanes * cell.kept


def _keep_on_host(
    cell: Cell, x: Rows, weights: tuple[Array, ...], initial: Array, go_backwards: bool, keep: bool
) -> tuple[Array, Array, Array]:
    units = initial.shape[2]
    kernel, recurrent_kernel, bias = weights
    packed = pack(cell, kernel, recurrent_kernel, bias, x.dtype)
    of_step = kept_of_a_step(cell, units, x.dtype.itemsize) if keep else 0
    fresh = HOST.empty if x.mask is None else partial(HOST.full, 0)  # masked steps are left alone
    kept = fresh((x.n_steps * of_step,), x.dtype)
    outputs = HOST.empty((x.n_steps, units), x.dtype)
    out = (x.starts, outputs, kept) if keep else (x.starts, outputs)
    states, options = tuple(read_only(initial)), (go_backwards, False)
    last = _compute(cell, x, _NO_IDS, packed, states, options, out)
    return outputs, np.stack(last), kept


def _gradient_on_host(
    cell: Cell,
    x: Rows,
    weights: tuple[Array, ...],
    initial: Array,
    go_backwards: bool,
    results: tuple[Array, Array],
    gradients: tuple[Array | None, Array | None],
    wants_x: bool,
) -> tuple[Array | None, Array, Array, Array, Array]:
    kernel, recurrent_kernel, _ = weights
    outputs, kept = map(read_only, results)
    of_outputs, of_last = gradients
    dtype, n, (features, units) = x.dtype, x.n_steps, (len(kernel), len(recurrent_kernel))
    lanes = PANEL_BYTES // dtype.itemsize
    panels = -(-units // lanes) * cell.sums
    fresh = HOST.empty if x.mask is None else partial(HOST.full, 0)  # masked steps are left alone
    of_x = fresh((n, features if wants_x else 0), dtype)
    of_sums = fresh((panels * n * lanes,), dtype)
    of_initial = HOST.empty(initial.shape, dtype)
    if of_outputs is None:
        of_outputs = HOST.empty((0, units), dtype)
    if of_last is None:
        of_last = HOST.full(0, initial.shape, dtype)
    order, slots, chunks = _plan(cell, x, units)
    run_chunks(
        cell.cpu_gradient,
        chunks,
        (order, x.starts, x.lengths, _mask_of(x), kept, read_only(of_outputs)),
        pack_for_gradient(cell, kernel, recurrent_kernel, dtype, wants_x),
        (tuple(read_only(of_last)), tuple(of_initial)),
        (slots, go_backwards),
        (of_x, of_sums),
    )
    inputs = features + 1 + units
    packed = HOST.empty((panels, inputs, lanes), dtype)
    run_chunks(
        cell.cpu_weight_gradient,
        _spans_of(inputs, n * inputs * cell.gates * units),
        (x.starts, x.lengths, _mask_of(x)),
        (x.values, outputs, read_only(initial[0])),
        read_only(of_sums),
        (cell.gates, cell.apart),
        go_backwards,
        packed,
    )
    weight_gradients = unpack_gradient(cell, packed, features, units)
    return (of_x if wants_x else None), *weight_gradients, of_initial


def _spans_of(lines: int, multiplies: int) -> list[tuple[int, int]]:
    """Spans of lines of whole tiles, one a thread where that is worth it."""
    tiles = -(-lines // TILE_ROWS)
    worth = _is_worth_threads(multiplies * MULTIPLY_NS)
    count = min(threads.get_num_threads(), tiles) if worth else 1
    edges = [min(tiles * i // count * TILE_ROWS, lines) for i in range(count + 1)]
    return [*pairwise(edges)]


def _plan(cell: Cell, rows: Rows, units: int) -> tuple[Ints, int, list[tuple[int, int]]]:
    """In which order rows are run, how many of them at once, and which by one thread."""
    kept = _kept_lengths(rows)
    steps = rows.n_steps if kept is rows.lengths else int(kept.sum())
    step_ns = (rows.item_shape[0] + units) * cell.gates * units * MULTIPLY_NS + units * UNIT_NS
    order, chunks = _deal(kept, steps * step_ns + len(rows) * STATES_NS)
    return order, _slots(kept, steps, len(chunks)), chunks


def _mask_of(rows: Rows) -> Bools:
    return _NO_MASK if rows.mask is None else rows.mask


def _kept_lengths(rows: Rows) -> Ints:
    if rows.mask is None:
        return rows.lengths
    kept = np.empty(len(rows), np.int64)
    HOST.run(COUNT_KEPT, rows.lengths, 0, rows.mask, rows.starts, rows.lengths, kept)
    return kept


def _deal(kept: Ints, cost_ns: float) -> tuple[Ints, list[tuple[int, int]]]:
    """Rows by length, longest first, dealt out like cards: one hand a thread."""
    by_length = (-kept).argsort(kind="stable")
    count = min(threads.get_num_threads(), len(kept)) if _is_worth_threads(cost_ns) else 1
    if count < 2:
        return read_only(by_length), [(0, len(kept))][: len(kept)]  # of no rows, none
    turn = np.arange(len(kept)) % (2 * count)  # 0 1 1 0: the first is not always the longest
    hands = [by_length[(turn == hand) | (turn == 2 * count - 1 - hand)] for hand in range(count)]
    edges = np.cumsum([0, *map(len, hands)]).tolist()
    return read_only(np.concatenate(hands)), [*pairwise(edges)]


def _is_worth_threads(cost_ns: float) -> bool:
    """Whether half of the work takes longer than to wake another thread for it."""
    return cost_ns > 2 * threads.WORTH_A_THREAD_NS


def _slots(kept: Ints, steps: int, hands: int) -> int:
    """How many rows a thread keeps in flight.

    As many as keep the longest row company to its end: with more, it would go on alone.
    """
    if steps == 0:
        return 1
    company = -(-steps // (int(kept.max()) * hands))
    return min(MOST_SLOTS, -(-company // TILE_ROWS) * TILE_ROWS)
