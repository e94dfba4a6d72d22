"""Gradients, each beside what bounds it: copying its bytes, or the rate of a matrix product."""

import numpy as np

from ragmask.kernels.cells import CELLS
from ragmask.ops.embeddings import checked_ids, embedding_gradient
from ragmask.ops.pool import pool_gradient
from ragmask.ops.recurrent import recur_and_keep, recur_gradient
from ragmask.ops.softmax import softmax_gradient

from .common import (
    copying,
    log_normal_lengths,
    log_normal_to,
    ragged_of,
    ratio,
    recurrent_weights,
    sgemms,
    with_sgemm,
)

STEPS = (15_000, 240_000)
VOCABULARY = 50_000
GATES = {cell.name: cell for cell in CELLS}


class Recurrent:
    params = ([(64, 16, 32), (256, 64, 128), (512, 128, 256)], list(GATES))
    param_names = ("rows, features, units", "cell")

    def setup(self, shape, cell):
        rows, features, units = shape
        self.cell = GATES[cell]
        lengths = log_normal_lengths(rows, np.random.default_rng(0))
        self.rows = ragged_of(lengths, (features,))._rows
        weights = recurrent_weights(cell, features, units)
        self.weights = [
            array.astype("f4") for array in (weights.kernel, weights.recurrent_kernel, weights.bias)
        ]
        self.initial = np.zeros((self.cell.states, rows, units), "f4")
        self.of_outputs = np.ones((self.rows.n_steps, units), "f4")
        self.flops = self.rows.n_steps * 6 * self.cell.gates * units * (features + units)
        self.run()

    def run(self):
        given = self.cell, self.rows, *self.weights, self.initial, False
        outputs, _, kept = recur_and_keep(*given)
        return recur_gradient(*given, outputs, kept, self.of_outputs, None)

    def time_forward_and_back(self, shape, cell):
        self.run()

    def peakmem_forward_and_back(self, shape, cell):
        self.run()

    def track_sgemm(self, shape, cell):
        seconds, rate = with_sgemm(self.run, list(sgemms()))
        return seconds * rate / self.flops

    track_sgemm.unit = "× the time of its products at the best rate of sgemm"


class Embedding:
    params = (STEPS,)
    param_names = ("steps",)

    def setup(self, steps):
        lengths = log_normal_to(steps)
        ids = np.random.default_rng(0).integers(0, VOCABULARY, lengths.sum())
        self.ids = checked_ids(ragged_of(lengths)._rows.over(ids), VOCABULARY)
        self.gradient = np.ones((len(ids), 64), "f4")
        self.time_table(steps)

    def time_table(self, steps):
        embedding_gradient(self.ids, VOCABULARY, self.gradient)


class Steps:
    """Of ops that give one number for each: they are bound by memory."""

    params = (STEPS, [1, 16])
    param_names = ("steps", "features")

    def setup(self, steps, features):
        self.rows = ragged_of(log_normal_to(steps), (features,))._rows
        self.of_steps = np.ones_like(self.rows.values)
        self.of_rows = np.ones((len(self.rows), features), "f4")
        self.copying = copying(3 * self.of_steps.nbytes, "cpu")
        self.softmax()
        self.pool("max")

    def softmax(self):
        softmax_gradient(self.rows, self.of_steps)

    def pool(self, how):
        pool_gradient(self.rows, how, self.of_rows)

    def time_softmax(self, steps, features):
        self.softmax()

    def time_mean(self, steps, features):
        self.pool("mean")

    def time_max(self, steps, features):
        self.pool("max")

    def track_softmax(self, steps, features):
        return ratio(self.softmax, self.copying)

    track_softmax.unit = "× the time of copying three times as much"
