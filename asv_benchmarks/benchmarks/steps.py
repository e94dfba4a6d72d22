"""Ops that move, order and add up the steps of each row, beside copying their bytes."""

import numpy as np

import ragmask as rm
from ragmask.ops.cumsum import cumsum_gradient

from .common import buffer, copying, log_normal_to, ragged_of, ratio

STEPS = (15_000, 1_000_000)


class Moved:
    """Steps that are read once and written once: a copy's time is what bounds them."""

    params = (STEPS, [1, 8], [False, True], ["flip", "roll", "cumsum", "cumsum's gradient"])
    param_names = ("steps", "features", "masked", "op")

    def setup(self, steps, features, masked, op):
        values = ragged_of(log_normal_to(steps), (features,))
        mask = np.random.default_rng(0).random(steps) < 0.8 if masked else None
        x = rm.Ragged(values.values, values.starts, values.lengths, mask)
        out = buffer(x.values.shape, x.dtype, "cpu")
        self.nbytes = out.nbytes
        self.run = {
            "flip": lambda: rm.temporal_flip(x, out=out),
            "roll": lambda: x.roll(3),
            "cumsum": lambda: rm.temporal_cumsum(x, out=out),
            "cumsum's gradient": lambda: cumsum_gradient(x._rows, x.values),
        }[op]
        self.run()

    def time_run(self, steps, features, masked, op):
        self.run()

    def track_copy(self, steps, features, masked, op):
        return ratio(self.run, copying(self.nbytes, "cpu"))

    track_copy.unit = "× the time of a copy of its steps"


class Sort:
    params = (STEPS, ["float32", "int64"], ["sort", "argsort", "topk"])
    param_names = ("steps", "dtype", "op")

    def setup(self, steps, dtype, op):
        random = np.random.default_rng(0)
        rows = ragged_of(log_normal_to(steps))
        values = (random.standard_normal(steps) * 1e4).astype(dtype)
        x = rm.Ragged(values, rows.starts, rows.lengths)
        self.run = {
            "sort": lambda: rm.temporal_sort(x),
            "argsort": lambda: rm.temporal_argsort(x),
            "topk": lambda: rm.temporal_topk(x, 5),
        }[op]
        self.run()

    def time_run(self, steps, dtype, op):
        self.run()
