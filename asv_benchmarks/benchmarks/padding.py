"""Ragged to padded and back."""

import numpy as np

import ragmask as rm

from .common import (
    DEVICES,
    WIDTH,
    buffer,
    copying,
    finish,
    finished,
    moved,
    padding_buffers,
    ragged,
    ratio,
    require,
)

STEPS = {"int32": (np.int32, ()), "int8": (np.int8, ()), "float32[12]": (np.float32, (12,))}


class ToPadded:
    params = ([256, 4_096], list(STEPS), DEVICES)
    param_names = ("rows", "step", "device")

    def setup(self, rows, step, device):
        require(device)
        dtype, item_shape = STEPS[step]
        batch = ragged(rows, dtype, item_shape)
        shape = (rows, batch.max_length)
        self.batch = moved(batch, device)
        self.order = moved(np.random.default_rng(0).permutation(rows), device)
        self.out = buffer((*shape, *item_shape), dtype, device), buffer(shape, np.bool_, device)
        self.batch.to_padded(out=self.out)

    def time_fresh(self, rows, step, device):
        self.batch.to_padded()
        finish(device)

    def time_reused(self, rows, step, device):
        self.batch.to_padded(out=self.out)
        finish(device)

    def time_pre(self, rows, step, device):
        self.batch.to_padded(padding="pre", out=self.out)
        finish(device)

    def time_shuffled(self, rows, step, device):
        self.batch[self.order].to_padded(out=self.out)
        finish(device)

    def peakmem_fresh(self, rows, step, device):
        self.batch.to_padded()

    def track_fill(self, rows, step, device):
        """A GPU copies half the bytes, which is as much to read and to write."""
        run = finished(lambda: self.batch.to_padded(out=self.out), device)
        if device == "cpu":
            return ratio(run, self.fill)
        return ratio(run, copying(sum(array.nbytes for array in self.out) // 2, device))

    track_fill.unit = "× the time of filling the same bytes"

    def fill(self):
        values, mask = self.out
        values.fill(0)
        mask.fill(False)


class InteriorMask:
    params = ([256, 4_096], DEVICES)
    param_names = ("rows", "device")

    def setup(self, rows, device):
        require(device)
        batch = ragged(rows)
        keep = np.arange(batch.n_steps) % 7 > 0
        self.batch = moved(rm.Ragged(batch.values, batch.starts, batch.lengths, keep), device)
        self.out = tuple(moved(array, device) for array in padding_buffers(rows))
        self.padded = self.batch.to_padded()
        rm.Ragged.from_padded(self.padded)

    def time_to_padded(self, rows, device):
        self.batch.to_padded(out=self.out)
        finish(device)

    def time_from_padded(self, rows, device):
        rm.Ragged.from_padded(self.padded)
        finish(device)


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
