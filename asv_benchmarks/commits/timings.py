"""The calls that are timed, on small batches and on large ones."""

import time
from functools import cache, partial

import numpy as np
from batch_calls import lstm_weights
from inputs import VOCABULARY, values_of

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS

SIZES = {"small": 16, "large": 4_000}


def timings():
    """{name: function}. The large ones run on two threads."""
    rm.set_num_threads(2)
    table = values_of((VOCABULARY, 64), "float32")
    calls = {}
    for size, rows in SIZES.items():
        ids, vectors = (batch_of(rows, *kind) for kind in (("int64", ()), ("float32", (16,))))
        order = np.random.default_rng(1).permutation(rows)
        weights = lstm_weights(16, 32, "float32")
        calls |= {
            f"to_padded, {size}": ids.to_padded,
            f"embedding, {size}": partial(rm.embedding, ids, table),
            f"masking, {size}": partial(rm.masking, vectors),
            f"softmax, {size}": partial(rm.temporal_softmax, vectors),
            f"softmax of a view, {size}": partial(rm.temporal_softmax, vectors[order]),
            f"pool, {size}": partial(rm.temporal_pool, vectors),
            f"split, {size}": partial(rm.temporal_split, vectors, 2, width=80),
            f"lstm, {size}": partial(rm.lstm, vectors, weights),
            f"r[2:5], {size}": partial(ids.__getitem__, slice(2, 5)),
            f"r[permutation], {size}": partial(ids.__getitem__, order),
            f"truncate, {size}": partial(ids.truncate, 20),
            f"x + 1, {size}": partial(np.add, vectors, 1),
            f"from_padded, {size}": partial(rm.Ragged.from_padded, ids.to_padded()),
        }
    rm.layers.set_random_seed(0)
    model = rm.layers.Sequential(
        [rm.layers.Embedding(VOCABULARY, 16, mask_zero=True), rm.layers.LSTM(32)]
    )
    calls["two layers, small"] = partial(model, batch_of(SIZES["small"], "int64", ()))
    stream = rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).batch(rows=64)
    calls["an epoch of a stream"] = lambda: sum(batch["frames"].n_steps for batch in stream)
    return calls


def batch_of(rows, dtype, item_shape):
    lengths = np.random.default_rng(0).integers(0, 80, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return rm.Ragged.from_offsets(values_of((offsets[-1], *item_shape), dtype), offsets)


@cache
def _calls():
    return timings()


def least_seconds(name, turn=0.02):
    """The least seconds of a call, in a turn that is long enough to fill the caches first."""
    function = _calls()[name]
    function()
    best, end = float("inf"), time.perf_counter() + turn
    while (begin := time.perf_counter()) < end:
        function()
        best = min(best, time.perf_counter() - begin)
    return best
