"""compare.py's table of what a call costs beside its kernel: 8 rows of 5 steps."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from benchmarks.common import fastest, lstm_weights
from tables import Row, wanted

import ragmask as rm
from ragmask.kernels import cpu
from ragmask.kernels.constants import MEAN

ROWS, STEPS, FEATURES, UNITS = 8, 5, 4, 8


class Call(NamedTuple):
    """A call of the public API, and the compiled kernel beneath it, where there is one."""

    name: str
    run: Callable[[], object]
    kernel: Callable[[], object] | None = None


def overhead():
    """Eight rows of five steps: ids, or 4 features in float32; an LSTM of 8 units. Beside each
    call its kernel, called by itself from Python with the same arrays."""
    for call in (call for call in calls() if wanted(call.name)):
        if call.kernel is None:
            (ours,) = fastest(call.run)
            yield Row(call.name, ours, "–")
        else:
            ours, theirs = fastest(call.run, call.kernel)
            yield Row(call.name, ours, "its kernel", theirs, of="time")


def calls():
    rng, n = np.random.default_rng(0), ROWS * STEPS
    offsets = np.arange(ROWS + 1) * STEPS
    ids = rm.Ragged.from_offsets(rng.integers(0, 50, n), offsets)
    x = rm.Ragged.from_offsets(rng.standard_normal((n, FEATURES), np.float32), offsets)
    table = rng.standard_normal((50, FEATURES), np.float32)
    padded, lists = ids.to_padded(), [row.tolist() for row in ids]
    weights, order = lstm_weights(FEATURES, UNITS), rng.permutation(ROWS)
    halves = rm.temporal_split(x, width=6)
    apart = [half.compact() for half in halves]

    place = ids.starts, ids.lengths, None
    out, flat = np.empty_like(x.values), x.values.reshape(-1)
    words, kept = np.empty(n, np.uint64), np.empty(n, np.bool_)
    id_words, zero = ids.values.view(np.uint64), np.zeros(1, np.uint64)
    zero.flags.writeable = False
    table_words = table.reshape(-1).view(np.uint64)
    table_words.flags.writeable = False
    to = ids.starts, out.reshape(-1)
    to_words = ids.starts, out.reshape(-1).view(np.uint64)
    row_words = FEATURES * 4 // 8

    def kernel(function, *arguments):
        return partial(function, 0, ROWS, *arguments)

    return [
        Call(
            "embedding",
            partial(rm.embedding, ids, table),
            kernel(cpu.embedding, ids.values, *place, table_words, row_words, *to_words),
        ),
        Call(
            "masking",
            partial(rm.masking, x),
            kernel(cpu.masking, x.values, *place, np.float32(0), ids.starts, out, kept),
        ),
        Call("temporal_split", partial(rm.temporal_split, x, width=6)),
        Call("temporal_concat, of a split", partial(rm.temporal_concat, halves)),
        Call("temporal_concat, of copies", partial(rm.temporal_concat, apart)),
        Call(
            "temporal_softmax",
            partial(rm.temporal_softmax, x),
            kernel(cpu.softmax, flat, FEATURES, *place, *to),
        ),
        Call(
            "temporal_pool",
            partial(rm.temporal_pool, x),
            kernel(cpu.pool, x.values, *place, MEAN, out[:ROWS]),
        ),
        Call(
            "temporal_cumsum",
            partial(rm.temporal_cumsum, x),
            kernel(cpu.cumsum, x.values, *place, ids.starts, out),
        ),
        Call(
            "to_padded",
            ids.to_padded,
            kernel(cpu.pad, id_words, *place, zero, (1, STEPS, False), words, kept),
        ),
        Call("Ragged.from_padded", partial(rm.Ragged.from_padded, padded)),
        Call("Ragged.from_offsets", partial(rm.Ragged.from_offsets, ids.values, offsets)),
        Call("Ragged.from_rows, of lists", partial(rm.Ragged.from_rows, lists)),
        Call("truncate", partial(ids.truncate, 3)),
        Call("ids[2:5]", lambda: ids[2:5]),
        Call("ids[order], a permutation", lambda: ids[order]),
        Call("lstm", partial(rm.lstm, x, weights)),
        Call("pad_sequences, of lists", partial(rm.pad_sequences, lists)),
    ]


TABLES = [overhead]
