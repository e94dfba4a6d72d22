"""The ops, each beside what bounds it: copying its bytes, or the rate of a matrix product."""

from typing import get_args

import numpy as np

import ragmask as rm
from ragmask.ops.pool import How

from .common import (
    DEVICES,
    buffer,
    copying,
    embedding_table,
    fastest,
    finish,
    finished,
    log_normal_lengths,
    log_normal_to,
    lstm_weights,
    moved,
    op_memory,
    ragged,
    ragged_of,
    ratio,
    recurrent_flops,
    recurrent_weights,
    require,
    sgemms_on,
    with_sgemm,
)

STEPS = (15_000, 240_000)


class Embedding:
    params = (STEPS, ["int32", "int64"], DEVICES)
    param_names = ("steps", "ids", "device")

    def setup(self, steps, ids, device):
        require(device)
        self.ids = moved(ragged_of(log_normal_to(steps), dtype=np.dtype(ids)), device)
        self.table = moved(embedding_table(), device)
        out = rm.embedding(self.ids, self.table).values
        self.out = buffer(out.shape, out.dtype, device)

    def time_fresh(self, steps, ids, device):
        rm.embedding(self.ids, self.table)
        finish(device)

    def time_reused(self, steps, ids, device):
        rm.embedding(self.ids, self.table, out=self.out)
        finish(device)

    def time_mask_zero(self, steps, ids, device):
        rm.embedding(self.ids, self.table, mask_zero=True, out=self.out)
        finish(device)

    def peakmem_fresh(self, steps, ids, device):
        rm.embedding(self.ids, self.table)

    def track_reused(self, steps, ids, device):
        run = finished(lambda: rm.embedding(self.ids, self.table, out=self.out), device)
        return ratio(run, copying(self.out.nbytes, device))

    track_reused.unit = "× the time of copying the output"


class Masking:
    params = (STEPS, [1, 16], DEVICES)
    param_names = ("steps", "features", "device")

    def setup(self, steps, features, device):
        require(device)
        self.batch = moved(ragged_of(log_normal_to(steps), (features,)), device)
        rm.masking(self.batch)

    def time_masking(self, steps, features, device):
        rm.masking(self.batch)
        finish(device)

    def peakmem_masking(self, steps, features, device):
        rm.masking(self.batch)

    def track_masking(self, steps, features, device):
        run = finished(lambda: rm.masking(self.batch), device)
        return ratio(run, copying(self.batch.values.nbytes, device))

    track_masking.unit = "× the time of copying the values"


class Softmax:
    params = (STEPS, [1, 16, 128], ["", "masked"], DEVICES)
    param_names = ("steps", "features", "mask", "device")

    def setup(self, steps, features, mask, device):
        require(device)
        self.batch = moved(ragged_of(log_normal_to(steps), (features,)), device)
        self.mask = moved(np.arange(steps) % 7 > 0 if mask else None, device)
        out = rm.temporal_softmax(self.batch, mask=self.mask).values
        self.out = buffer(out.shape, out.dtype, device)

    def time_fresh(self, steps, features, mask, device):
        rm.temporal_softmax(self.batch, mask=self.mask)
        finish(device)

    def time_reused(self, steps, features, mask, device):
        rm.temporal_softmax(self.batch, mask=self.mask, out=self.out)
        finish(device)

    def peakmem_fresh(self, steps, features, mask, device):
        rm.temporal_softmax(self.batch, mask=self.mask)

    def track_reused(self, steps, features, mask, device):
        run = finished(
            lambda: rm.temporal_softmax(self.batch, mask=self.mask, out=self.out), device
        )
        return ratio(run, copying(self.out.nbytes, device))

    track_reused.unit = "× the time of copying the values"


