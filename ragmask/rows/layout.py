"""Layout: where rows lie in their values, checked, and what is known of that."""

from typing import Any

from ragmask.arrays.protocol import LARGEST, AnyArray, Arrays, Fact, Facts
from ragmask.errors import InvalidInputError
from ragmask.kernels.kernel import Kernel
from ragmask.rows.checks import Side


class Layout:
    """Starts and lengths of rows, int64 (rows,), and facts about them, each found out once.

    Immutable, and shared by all that lies alike: a batch, its mask, what an op makes of it.
    """

    __slots__ = ("_end_to_end", "_facts", "_offsets", "arrays", "lengths", "starts")

    def __init__(
        self,
        arrays: Arrays,
        starts: AnyArray,
        lengths: AnyArray,
        facts: Facts | None = None,
    ) -> None:
        # of arrays that may be written to, kernels would be compiled once more
        self.arrays, self.starts, self.lengths = (
            arrays,
            arrays.frozen(starts),
            arrays.frozen(lengths),
        )
        self._facts: Facts = {} if facts is None else facts
        self._offsets: AnyArray = None
        self._end_to_end: Layout | None = None

    @classmethod
    def checked(cls, arrays: Arrays, n: int, starts: AnyArray, lengths: AnyArray) -> "Layout":
        """Of rows that a caller says lie inside `n` steps. Raises, naming the first that does not.

        A kernel does not check bounds: this is what stands between it and foreign memory.
        """
        if starts.shape != lengths.shape:
            raise InvalidInputError(
                f"starts and lengths must be equally long; got {starts.size} and {lengths.size}"
            )
        row, facts = arrays.first_bad_row(n, starts, lengths)
        if row >= 0:
            start, length = arrays.number_at(starts, row), arrays.number_at(lengths, row)
            fault = (
                f"its start {start} is negative"
                if start < 0
                else f"its length {length} is negative"
                if length < 0
                else f"it covers steps {start} to {start + length}, and there are {n}"
            )
            raise InvalidInputError(f"row {row} does not lie inside the values: {fault}")
        return cls(arrays, starts, lengths, facts)

    @classmethod
    def between(cls, arrays: Arrays, n: int, offsets: AnyArray) -> "Layout":
        """Of the rows between offsets, once these are checked to lie inside `n` steps."""
        starts, lengths, are_checked = arrays.rows_between(n, offsets)
        if are_checked:
            return cls(arrays, starts, lengths)
        return cls.checked(arrays, n, starts, lengths)

    @classmethod
    def of_lengths(cls, arrays: Arrays, lengths: AnyArray) -> "Layout":
        """Of rows that lie end to end."""
        offsets = arrays.offsets_of(lengths)
        layout = cls(arrays, offsets[:-1], lengths, {"begin": 0})
        if arrays.is_host:
            layout._facts["n_steps"] = int(offsets[-1])
        layout._offsets = offsets
        return layout

    def __len__(self) -> int:
        return len(self.lengths)

    def _fact(self, name: Fact) -> Any:
        facts = self._facts
        if name not in facts:
            facts.update(self.arrays.facts(name, self.starts, self.lengths))
        return facts[name]

    @property
    def n_steps(self) -> int:
        """The sum of all lengths."""
        n: int = self._fact("n_steps")
        return n

    @property
    def longest(self) -> int:
        """The longest row's length; 0 where there are no rows."""
        n: int = self._fact("longest")
        return n

    @property
    def begin(self) -> int | None:
        """Where the rows begin if each begins where the one before it ended; else None."""
        n: int | None = self._fact("begin")
        return n

    @property
    def offsets(self) -> AnyArray:
        """Where rows begin and end once they lie end to end, int64 (rows + 1,)."""
        if self._offsets is None:
            self._offsets = self.arrays.offsets_of(self.lengths)
        return self._offsets

    @property
    def end_to_end(self) -> "Layout":
        """Of the same rows laid end to end from 0 on; itself where they are."""
        if self.begin == 0:
            return self
        if self._end_to_end is None:
            facts = {name: fact for name, fact in self._facts.items() if name != "begin"}
            compact = Layout(self.arrays, self.offsets[:-1], self.lengths, {**facts, "begin": 0})
            compact._offsets = self.offsets
            self._end_to_end = compact
        return self._end_to_end

    def run(self, kernel: Kernel, size: int, *arguments: Any) -> None:
        """Run a kernel over these rows; `size` is that of a step, or row, to its record."""
        n_steps = self._facts.get("n_steps")
        self.arrays.run(kernel, self.lengths, size, *arguments, n_steps=n_steps)

    def pick(self, rows: slice | AnyArray) -> "Layout":
        """Some rows, whose numbers are known to be right."""
        return Layout(self.arrays, *self.arrays.pick(self.starts, self.lengths, rows))

    def truncate(self, maxlen: int, side: Side) -> "Layout":
        """Rows of at most `maxlen` steps; `side` is the end that is cut off."""
        most, from_end = min(maxlen, LARGEST), side == "pre"
        cut = self.arrays.cut(self.starts, self.lengths, 0, most, from_end)
        return Layout(self.arrays, *cut)

    def span(self, begin: int, width: int) -> "Layout":
        """Each row's steps from `begin` to `begin + width`."""
        return Layout(self.arrays, *self.arrays.cut(self.starts, self.lengths, begin, width))

    def row_and_step(self, index: int) -> tuple[int, int]:
        """Which step of which row is number `index` when rows lie end to end; for errors."""
        offsets = self.arrays.to_host(self.offsets)
        row = int(offsets.searchsorted(index, side="right")) - 1
        return row, index - int(offsets[row])
