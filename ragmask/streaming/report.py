"""What a loop over a stream came to, and what padding costs."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ragmask import markup
from ragmask.batches.show import count
from ragmask.errors import InvalidInputError
from ragmask.streaming.arrange import Buckets, Budget, Rows, padded_steps
from ragmask.streaming.epoch import Epoch
from ragmask.streaming.measures import Steps, Watch
from ragmask.streaming.picture import code

_MOST_COLUMNS = 20
_LITTLE = 0.1  # of the time: nobody is held up by less


class StreamReport(NamedTuple):
    """What a loop over a stream came to. Printed, it says what holds the loop up.

    rows, batches : delivered, by this loop; where rows are packed, pieces of rows. A batch that
        `shard(even=True)` repeats counts among the batches alone.
    steps : of each ragged column, or of the one that batches are made by: `real` ones, and the
        `padded` ones that `to_padded` of each batch comes to.
    seconds : of the loop, of which the consumer was `waiting` for the stream, `mapping` (functions
        given to `map` run on its thread) and `consuming`: then the stream waits for it.
    reading, decoding, tokenizing, arranging : seconds of the threads that decode ahead, two by
        default, beside those of the consumer. `reading` is the time that decoding spent neither on
        a CPU nor ready for one: waiting for the disk or the network, and, where the consumer leaves
        it to no other thread, for Python. `tokenizing` is all that `tokenize` and other changes of
        columns take.
    rows_read, bytes_read : decoded so far, of windows that are ahead too.
    prefetch : the windows that may be ahead; 0 where the consumer's thread decodes.
    is_local : whether the files are on a disk or in memory.
    finished : whether the loop came to the epoch's end.
    """

    epoch: int
    rows: int
    batches: int
    steps: dict[str, Steps]
    seconds: float
    waiting: float
    mapping: float
    consuming: float
    reading: float
    decoding: float
    tokenizing: float
    arranging: float
    rows_read: int
    bytes_read: int
    prefetch: int
    is_local: bool
    finished: bool

    @property
    def rows_per_second(self) -> float:
        """Rows delivered a second of the loop."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        """Bytes of values decoded a second of the loop."""
        return self.bytes_read / self.seconds if self.seconds else 0.0

    @property
    def advice(self) -> str:
        """What holds the loop up, and what to do about it."""
        if not self.batches:
            return "nothing was delivered"
        if self.waiting + self.mapping < _LITTLE * self.seconds:
            return (
                "the consumer is the bottleneck: batches were ready when it asked for them, and "
                "a faster stream would gain it nothing"
            )
        most = max(self.waiting, self.mapping, self.consuming)
        if most == self.mapping:
            return (
                "map is the bottleneck: its functions run on the consumer's thread, batch by "
                "batch; do less there, or once, into a file"
            )
        held = ""
        if most == self.consuming:
            if not self.prefetch and self.waiting > self.mapping:
                return (
                    "the consumer is the bottleneck, and decodes too: .prefetch(3) decodes beside "
                    "it, in the background"
                )
            if self.mapping >= self.waiting:
                return (
                    "the consumer is the bottleneck; functions given to map take "
                    f"{self.mapping / self.seconds:.0%} of its time"
                )
            held = (
                "the consumer is the bottleneck, and waits for batches "
                f"{self.waiting / self.seconds:.0%} of the time; of that, "
            )
        return held + self._of_the_stream()

    def _of_the_stream(self) -> str:
        """Why the consumer waits for the stream."""
        times = self.reading, self.decoding, self.tokenizing, self.arranging
        most = max(times)
        if 2 * sum(times) < self.waiting:
            return (
                "the start is the bottleneck: most of the wait was for footers to be read, code to "
                "be loaded or batches to be counted, and not for rows"
            )
        threads = "" if self.prefetch else ", and .prefetch(3) decodes in the background"
        if most == self.arranging:
            return (
                "arranging is the bottleneck: shuffling, bucketing or packing; smaller windows, "
                f"by shuffle(window_rows=), cost less{threads}"
            )
        if most == self.tokenizing:
            return (
                "tokenizing is the bottleneck: keep the ids, once, in files: "
                f".tokenize(…).to_parquet(path){threads}"
            )
        if most == self.decoding:
            return (
                "decoding is the bottleneck: read fewer columns, or write the files in a format "
                f"that decodes faster (Arrow IPC, Parquet without a codec){threads}"
            )
        if self.is_local:
            return (
                "the disk is the bottleneck: read fewer columns, or put the files on a faster "
                f"disk{threads}"
            )
        return (
            f"the network is the bottleneck: read fewer columns, or keep the files nearer{threads}"
        )

    def __str__(self) -> str:
        lines = [f"{self._title()}, {', '.join(self._facts())}"]
        shown = [*self._columns(), *self._times()]
        widest = max(len(name) for name, _ in shown)
        lines += [f"  {name:<{widest}}  {told}" for name, told in shown]
        return "\n".join([*lines, self.advice])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        columns = [[code(markup.data(name)), markup.text(told)] for name, told in self._columns()]
        times = [[markup.text(name), markup.text(told, 120)] for name, told in self._times()]
        return markup.figure(
            markup.head(self._title(), self._facts()),
            f"<p>{markup.text(self.advice, 300)}</p>",
            markup.table(["column", "steps"], columns) if columns else "",
            markup.table(["time", "of the loop"], times),
        )

    def _title(self) -> str:
        so_far = "" if self.finished else ", so far"
        return f"Epoch {self.epoch}{so_far}"

    def _facts(self) -> list[str]:
        return [
            count(self.rows, "row"),
            f"{self.batches:,} {'batch' if self.batches == 1 else 'batches'}",
            f"{self.seconds:.3g} s",
            f"{self.rows_per_second:,.0f} rows/s",
            f"{self.bytes_per_second / 1e6:,.1f} MB/s decoded",
        ]

    def _columns(self) -> Iterator[tuple[str, str]]:
        for name, steps in list(self.steps.items())[:_MOST_COLUMNS]:
            real = count(steps.real, "step")
            yield name, f"{real}, {steps.padded:,} padded: {steps.padding:.1%} padding"
        if (left := len(self.steps) - _MOST_COLUMNS) > 0:
            yield "…", count(left, "more column")

    def _times(self) -> Iterator[tuple[str, str]]:
        def share(seconds: float) -> str:
            part = seconds / self.seconds if self.seconds else 0.0
            return f"{seconds:.3g} s, {part:.0%}"

        yield "consumer waits for the stream", share(self.waiting)
        if self.mapping >= 0.005 * self.seconds:
            yield "batches made, and mapped", share(self.mapping)
        yield "stream waits for the consumer", share(self.consuming)
        threads = "in the consumer's thread" if not self.prefetch else "in threads beside it"
        where = "disk" if self.is_local else "network"
        tokenizing = f"{self.tokenizing:.3g} s tokenizing, " if self.tokenizing >= 0.001 else ""
        yield (
            threads,
            f"{self.reading:.3g} s waiting for the {where}, {self.decoding:.3g} s decoding, "
            f"{tokenizing}{self.arranging:.3g} s arranging",
        )


def make_report(watch: Watch, is_local: bool, prefetch: int) -> StreamReport:
    """What the last loop came to so far."""
    loop = watch.loop
    if loop is None:
        raise InvalidInputError(
            "there is nothing to report yet: begin a loop, for batch in stream, and call report() "
            "of the same stream inside or after it"
        )
    spent = loop.seconds()
    return StreamReport(
        loop.epoch,
        loop.rows,
        loop.batches,
        loop.steps(),
        sum(spent.values()),
        spent["waiting"],
        spent["mapping"],
        spent["consuming"],
        loop.reading,
        loop.decoding,
        loop.tokenizing,
        loop.arranging,
        loop.rows_read,
        loop.bytes_read,
        prefetch,
        is_local,
        loop.finished,
    )


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