class Pool:
    params = (STEPS, [*get_args(How)], DEVICES)
    param_names = ("steps", "how", "device")

    def setup(self, steps, how, device):
        require(device)
        self.batch = moved(ragged_of(log_normal_to(steps), (64,)), device)
        rm.temporal_pool(self.batch, how)

    def time_pool(self, steps, how, device):
        rm.temporal_pool(self.batch, how)
        finish(device)

    def peakmem_pool(self, steps, how, device):
        rm.temporal_pool(self.batch, how)

    def track_pool(self, steps, how, device):
        """NumPy sums all values as one column at its best rate; a GPU copies half of them."""
        values, run = self.batch.values, lambda: rm.temporal_pool(self.batch, how)
        if device == "cpu":
            return ratio(run, values.sum)
        return ratio(finished(run, device), copying(values.nbytes // 2, device))

    track_pool.unit = "× the time of summing all values"


class SplitAndConcat:
    params = ([256, 4_096], ["Ragged", "Padded"], DEVICES)
    param_names = ("rows", "kind", "device")

    def setup(self, rows, kind, device):
        require(device)
        batch = moved(ragged(rows, np.float32, (16,)), device).truncate(32)
        batch = batch if kind == "Ragged" else batch.to_padded()
        self.batch = batch
        self.parts = rm.temporal_split(batch, 2)
        self.strangers = self.parts[::-1]  # do not lie one behind the other
        rm.temporal_concat(self.strangers)

    def time_split(self, rows, kind, device):
        rm.temporal_split(self.batch, 2)
        finish(device)

    def time_concat_views(self, rows, kind, device):
        rm.temporal_concat(self.parts)
        finish(device)

    def time_concat_copies(self, rows, kind, device):
        rm.temporal_concat(self.strangers)
        finish(device)

    def peakmem_split(self, rows, kind, device):
        rm.temporal_split(self.batch, 2)

    def peakmem_concat_copies(self, rows, kind, device):
        rm.temporal_concat(self.strangers)

    def track_split(self, rows, kind, device):
        run = finished(lambda: rm.temporal_split(self.batch, 2), device)
        return ratio(run, copying(self.batch.values.nbytes, device))

    track_split.unit = "× the time of copying the values"

    def track_concat_copies(self, rows, kind, device):
        run = finished(lambda: rm.temporal_concat(self.strangers), device)
        return ratio(run, copying(self.batch.values.nbytes, device))

    track_concat_copies.unit = "× the time of copying the values"


LSTMS = (
    [(8, 64, 128), (64, 16, 32), (32, 300, 300), (256, 64, 128)],
    ["log-normal", "equal"],
    DEVICES,
)


def lstm_batch(shape, lengths, device):
    rows, features, _ = shape
    lengths = (
        np.full(rows, 128)
        if lengths == "equal"
        else log_normal_lengths(rows, np.random.default_rng(0))
    )
    return moved(ragged_of(lengths, (features,)), device)


class LSTM:
    params = LSTMS
    param_names = ("rows, features, units", "lengths", "device")

    def setup(self, shape, lengths, device):
        require(device)
        self.batch = lstm_batch(shape, lengths, device)
        self.mask = moved(np.arange(self.batch.n_steps) % 7 > 0, device)
        self.weights = moved(lstm_weights(*shape[1:]), device)
        out = rm.lstm(self.batch, self.weights).outputs.values
        self.out = buffer(out.shape, out.dtype, device)
        rm.lstm(self.batch, self.weights, mask=self.mask, outputs=False)

    def time_outputs(self, shape, lengths, device):
        rm.lstm(self.batch, self.weights)
        finish(device)

    def time_outputs_reused(self, shape, lengths, device):
        rm.lstm(self.batch, self.weights, out=self.out)
        finish(device)

    def time_states(self, shape, lengths, device):
        rm.lstm(self.batch, self.weights, outputs=False)
        finish(device)

    def time_masked_states(self, shape, lengths, device):
        rm.lstm(self.batch, self.weights, mask=self.mask, outputs=False)
        finish(device)

    def peakmem_outputs(self, shape, lengths, device):
        rm.lstm(self.batch, self.weights)


class GRU:
    params = LSTMS
    param_names = LSTM.param_names

    def setup(self, shape, lengths, device):
        require(device)
        self.batch = lstm_batch(shape, lengths, device)
        self.weights = moved(recurrent_weights("GRU", *shape[1:]), device)
        rm.gru(self.batch, self.weights)

    def time_outputs(self, shape, lengths, device):
        rm.gru(self.batch, self.weights)
        finish(device)


class LSTMRate:
    """Beside NumPy's products of matrices, or on a GPU torch's."""

    params = LSTMS
    param_names = LSTM.param_names

    def setup(self, shape, lengths, device):
        require(device)
        self.products = list(sgemms_on(device))
        self.batch = lstm_batch(shape, lengths, device)
        self.weights = moved(lstm_weights(*shape[1:]), device)
        out = rm.lstm(self.batch, self.weights).outputs.values
        self.out = buffer(out.shape, out.dtype, device)

    def track_sgemm(self, shape, lengths, device):
        run = finished(lambda: rm.lstm(self.batch, self.weights, out=self.out), device)
        seconds, rate = with_sgemm(run, self.products)
        return seconds * rate / recurrent_flops(self.batch, self.weights)

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
