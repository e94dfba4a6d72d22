"""Attention with its gradient, beside the rate of a matrix product."""

import numpy as np

from ragmask.ops.attention import Seen, attend, attention_gradient

from .common import ragged_of, sgemms, with_sgemm

HEADS, DIM = 8, 64
BATCHES = {  # rows, and the median of their lengths
    "128 rows of 40": (128, 40),
    "32 rows of 200": (32, 200),
    "1 row of 4,000": (1, 4_000),
}


class Attention:
    params = ([*BATCHES], ["whole rows", "causal"])
    param_names = ("batch", "seen")

    def setup(self, name, seen):
        rows, median = BATCHES[name]
        lengths = np.random.default_rng(0).lognormal(np.log(median), 0.6 if rows > 1 else 0, rows)
        lengths = np.ceil(lengths).astype(np.int64)
        self.q, self.k, self.v = (ragged_of(lengths, (HEADS, DIM))._rows for _ in range(3))
        self.seen = Seen(2**62, 0 if seen == "causal" else 2**62, DIM**-0.5)
        self.gradient = np.ones(self.q.values.shape, "f4")
        self.out = np.empty_like(self.gradient)
        self.log_sum = np.empty((self.q.n_steps, HEADS), "f4")
        self.flops = 14 * DIM * HEADS * int((lengths**2).sum())
        self.run()

    def run_forward(self):
        rows = self.q, self.k, self.v
        attend(*rows, self.seen, self.q.layout.end_to_end.starts, self.out, self.log_sum)

    def run(self):
        self.run_forward()
        rows = self.q, self.k, self.v
        return attention_gradient(*rows, self.seen, self.out, self.log_sum, self.gradient)

    def time_forward(self, name, seen):
        self.run_forward()

    def time_forward_and_back(self, name, seen):
        self.run()

    def peakmem_forward_and_back(self, name, seen):
        self.run()

    def track_sgemm(self, name, seen):
        seconds, rate = with_sgemm(self.run, list(sgemms()))
        return seconds * rate / self.flops

    track_sgemm.unit = "× the time of its products, of all pairs, at the best rate of sgemm"
