"""What an array needs doing where it lives: `Arrays`, one object for the host and one for a GPU.

It is chosen once a batch, by `arrays_of(values)`; whoever has it need not know where that is.
"""

import math
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ragmask.errors import InvalidInputError
from ragmask.kernels.kernel import Kernel

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
# numpy's array or a CudaArray: to who asks `Arrays` for everything, an array is an array
AnyArray = Any
Shape = tuple[int, ...]
T = TypeVar("T")

LARGEST = 2**63 - 1  # what numpy and the kernels can count
Fact = Literal["n_steps", "longest", "begin"]
Facts = dict[str, int | None]


def check_size(shape: Shape, itemsize: int) -> None:
    """Raise where numpy could not count an array's bytes, in which a side of 0 counts as 1.

    Of less, the system knows at once whether it has so much.
    """
    if math.prod(side or 1 for side in shape) * itemsize >= 2**63:
        raise InvalidInputError(f"an array of shape {shape} is larger than any memory")


class Arrays(Protocol):
    """Indices are int64 arrays (rows,); masks bools; no method changes what it is given."""

    @property
    def place(self) -> str:
        """ "cpu", or "cuda:0"."""

    @property
    def is_host(self) -> bool:
        """Whether Python can look at the arrays' items."""

    # -- memory

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> AnyArray:
        """A new array."""

    def full(self, value: Any, shape: Shape, dtype: npt.DTypeLike) -> AnyArray:
        """A new array of one number."""

    def from_host(self, array: Array) -> AnyArray:
        """A small numpy array of an op's own making."""

    def to_host(self, array: AnyArray) -> Array:
        """A numpy copy; an array of the host's itself."""

    def as_dtype(self, array: AnyArray, dtype: npt.DTypeLike) -> AnyArray:
        """The numbers in another dtype; itself where it has that one."""

    def assign(self, source: AnyArray, target: AnyArray) -> None:
        """Write numbers into an array of as many, of another dtype."""

    def read_only(self, array: AnyArray) -> AnyArray:
        """A view that cannot be written through."""

    def frozen(self, array: AnyArray) -> AnyArray:
        """Itself where it cannot be written through; else such a view."""

    def is_aligned(self, array: AnyArray) -> bool:
        """Whether it begins at a multiple of its item's size."""

    def may_overlap(self, array: AnyArray, other: AnyArray) -> bool:
        """Whether two arrays may share memory."""

    def check_writable(self, array: AnyArray, name: str) -> None:
        """Raise unless an op can write its results there."""

    def given_out(self, array: AnyArray) -> Any:
        """What callers see of an array that a batch keeps: a view, or their library's own array."""

    def native(self, array: AnyArray) -> Any:
        """What an op gives back: the array itself, or their library's own."""

    def host_only(self, message: str) -> None:
        """Raise a DeviceError, with `{place}` filled in, unless this is the host."""

    def is_on_device(self, device: int) -> bool:
        """Whether it is that CUDA device. Raises where it is another one."""

    def twin(self, host: T, cuda: T) -> T:
        """Which of two functions that do the same is the one for here."""

    # -- rows

    def facts(self, wanted: Fact, starts: AnyArray, lengths: AnyArray) -> Facts:
        """A fact about rows, and any other that was found out with it.

        n_steps, the sum of lengths; longest; begin, where rows that lie end to end begin, else
        None. Raises where the steps are more than int64 counts.
        """

    def first_bad_row(self, n: int, starts: AnyArray, lengths: AnyArray) -> tuple[int, Facts]:
        """The first row that does not lie inside `n` steps, or -1; and facts found out with it."""

    def has_no_gaps(self, starts: AnyArray, lengths: AnyArray) -> bool:
        """Whether rows lie end to end once empty ones are left out."""

    def offsets_of(self, lengths: AnyArray) -> AnyArray:
        """Where rows begin and end once they are laid end to end, (rows + 1,)."""

    def rows_between(self, n: int, offsets: AnyArray) -> tuple[AnyArray, AnyArray, bool]:
        """(starts, lengths, whether they are checked to lie inside `n` steps) between offsets."""

    def cut(
        self, starts: AnyArray, lengths: AnyArray, begin: int, most: int, from_end: bool = False
    ) -> tuple[AnyArray, AnyArray]:
        """Of each row at most `most` steps, from `begin` on, or its last ones."""

    def pick(
        self, starts: AnyArray, lengths: AnyArray, rows: slice | AnyArray
    ) -> tuple[AnyArray, AnyArray]:
        """Some rows, by a slice or by numbers that were checked."""

    def index_of_bools(self, mask: AnyArray) -> AnyArray:
        """What `pick` takes for an index of bools that was checked."""

    def number_at(self, array: AnyArray, index: int) -> int:
        """One number, on the host."""

    def first_outside(self, ids: AnyArray, mask: AnyArray | None, least: int, limit: int) -> int:
        """Where the first kept id is that is not in [least, limit), or -1."""

    def first_difference(self, one: AnyArray, other: AnyArray) -> int:
        """Where two arrays of one length first differ, or -1."""

    def add(self, one: AnyArray, other: AnyArray) -> AnyArray:
        """Their sum."""

    def kept_nonzero(self, mask: AnyArray | None, numbers: AnyArray) -> AnyArray:
        """`mask & (numbers != 0)`."""

    def arange(self, first: int, step: int, count: int) -> AnyArray:
        """first, first + step, …: `count` numbers."""

    def grouped(
        self, ids: AnyArray, mask: AnyArray | None, n: int
    ) -> tuple[AnyArray, AnyArray, AnyArray]:
        """(starts, lengths, order): where the kept steps of each id from 0 to n - 1 are in `order`.

        The steps of one id stay in order; ids outside are left out.
        """

    def joined_in_time(
        self, parts: list[tuple[AnyArray, AnyArray]]
    ) -> tuple[AnyArray, AnyArray] | None:
        """(starts, lengths) of rows whose parts lie one behind the other; None where they do not.

        A part is (starts, lengths); an empty one lies anywhere.
        """

    def common_dtype(self, dtypes: list[np.dtype[Any]]) -> np.dtype[Any]:
        """The dtype in which numbers of all of these can be put together."""

    # -- dense arrays

    def columns(self, dense: AnyArray, first: int, last: int) -> AnyArray:
        """`dense[:, first:last]`, a view."""

    def line_of(
        self, dense: AnyArray, mask: AnyArray | None
    ) -> tuple[AnyArray, AnyArray, AnyArray | None]:
        """A dense array as one line of steps, where its rows start, and its mask along that line.

        No copy where rows are evenly spaced and the mask's alike, as a temporal split leaves them.
        """

    def kept_rows(
        self, dense: AnyArray, present: AnyArray, want_mask: bool = True
    ) -> tuple[AnyArray, AnyArray, AnyArray, AnyArray | None]:
        """(line of steps, starts, lengths, mask): rows from their first kept step to their last.

        The mask is None where no step between is masked, and unless it is wanted.
        """

    def nonpadding(self, dense: AnyArray, item: Array) -> AnyArray:
        """bool (rows, width): the steps that do not equal an item, in which NaN is NaN."""

    # -- kernels

    def computed(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype in which kernels take floats of a dtype."""

    def run(
        self,
        kernel: Kernel,
        lengths: AnyArray,
        size: int,
        *arguments: Any,
        n_steps: int | None = None,
    ) -> None:
        """Run a kernel over rows of these lengths; `size` is that of a step, or row, to its record.

        All arrays are this object's. n_steps is the sum of the lengths, where that is known.
        """
