"""Ragged to padded and back."""

import numpy as np

import ragmask as rm

from .common import WIDTH, padding_buffers, ragged, ratio

STEPS = {"int32": (np.int32, ()), "int8": (np.int8, ()), "float32[12]": (np.float32, (12,))}


class ToPadded:
    params = ([256, 4_096], list(STEPS))
    param_names = ("rows", "step")

    def setup(self, rows, step):
        dtype, item_shape = STEPS[step]
        self.batch = ragged(rows, dtype, item_shape)
        shape = (rows, self.batch.max_length)
        self.out = np.ones((*shape, *item_shape), dtype), np.ones(shape, np.bool_)
        self.batch.to_padded(out=self.out)

    def time_fresh(self, rows, step):
        self.batch.to_padded()

    def time_reused(self, rows, step):
        self.batch.to_padded(out=self.out)

    def time_pre(self, rows, step):
        self.batch.to_padded(padding="pre", out=self.out)

    def time_shuffled(self, rows, step):
        order = np.random.default_rng(0).permutation(rows)
        self.batch[order].to_padded(out=self.out)

    def peakmem_fresh(self, rows, step):
        self.batch.to_padded()

    def track_fill(self, rows, step):
        return ratio(lambda: self.batch.to_padded(out=self.out), self.fill)

    track_fill.unit = "× the time of filling the same bytes"

    def fill(self):
        values, mask = self.out
        values.fill(0)
        mask.fill(False)


class InteriorMask:
    params = (256, 4_096)
    param_names = ("rows",)

    def setup(self, rows):
        batch = ragged(rows)
        keep = np.arange(batch.n_steps) % 7 > 0
        self.batch = rm.Ragged(batch.values, batch.starts, batch.lengths, keep)
        self.out = padding_buffers(rows)
        self.padded = self.batch.to_padded()
        rm.Ragged.from_padded(self.padded)

    def time_to_padded(self, rows):
        self.batch.to_padded(out=self.out)

    def time_from_padded(self, rows):
        rm.Ragged.from_padded(self.padded)


class PadSequences:
    params = ([256, 4_096], ["arrays", "lists"])
    param_names = ("rows", "given")

    def setup(self, rows, given):
        arrays = ragged(rows).to_rows()
        self.rows = arrays if given == "arrays" else [row.tolist() for row in arrays]
        rm.pad_sequences(self.rows)

    def time_pad_sequences(self, rows, given):
        rm.pad_sequences(self.rows)

    def time_truncated(self, rows, given):
        rm.pad_sequences(self.rows, maxlen=WIDTH // 8, truncating="post")
