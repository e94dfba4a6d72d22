"""New views of the same values: their time grows with the rows, never with the steps."""

import numpy as np

from .common import fastest, ragged, ratio


class Views:
    params = (256, 4_096)
    param_names = ("rows",)

    def setup(self, rows):
        self.batch = ragged(rows)
        self.order = np.random.default_rng(0).permutation(rows)
        self.kept = self.batch.lengths > 20
        self.shuffled = self.batch[self.order]
        self.shuffled.compact()

    def time_slice(self, rows):
        self.batch[rows // 4 : rows // 2]

    def time_shuffle(self, rows):
        self.batch[self.order]

    def time_filter(self, rows):
        self.batch[self.kept]

    def time_sort_by_length(self, rows):
        self.batch[np.argsort(self.batch.lengths, kind="stable")]

    def time_truncate(self, rows):
        self.batch.truncate(32, side="pre")

    def time_compact(self, rows):
        self.shuffled.compact()

    def peakmem_shuffle(self, rows):
        self.batch[self.order]

    def track_shuffle(self, rows):
        starts, lengths = self.batch.starts, self.batch.lengths
        return ratio(
            lambda: self.batch[self.order], lambda: (starts[self.order], lengths[self.order])
        )

    track_shuffle.unit = "× the time of indexing two integers a row"

    def track_compact(self, rows):
        values = self.batch.values
        return ratio(self.shuffled.compact, values.copy)

    track_compact.unit = "× the time of copying the values"

    def track_wide_steps(self, rows):
        wide = ragged(rows, item_shape=(16,))
        ours, theirs = fastest(lambda: wide[self.order], lambda: self.batch[self.order])
        return ours / theirs

    track_wide_steps.unit = "× the time with a sixteenth of the values"
