"""A kernel as a record: what threads, launches, proofs and benchmarks have to know of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

WORDS = ("uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Kernel:
    """The twin kernels of one op, and what running them costs. Needs no Numba until it is run.

    name : of the functions, in `kernels/cpu/<module>.py` and `kernels/cuda/<module>.py`.
    arguments : what both take, as "name: kind" in order. The kinds: `ints` int64 (n,), `mask`
        bools (n,) or None, `bools` (n,), `flat` numbers (n,), `items` numbers (n, features),
        `places` int64 (n, features), `number`, `int` and `bool`; attention's `sizes` and `window`,
        4 and 2 ints, and `real`, of the type that is computed in.
    numbers : the dtypes that `flat`, `items` and `number` may have.
    row_ns, step_ns, size_ns : a guess of one thread's nanoseconds: for each row, for each step,
        and for each unit of what the caller says is the size of a step (bytes, or features).
    size_of : "row" where that size is a whole row's, as in padding.
    shares : what the blocks of a GPU divide among them beside the rows: a step's "features", the
        "bytes" of the result, or its "tiles" of 64 steps by 64 numbers, or nothing.
    """

    name: str
    module: str
    arguments: str
    numbers: tuple[str, ...] = ()
    row_ns: float = 10.0
    step_ns: float = 0.0
    size_ns: float = 0.0
    size_of: Literal["step", "row"] = "step"
    shares: Literal["features", "bytes", "tiles"] | None = None

    @cached_property
    def cpu(self) -> Callable[..., None]:
        """The compiled loop `(first_row, last_row, *arguments)`."""
        function: Callable[..., None] = self._function("cpu")
        return function

    @cached_property
    def cuda(self) -> Any:
        """The CUDA kernel; needs the extra `cuda` or `cuda12`."""
        return self._function("cuda")

    def _function(self, target: str) -> Any:
        package = import_module(f"ragmask.kernels.{target}")  # which says what is not installed
        return getattr(import_module(f"{package.__name__}.{self.module}"), self.name)

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """(name, kind) of each argument."""
        pairs = (argument.split(": ") for argument in self.arguments.split(", "))
        return [(name, kind) for name, kind in pairs]

    def total_ns(
        self, lengths: npt.NDArray[np.int64], size: int, n_steps: int | None = None
    ) -> float:
        """What one thread takes for all rows; n_steps is the sum of lengths, where it is known."""
        if self.size_of == "row":
            return (self.row_ns + self.size_ns * size) * lengths.size
        if n_steps is None:
            n_steps = int(lengths.sum())
        return self.row_ns * lengths.size + (self.step_ns + self.size_ns * size) * n_steps

    def cost_ns(self, lengths: npt.NDArray[np.int64], size: int) -> Any:
        """What a thread takes for each row: one number for all, or one a row."""
        if self.size_of == "row":
            return self.row_ns + self.size_ns * size
        return self.row_ns + (self.step_ns + self.size_ns * size) * lengths
