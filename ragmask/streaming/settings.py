"""All that decides what a stream delivers, but for where its rows come from."""

from dataclasses import asdict, dataclass, field
from typing import Any

from ragmask.errors import InvalidInputError
from ragmask.streaming.ahead import AHEAD
from ragmask.streaming.arrange import PLAIN, Buckets, Budget, Packing, Rounding, Rows

WINDOW_ROWS = 100_000


@dataclass(frozen=True)
class Shuffle:
    seed: int
    window_rows: int


@dataclass(frozen=True)
class Shard:
    rank: int = 0
    world_size: int = 1
    even: bool = False


@dataclass(frozen=True)
class Settings:
    """All that decides what a stream delivers, but for the files, the epoch and the maps."""

    rows: int | None = None
    drop_last: bool = False
    budget: Budget | None = None
    buckets: Buckets | None = None
    rounding: Rounding = PLAIN
    packing: Packing | None = None
    shuffle: Shuffle | None = None
    shard: Shard = Shard()
    prefetch: int = AHEAD
    progress: Any = field(default=False, compare=False)  # what is shown of it, see progress.py
    epochs: int | None = 1  # of a loop; None: without end

    def __post_init__(self) -> None:
        rows = self.buckets.rows if self.buckets else self.rows
        if self.shuffle and rows and self.shuffle.window_rows < rows:
            raise InvalidInputError(
                f"a window of {self.shuffle.window_rows:,} rows is smaller than a batch of "
                f"{rows:,}: shuffle(window_rows=) must be at least the batch's rows"
            )

    @property
    def arrangement(self) -> Rows | Buckets | Budget | Packing:
        return self.packing or self.budget or self.buckets or Rows()

    @property
    def window_rows(self) -> int:
        if self.shuffle:
            return self.shuffle.window_rows
        # rows in file order need no company: each row group is a window
        return 0 if isinstance(self.arrangement, Rows) else WINDOW_ROWS

    def __str__(self) -> str:
        """What follows "Stream of 3 files" when one is printed."""
        text = ""
        if self.budget:
            text += f" in batches of at most {self.budget.tokens:,} padded steps"
        elif self.buckets:
            text += f" in batches of {self.buckets.rows:,} rows of similar lengths"
        elif self.rows is not None:
            text += f" in batches of {self.rows:,} {'sequences' if self.packing else 'rows'}"
        if self.rounding != PLAIN:
            steps, rows = self.rounding.multiple_of, self.rounding.rows_multiple
            text += f"\n  padded to multiples of {steps:,} steps and {rows:,} rows"
        if self.shuffle:
            window = f"{self.shuffle.window_rows:,} rows a window"
            text += f"\n  shuffled by seed {self.shuffle.seed}, {window}"
        if self.packing:
            text += f"\n  packed into sequences of {self.packing.length:,} steps"
        if self.shard.world_size > 1:
            text += f"\n  rank {self.shard.rank} of {self.shard.world_size}"
        if self.epochs != 1:
            text += "\n  repeated" + (f" {self.epochs:,} times" if self.epochs else "")
        return text

    def to_dict(self) -> dict[str, Any]:
        """What must be the same for a state to mean the same."""
        arrangement, buckets = self.arrangement, self.buckets
        told = {
            "seed": self.shuffle and self.shuffle.seed,
            "window_rows": self.window_rows,
            "rows": buckets.rows if buckets else self.rows,
            "drop_last": buckets.drop_last if buckets else self.drop_last,
            "tokens": self.budget and self.budget.tokens,
            "bucket": True if buckets else self.budget and self.budget.bucket,
            "pack": self.packing and self.packing.length,
            "column": None if isinstance(arrangement, Rows) else arrangement.column,
        }
        if self.budget:  # it decides which rows a batch has; left out where states never had it
            told |= {name: number for name, number in asdict(self.rounding).items() if number > 1}
        return told
