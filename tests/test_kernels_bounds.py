"""No kernel reads or writes past its arrays, and none needs memory by rows times width."""

from typing import get_args

import numpy as np
import pytest

import ragmask as rm
from ragmask.ops.pool import NUMBERED, How, pool_gradient
from tests.interpreters import run_python
from tests.memory import traced_peak

SMALL_BATCHES = """
import numpy as np
import ragmask as rm
from ragmask.kernels import cpu
from ragmask.layers import fusion
from ragmask.arrays.host import offsets_of
from ragmask.ops.conv import conv_gradient
from ragmask.ops.embeddings import embedding_gradient
from ragmask.ops.cumsum import cumsum_gradient
from ragmask.ops.pool import pool_gradient
from ragmask.ops.softmax import softmax_gradient
from ragmask.rows.padding import pack_rows
from ragmask.rows.rows import add_rows

starts = np.array([5], np.int64)
try:
    cpu.count_kept(0, 1, np.ones(3, bool), starts, np.array([1], np.int64), starts.copy())
except IndexError:
    print("bounds are checked")

def first(batch):
    values = batch.values[..., 0].copy()
    if isinstance(batch, rm.Padded):
        return rm.Padded(values, batch.mask)
    return rm.Ragged(values, batch.starts, batch.lengths, batch.mask)


fusion.pays = lambda *sizes: True
x = np.ones((40, 3), np.float32)
ids = np.arange(40) % 4
starts = [37, 0, 0, 12, 14, 40, 3, *range(20, 29)]
lengths = [3, 0, 7, 3, 3, 0, 20, *range(9)]
mask = np.arange(40) % 3 > 0
for order in (slice(None), slice(0, 0), slice(0, 1), [1, 5], slice(3, 8)):
    for kept in (mask, mask & False):
        rows, id_rows = (rm.Ragged(v, starts, lengths, kept)[order] for v in (x, ids))
        for kind in (lambda r: r, lambda r: r.to_padded()):
            batch = kind(rows)
            rm.masking(batch)
            for how in ("mean", "max", "min", "last", "argmax", "std", "count"):
                rm.temporal_pool(batch, how)
            for causal, dilation in ((True, 1), (False, 30)):
                rm.temporal_conv(batch, x[:4], causal=causal, dilation=dilation)
            rm.temporal_repeat(x[: len(rows)], batch)
            rm.temporal_repeat(x[: len(rows), 0], batch)
            if kind(rows) is rows:
                rm.temporal_pool(rm.Ragged(x[:, 0], rows.starts, rows.lengths, kept), "std")
            for one in (batch, first(batch)):
                rm.temporal_cumsum(one)
                rm.temporal_flip(one)
                rm.temporal_sort(one, descending=True)
                rm.temporal_argsort(one)
                rm.temporal_topk(one, 3)
            {more}
        rows.roll(-2)
        rm.temporal_concat([rows, rows])
        rows.compact()
        longest_first = rows[np.argsort(-rows.lengths)]
        sizes = [(rows.lengths > step).sum() for step in range(rows.max_length)]
        offsets = offsets_of(np.array(sizes, np.int64))
        steps = np.empty((rows.n_steps, 3), np.float32)
        pack_rows(longest_first._rows, offsets[:-1], steps)
        compact = rows.compact()._rows
        for how in ("mean", "max", "min", "last", "std"):
            pool_gradient(compact, how, x[: len(rows)])
        for causal, dilation in ((True, 1), (False, 30)):
            conv_gradient(compact, x[:4], steps, causal, dilation)
        cumsum_gradient(compact, steps)
        embedding_gradient(id_rows.compact()._rows, 4, steps)
        add_rows(steps, rows._rows.layout, len(x))
print("done")
"""

