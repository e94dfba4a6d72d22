"""Rows of rows: pooled from the inside out, as views, and to and from dense arrays and Arrow."""

import numpy as np

import ragmask as rm

from .common import ratio

SENTENCES, WORDS = 8, 12  # on average


class Documents:
    params = (500, 20_000)
    param_names = ("documents",)

    def setup(self, documents):
        self.batch = nested(documents)
        self.array = self.batch.to_arrow()
        self.order = np.random.default_rng(1).permutation(documents)

    def time_pool_twice(self, documents):
        pool_twice(self.batch)

    def time_pool_shuffled(self, documents):
        pool_twice(self.batch[self.order])

    def time_shuffled_view(self, documents):
        self.batch[self.order]

    def time_truncate_inner_rows(self, documents):
        self.batch.with_inner(self.batch.inner.truncate(5))

    def time_to_padded(self, documents):
        self.batch.to_padded((SENTENCES, WORDS))

    def time_from_arrow(self, documents):
        rm.Ragged.from_arrow(self.array)

    def time_to_arrow(self, documents):
        self.batch.to_arrow()

    def peakmem_pool_twice(self, documents):
        pool_twice(self.batch)

    def track_pool_twice(self, documents):
        return ratio(lambda: pool_twice(self.batch), self.batch.inner.values.copy)

    track_pool_twice.unit = "× the time of copying the values"


def pool_twice(batch):
    """The mean of each row's means."""
    return rm.temporal_pool(rm.temporal_pool(batch, "mean"), "mean")


def nested(documents, seed=0):
    """Documents of sentences of words, one float32 a word."""
    random = np.random.default_rng(seed)
    sentences = random.poisson(SENTENCES, documents)
    words = 1 + random.poisson(WORDS - 1, sentences.sum())
    values = random.standard_normal(words.sum()).astype(np.float32)
    inner = rm.Ragged.from_offsets(values, np.r_[0, words.cumsum()])
    return rm.NestedRagged.from_offsets(inner, np.r_[0, sentences.cumsum()])
