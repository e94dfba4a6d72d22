"""Long short-term memory over ragged rows."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ragmask import threads
from ragmask.arrays.coerce import values_array
from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.protocol import Array, Ints
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError
from ragmask.kernels.registry import COUNT_KEPT
from ragmask.ops.input import Input, floats
from ragmask.ops.recurrent_cuda import lstm_on_cuda
from ragmask.rows.rows import Rows
from ragmask.threads import run_chunks
from ragmask.weights import LSTMWeights

# More rows in flight than this brought nothing: the weights' panels are reused enough.
_MOST_SLOTS = 48
_TILE_ROWS = 6  # as in kernels/cpu/lstm.py
_NS_PER_MULTIPLY = 0.02
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
    run = given.arrays.twin(_lstm_on_host, lstm_on_cuda)
    options = bool(go_backwards), bool(zero_output_for_mask), outputs, out
    return LSTMResult(*run(given, weights, initial_state, *options))


def _lstm_on_host(
    given: Input,
    weights: LSTMWeights,
    initial_state: Any,
    go_backwards: bool,
    zero_output_for_mask: bool,
    outputs: bool,
    out: Any,
) -> tuple[Any, Any, Any]:
    rows, dtype = floats(given.rows, "x"), given.rows.dtype
    if weights.device != "cpu":
        raise DeviceError(
            f"x lives on the host, and the weights on {weights.device}: pass x.to_device(), or "
            "the weights that to_device() was called on"
        )
    state_shape = (len(rows), weights.units)
    states = _states(initial_state, state_shape, rows.dtype)
    if outputs:
        output = given.output((weights.units,), dtype, out)
    else:
        output = HOST.empty((0, weights.units), dtype)
    target = output if output.dtype == rows.dtype else HOST.empty(output.shape, rows.dtype)
    h, c = _compute(
        given,
        rows,
        _NO_IDS,
        *weights.packed(rows.dtype),
        *states,
        go_backwards,
        zero_output_for_mask,
        target,
    )
    h, c = h.astype(dtype, copy=False), c.astype(dtype, copy=False)
    if not outputs:
        return None, h, c
    if target is not output:
        output[...] = target
    return given.give(output, given.rows.compact_mask()), h, c


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
    zeros = _states(None, (len(rows), units), table.dtype)
    nothing = read_only(HOST.empty((rows.n_steps, 0), table.dtype))
    output = HOST.empty((rows.n_steps if outputs else 0, units), table.dtype)
    h, c = _compute(
        ids,
        rows.over(nothing),
        rows.values,
        panels,
        table,
        *zeros,
        go_backwards,
        zero_output_for_mask,
        output,
    )
    return LSTMResult(ids.give(output, rows.mask) if outputs else None, h, c)


def _compute(
    given: Input,
    rows: Rows,
    ids: Ints,
    panels: Array,
    start: Array,
    h0: Array,
    c0: Array,
    go_backwards: bool,
    zero_output_for_mask: bool,
    output: Array,
) -> tuple[Array, Array]:
    """Write the outputs, and give the last states."""
    from ragmask.kernels import cpu

    h, c = (HOST.empty(h0.shape, rows.dtype) for _ in "hc")
    kept = _kept_lengths(rows)
    units = h0.shape[1]
    multiplies = (rows.item_shape[0] + units) * 4 * units
    order, chunks = _deal(kept, kept * (_NS_PER_MULTIPLY * multiplies) + 100.0)
    run_chunks(
        cpu.lstm,
        chunks,
        order,
        rows.values,
        ids,
        rows.starts,
        rows.lengths,
        _NO_MASK if rows.mask is None else rows.mask,
        panels,
        start,
        h0,
        c0,
        _slots(kept, len(chunks)),
        go_backwards,
        zero_output_for_mask,
        given.out_starts,
        output,
        h,
        c,
    )
    return h, c


def _states(initial: Any, shape: tuple[int, int], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    if initial is None:
        zeros = read_only(np.zeros(shape, dtype))
        return zeros, zeros
    if not isinstance(initial, tuple | list) or len(initial) != 2:
        raise InvalidInputError(
            f"initial_state is a pair (h, c), each of shape {shape}; got {type(initial).__name__}"
        )
    states = []
    for name, state in zip("hc", initial, strict=True):
        array = values_array(state, f"initial_state's {name}")
        if array.dtype.kind not in "biuf":
            raise UnsupportedTypeError(f"initial_state's {name} holds no reals; got {array.dtype}")
        if array.shape != shape:
            raise InvalidInputError(
                f"initial_state's {name} has shape {array.shape}; (rows, units) is {shape}"
            )
        states.append(read_only(array.astype(dtype)))
    return states[0], states[1]


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
    return min(_MOST_SLOTS, -(-company // _TILE_ROWS) * _TILE_ROWS)
