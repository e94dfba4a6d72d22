"""What padding costs: a pass over the lengths of a stream's rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ragmask.streaming.arrange import Buckets, Budget, Rows, padded_steps
from ragmask.streaming.epoch import Epoch


class PaddingReport(NamedTuple):
    """What batches cost padded. All but the first two count steps."""

    batches: int
    rows: int
    real: int
    padded: int
    padded_unbucketed: int

    @property
    def saved(self) -> float:
        """The share of the padding that bucketing saves."""
        before = self.padded_unbucketed - self.real
        return 1 - (self.padded - self.real) / before if before else 0.0

    def __str__(self) -> str:
        now, before = (
            1 - self.real / steps if steps else 0.0
            for steps in (self.padded, self.padded_unbucketed)
        )
        mean = self.rows / max(1, self.batches)
        return (
            f"{self.batches:,} batches of {mean:,.0f} rows on average: {now:.1%} padding; "
            f"{before:.1%} unbucketed, of which {self.saved:.0%} is saved"
        )


def measure_padding(
    epoch: Epoch, windows: Sequence[Any], budget: Budget | Buckets
) -> PaddingReport:
    """What these windows cost in buckets, and cut into as many batches in their own order."""
    counts = np.zeros(5, np.int64)
    for window, lengths in epoch.lengths(windows):
        key = epoch.key(window)
        order, ends = budget.cut(lengths, key)
        batches, rows = len(ends) - 1, len(lengths)
        unordered = Rows().order(rows, key)
        cuts = np.linspace(0, rows, batches + 1).astype(np.int64)
        counts += [
            batches,
            rows,
            lengths.sum(),
            padded_steps(lengths[order], ends),
            padded_steps(lengths[unordered], cuts),
        ]
    return PaddingReport(*counts.tolist())
