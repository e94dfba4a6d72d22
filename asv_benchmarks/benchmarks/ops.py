"""The ops, each beside what bounds it: copying its bytes, or the rate of a matrix product."""

import numpy as np

import ragmask as rm

from .common import (
    embedding_table,
    fastest,
    log_normal_lengths,
    log_normal_to,
    lstm_flops,
    lstm_weights,
    op_memory,
    ragged,
    ragged_of,
    ratio,
    sgemms,
    with_sgemm,
)

STEPS = (15_000, 240_000)


class Embedding:
    params = (STEPS, ["int32", "int64"])
    param_names = ("steps", "ids")

    def setup(self, steps, ids):
        self.ids = ragged_of(log_normal_to(steps), dtype=np.dtype(ids))
        self.table = embedding_table()
        self.out = rm.embedding(self.ids, self.table).values.copy()

    def time_fresh(self, steps, ids):
        rm.embedding(self.ids, self.table)

    def time_reused(self, steps, ids):
        rm.embedding(self.ids, self.table, out=self.out)

    def time_mask_zero(self, steps, ids):
        rm.embedding(self.ids, self.table, mask_zero=True, out=self.out)

    def peakmem_fresh(self, steps, ids):
        rm.embedding(self.ids, self.table)

    def track_reused(self, steps, ids):
        source = self.out.copy()
        return ratio(
            lambda: rm.embedding(self.ids, self.table, out=self.out),
            lambda: np.copyto(self.out, source),
        )

    track_reused.unit = "× the time of copying the output"


class Masking:
    params = (STEPS, [1, 16])
    param_names = ("steps", "features")

    def setup(self, steps, features):
        self.batch = ragged_of(log_normal_to(steps), (features,))
        rm.masking(self.batch)

    def time_masking(self, steps, features):
        rm.masking(self.batch)

    def peakmem_masking(self, steps, features):
        rm.masking(self.batch)

    def track_masking(self, steps, features):
        return ratio(lambda: rm.masking(self.batch), self.batch.values.copy)

    track_masking.unit = "× the time of copying the values"


class Softmax:
    params = (STEPS, [1, 16], ["", "masked"])
    param_names = ("steps", "features", "mask")

    def setup(self, steps, features, mask):
        self.batch = ragged_of(log_normal_to(steps), (features,))
        self.mask = np.arange(steps) % 7 > 0 if mask else None
        self.out = rm.temporal_softmax(self.batch, mask=self.mask).values.copy()

    def time_fresh(self, steps, features, mask):
        rm.temporal_softmax(self.batch, mask=self.mask)

    def time_reused(self, steps, features, mask):
        rm.temporal_softmax(self.batch, mask=self.mask, out=self.out)

    def peakmem_fresh(self, steps, features, mask):
        rm.temporal_softmax(self.batch, mask=self.mask)

    def track_reused(self, steps, features, mask):
        return ratio(
            lambda: rm.temporal_softmax(self.batch, mask=self.mask, out=self.out),
            lambda: np.copyto(self.out, self.batch.values),
        )

    track_reused.unit = "× the time of copying the values"


class Pool:
    params = (STEPS, ["mean", "sum", "max", "first", "last"])
    param_names = ("steps", "how")

    def setup(self, steps, how):
        self.batch = ragged_of(log_normal_to(steps), (64,))
        rm.temporal_pool(self.batch, how)

    def time_pool(self, steps, how):
        rm.temporal_pool(self.batch, how)

    def peakmem_pool(self, steps, how):
        rm.temporal_pool(self.batch, how)

    def track_pool(self, steps, how):
        """The numbers of one column are as many: numpy sums them all at its best rate."""
        values = self.batch.values
        return ratio(lambda: rm.temporal_pool(self.batch, how), values.sum)

    track_pool.unit = "× the time of summing all values"