WITH_THE_JIT = """
            rm.embedding(kind(id_rows), x[:4], mask_zero=True)
            rm.temporal_pool(batch, "logsumexp")
            pool_gradient(rows.compact()._rows, "logsumexp", x[: len(rows)])
            soft = rm.temporal_softmax(batch)
            if isinstance(soft, rm.Ragged):
                for features in (1, 3):
                    part = np.ascontiguousarray(soft.values[:, :features])
                    part = rm.Ragged(part, soft.starts, soft.lengths, soft.mask)
                    softmax_gradient(part._rows, part.values)
            for units in (1, 17):
                for layer in (rm.layers.LSTM, rm.layers.GRU, rm.layers.SimpleRNN):
                    recurrent = layer(units, return_sequences=True, go_backwards=units > 1)
                    recurrent(batch)
                    model = rm.layers.Sequential([rm.layers.Embedding(4, 3), recurrent])
                    model(kind(id_rows))  # ids 0 to 3, and a row behind them for masked steps
                    assert type(model._steps[-1]) is fusion.Fused
"""


@pytest.mark.slow
def test_indices_stay_inside_their_arrays(tmp_path):
    """Compiled with Numba's own checks, into a cache of its own."""
    code = SMALL_BATCHES.replace("            {more}\n", WITH_THE_JIT.lstrip("\n"))
    settings = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    said = run_python(code, timeout=400, **settings)  # everything is compiled anew
    assert said.split("\n") == ["bounds are checked", "done"]


def test_indices_stay_inside_their_arrays_without_the_jit():
    """Where numpy checks them. Exp's bits and the LSTM's tile exist compiled only."""
    code = SMALL_BATCHES.replace("            {more}\n", "")
    assert run_python(code, NUMBA_DISABLE_JIT="1").split("\n") == ["bounds are checked", "done"]


def ones(kind):
    return kind(*map(np.ones, kind.shapes(8, 8)))


@pytest.mark.parametrize(
    "op",
    [
        rm.temporal_softmax,
        rm.masking,
        lambda x: rm.temporal_conv(x, np.ones((3, 8))),
        rm.temporal_flip,
        rm.temporal_cumsum,
        rm.temporal_sort,
        lambda x: rm.temporal_pool(x, "mean"),
        lambda x: rm.temporal_pool(x, "std"),
        lambda x: rm.temporal_pool(x, "logsumexp"),
        lambda x: rm.lstm(x, ones(rm.LSTMWeights)),
        lambda x: rm.gru(x, ones(rm.GRUWeights)),
        lambda x: rm.rnn(x, ones(rm.RNNWeights)),
    ],
    ids=[
        "softmax",
        "masking",
        "conv",
        "flip",
        "cumsum",
        "sort",
        "pool",
        "std",
        "logsumexp",
        "lstm",
        "gru",
        "rnn",
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_a_skewed_batch_needs_no_memory_for_padding(op, masked):
    """One long row among many short ones: padded, it would take 500 times its own size."""
    lengths = np.array([20_000] + [1] * 1_000 + [20] * 1_000)
    values = np.ones((int(lengths.sum()), 8), np.float32)
    mask = np.arange(len(values)) % 5 > 0 if masked else None
    batch = rm.Ragged(values, np.cumsum(lengths) - lengths, lengths, mask)
    _, peak = traced_peak(lambda: op(batch))
    assert peak < 2 * values.nbytes  # on top of the input, so less than 3 times in and outputs


@pytest.mark.parametrize("features", [1, 16, 17, 70])
@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_steps_of_many_features_where_no_row_has_one(features, lengths):
    """Room is made for the longest row, which has no step to look at."""
    batch = rm.Ragged(np.ones((2, features), np.float32), [1] * len(lengths), lengths)
    for how in get_args(How):
        pooled = rm.temporal_pool(batch, how)
        assert len(pooled) == len(lengths)
        assert np.isin(pooled, [0, -1, -np.inf]).all()
        if how not in NUMBERED:
            gradient = np.ones((len(lengths), features), np.float32)
            assert pool_gradient(batch.compact()._rows, how, gradient).shape == (0, features)
    for op in (
        rm.temporal_softmax,
        rm.temporal_cumsum,
        rm.temporal_flip,
        rm.temporal_sort,
        rm.temporal_argsort,
        lambda x: rm.temporal_topk(x, 2)[0],
        lambda x: rm.temporal_conv(x, np.ones((3, features))),
        lambda x: rm.temporal_attention(x, x, x),
        lambda x: rm.temporal_repeat(np.ones((len(x), features)), x),
        lambda x: x.roll(1),
        rm.masking,
    ):
        assert op(batch).lengths.tolist() == lengths
