"""One number a row out of its steps, and back; and rows joined, thinned and looked into."""

import numpy as np

import ragmask as rm

from .common import copying, log_normal_to, ragged_of, ratio

STEPS = (15_000, 240_000)


class PoolNumbers:
    """Rows of numbers, which are added up one after another in a register."""

    params = (STEPS, ["mean", "max", "std", "logsumexp", "argmax"], [False, True])
    param_names = ("steps", "how", "mask")

    def setup(self, steps, how, mask):
        batch = ragged_of(log_normal_to(steps))
        batch = batch.with_values(np.random.default_rng(0).random(len(batch.values), np.float32))
        kept = np.random.default_rng(1).random(batch.n_steps) < 0.8 if mask else None
        self.batch = rm.Ragged(batch.values, batch.starts, batch.lengths, kept)
        self.time_pool(steps, how, mask)

    def time_pool(self, steps, how, mask):
        rm.temporal_pool(self.batch, how)

    def track_pool(self, steps, how, mask):
        return ratio(lambda: rm.temporal_pool(self.batch, how), self.batch.values.cumsum)

    track_pool.unit = "× the time of adding all values up one after another"


class Repeat:
    params = (STEPS, [1, 64])
    param_names = ("steps", "features")

    def setup(self, steps, features):
        self.batch = ragged_of(log_normal_to(steps), (features,))
        self.values = rm.temporal_pool(self.batch)
        self.time_repeat(steps, features)

    def time_repeat(self, steps, features):
        rm.temporal_repeat(self.values, self.batch)

    def track_repeat(self, steps, features):
        out = self.batch.values.nbytes
        return ratio(lambda: self.time_repeat(steps, features), copying(out, "cpu"))

    track_repeat.unit = "× the time of copying as many steps"


class Rows:
    params = (STEPS, [1, 64])
    param_names = ("steps", "features")

    def setup(self, steps, features):
        self.batch = ragged_of(log_normal_to(steps), (features,))
        kept = np.random.default_rng(0).random(self.batch.n_steps) < 0.8
        batch = self.batch
        self.masked = rm.Ragged(batch.values, batch.starts, batch.lengths, kept)
        self.some = np.flatnonzero(batch.lengths)
        self.time_drop_masked(steps, features)

    def time_concatenate(self, steps, features):
        rm.concatenate([self.batch, self.batch])

    def time_drop_masked(self, steps, features):
        self.masked.drop_masked()

    def time_last_steps(self, steps, features):
        self.batch[self.some, -1]
