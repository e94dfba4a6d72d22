"""Long short-term memory over ragged rows."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ragmask import threads
from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.protocol import Array, Ints
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError
from ragmask.kernels.cells import LSTM, Cell
from ragmask.kernels.constants import MOST_SLOTS, MULTIPLY_NS, STATES_NS, TILE_ROWS
from ragmask.kernels.registry import COUNT_KEPT
from ragmask.ops.input import Input, floats
from ragmask.ops.recurrent_cuda import run_on_cuda
from ragmask.ops.states import initial_states
from ragmask.rows.rows import Rows
from ragmask.threads import run_chunks
from ragmask.weights import LSTMWeights

_NO_IDS, _NO_MASK = read_only(np.empty(0, np.int64)), read_only(np.empty(0, np.bool_))


class LSTMResult(NamedTuple):
    """What `lstm` gives: outputs a step (None with outputs=False), and the last states."""

    outputs: Any
    h: Array
    c: Array


def lstm(
    x: Ragged | Padded | Any,
    weights: LSTMWeights,
    *,
    mask: Any = None,
    initial_state: tuple[Any, Any] | None = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    outputs: bool = True,
    out: Any = None,
) -> LSTMResult:
    """Run an LSTM over the kept steps of each row.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> weights = rm.LSTMWeights(np.ones((2, 12)), np.ones((3, 12)), np.zeros(12))
    >>> rows = rm.Ragged.from_rows([[[1.0, 0.5], [0.0, 1.0]], [[0.5, 0.5]]])
    >>> result = rm.lstm(rows, weights)
    >>> result.outputs
    Ragged(2 rows, 3 steps, 3 float64, lengths 1–2)
      [[0.5144 0.5144 0.5144] [0.8547 0.8547 0.8547]]
      [[0.3696 0.3696 0.3696]]
    >>> bool((result.h[0] == result.outputs[0][-1]).all())
    True

    Parameters
    ----------
    x : Ragged, Padded or array (rows, width, features), float16, float32 or float64. Its dtype is
        the one computed in (float16 in float32), and the one given back.
    weights : LSTMWeights of that many features.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.
    initial_state : (h, c), each (rows, units); by default zeros.
    go_backwards : read each row from its end. Outputs stay aligned with the input's steps.
    zero_output_for_mask : outputs of masked steps are 0, not the output before them.
    outputs : False computes the last states alone, and needs no memory for outputs.
    out : an array to write outputs to: (n_steps, units), or (rows, width, units) for Padded and
        arrays.

    Returns LSTMResult(outputs, h, c): outputs in x's kind, with its mask; h and c (rows, units)
    after each row's last kept step. A masked step leaves the states alone. A row with no kept
    step returns its initial state, and 0 as every output. Each number is the same, bit for bit,
    whatever the other rows, the layout and the number of threads.

    Rows are dealt to threads by length, and each thread keeps a few in flight at once; see
    `ragmask.kernels.cpu.lstm`. Raises InvalidInputError for features or states that do not fit.
    """
    if not isinstance(weights, LSTMWeights):
        raise UnsupportedTypeError(
            f"weights must be LSTMWeights; got {type(weights).__name__}: read arrays with "
            "LSTMWeights(kernel, recurrent_kernel, bias), from_keras or from_torch"
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
    initial = initial_states(initial_state, "hc", given, weights.units)
    run: Any = given.arrays.twin(_run_on_host, run_on_cuda)
    options = bool(go_backwards), bool(zero_output_for_mask)
    steps, (h, c) = run(given, rows, weights, initial, options, outputs, out)
    if outputs:
        steps = given.give(steps, given.rows.compact_mask())
    return LSTMResult(steps, h, c)


def _run_on_host(
    given: Input,
    rows: Rows,
    weights: LSTMWeights,
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
    last = _compute(LSTM, given, rows, _NO_IDS, packed, initial, options, target)
    if output is not None and target is not output:
        output[...] = target
    return output, tuple(state.astype(dtype, copy=False) for state in last)


def lstm_of_ids(
    ids: Input,
    panels: Array,
    table: Array,
    units: int,
    *,
    go_backwards: bool,
    zero_output_for_mask: bool,
    outputs: bool,
) -> LSTMResult:
    """`lstm` over the vectors of ids, whose products with the kernel lie in a table already.

    ids int64, checked; panels and table as `LSTMWeights.packed_for_ids` gives them. The results
    are those of the vectors themselves, but for rounding.
    """
    rows = ids.rows
    nothing = rows.over(read_only(HOST.empty((rows.n_steps, 0), table.dtype)))
    zeros = read_only(HOST.full(0, (len(rows), units), table.dtype))
    output = HOST.empty((rows.n_steps if outputs else 0, units), table.dtype)
    options = go_backwards, zero_output_for_mask
    h, c = _compute(
        LSTM, ids, nothing, rows.values, (panels, table), (zeros, zeros), options, output
    )
    return LSTMResult(ids.give(output, rows.mask) if outputs else None, h, c)


def _compute(
    cell: Cell,
    given: Input,
    rows: Rows,
    ids: Ints,
    packed: tuple[Array, Array],
    initial: tuple[Array, ...],
    options: tuple[bool, bool],
    output: Array,
) -> tuple[Array, ...]:
    """Write the outputs, and give the last states. options (go_backwards, zero_output_for_mask)."""
    last = tuple(HOST.empty(state.shape, state.dtype) for state in initial)
    kept = _kept_lengths(rows)
    units = initial[0].shape[1]
    multiplies = (rows.item_shape[0] + units) * cell.gates * units
    order, chunks = _deal(kept, kept * (MULTIPLY_NS * multiplies) + STATES_NS)
    mask = _NO_MASK if rows.mask is None else rows.mask
    run_chunks(
        cell.cpu,
        chunks,
        (order, rows.values, ids, rows.starts, rows.lengths, mask),
        tuple(packed),
        (initial, last),
        (_slots(kept, len(chunks)), *options),
        (given.out_starts, output),
    )
    return last


def _kept_lengths(rows: Rows) -> Ints:
    if rows.mask is None:
        return rows.lengths
    kept = np.empty(len(rows), np.int64)
    HOST.run(COUNT_KEPT, rows.lengths, 0, rows.mask, rows.starts, rows.lengths, kept)
    return kept


def _deal(kept: Ints, cost_ns: Any) -> tuple[Ints, list[tuple[int, int]]]:
    """Rows by length, longest first, dealt out like cards: one hand a thread."""
    by_length = np.argsort(-kept, kind="stable")
    is_worth_it = cost_ns.sum() > threads.WORTH_A_THREAD_NS
    count = min(threads.get_num_threads(), len(kept)) if is_worth_it else 1
    turn = np.arange(len(kept)) % (2 * count)  # 0 1 1 0: the first is not always the longest
    hands = [by_length[(turn == hand) | (turn == 2 * count - 1 - hand)] for hand in range(count)]
    edges = np.cumsum([0, *map(len, hands)]).tolist()
    chunks = [(first, last) for first, last in pairwise(edges) if first < last]
    return read_only(np.concatenate(hands) if hands else by_length), chunks


def _slots(kept: Ints, hands: int) -> int:
    """How many rows a thread keeps in flight.

    As many as keep the longest row company to its end: with more, it would go on alone.
    """
    longest = int(kept.max(initial=0))
    if longest == 0:
        return 1
    company = -(-int(kept.sum()) // (longest * hands))
    return min(MOST_SLOTS, -(-company // TILE_ROWS) * TILE_ROWS)