class SplitAndConcat:
    params = ([256, 4_096], ["Ragged", "Padded"])
    param_names = ("rows", "kind")

    def setup(self, rows, kind):
        batch = ragged(rows, np.float32, (16,)).truncate(32)
        batch = batch if kind == "Ragged" else batch.to_padded()
        self.batch = batch
        self.parts = rm.temporal_split(batch, 2)
        self.strangers = self.parts[::-1]  # do not lie one behind the other
        rm.temporal_concat(self.strangers)

    def time_split(self, rows, kind):
        rm.temporal_split(self.batch, 2)

    def time_concat_views(self, rows, kind):
        rm.temporal_concat(self.parts)

    def time_concat_copies(self, rows, kind):
        rm.temporal_concat(self.strangers)

    def peakmem_split(self, rows, kind):
        rm.temporal_split(self.batch, 2)

    def peakmem_concat_copies(self, rows, kind):
        rm.temporal_concat(self.strangers)

    def track_split(self, rows, kind):
        return ratio(lambda: rm.temporal_split(self.batch, 2), self.batch.values.copy)

    track_split.unit = "× the time of copying the values"

    def track_concat_copies(self, rows, kind):
        return ratio(lambda: rm.temporal_concat(self.strangers), self.batch.values.copy)

    track_concat_copies.unit = "× the time of copying the values"


class LSTM:
    params = (
        [(8, 64, 128), (64, 16, 32), (32, 300, 300), (256, 64, 128)],
        ["log-normal", "equal"],
    )
    param_names = ("rows, features, units", "lengths")

    def setup(self, shape, lengths):
        rows, features, units = shape
        lengths = (
            np.full(rows, 128)
            if lengths == "equal"
            else log_normal_lengths(rows, np.random.default_rng(0))
        )
        self.batch = ragged_of(lengths, (features,))
        self.mask = np.arange(self.batch.n_steps) % 7 > 0
        self.weights = lstm_weights(features, units)
        self.out = rm.lstm(self.batch, self.weights).outputs.values.copy()
        rm.lstm(self.batch, self.weights, mask=self.mask, outputs=False)

    def time_outputs(self, shape, lengths):
        rm.lstm(self.batch, self.weights)

    def time_outputs_reused(self, shape, lengths):
        rm.lstm(self.batch, self.weights, out=self.out)

    def time_states(self, shape, lengths):
        rm.lstm(self.batch, self.weights, outputs=False)

    def time_masked_states(self, shape, lengths):
        rm.lstm(self.batch, self.weights, mask=self.mask, outputs=False)

    def peakmem_outputs(self, shape, lengths):
        rm.lstm(self.batch, self.weights)

    def track_sgemm(self, shape, lengths):
        run = lambda: rm.lstm(self.batch, self.weights, out=self.out)  # noqa: E731
        seconds, rate = with_sgemm(run, list(sgemms()))
        return seconds * rate / lstm_flops(self.batch, self.weights)

    track_sgemm.unit = "× the time of its products at the best rate of sgemm"


class Skew:
    """What one very long row costs the others: it must not be paid for rows × width."""

    params = (["softmax", "lstm"],)
    param_names = ("op",)

    def setup(self, op):
        op_memory(op, rows=10, longest=100)  # fills the compile cache

    def track_memory(self, op):
        return op_memory(op)

    track_memory.unit = "× the inputs and outputs"

    def track_long_row(self, op):
        lengths = log_normal_lengths(512, np.random.default_rng(0))
        with_long = np.append(lengths[1:], 50 * round(lengths.mean()))
        plain, skewed = (ragged_of(rows, (64,)) for rows in (lengths, with_long))
        weights = lstm_weights(64, 128)
        run = rm.temporal_softmax if op == "softmax" else lambda x: rm.lstm(x, weights)
        ours, theirs = fastest(lambda: run(skewed), lambda: run(plain))
        return ours / theirs

    track_long_row.unit = "× the time without the long row"
