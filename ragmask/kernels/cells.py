"""Recurrent cells as records: what loops, packing and weights have to know of them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Cell:
    """The shape of a cell, whose step and kernels are found by its name. Needs no Numba before.

    name : "LSTM"; its kernels are `lstm` in `kernels/cpu` and `kernels/cuda`.
    gates : how many columns of the weights each unit has.
    states : how many numbers a unit carries from step to step. Its output is the first.
    apart : of how many gates, the last ones, a step takes the sum over the outputs before by
        itself, and not added to the sum over the input. Such a cell has two biases a gate.
    kept : how many numbers of a step its gradient takes.
    """

    name: str
    gates: int
    states: int
    apart: int = 0
    kept: int = 0

    @property
    def biases(self) -> int:
        """How many biases a gate has: those of its input and of the outputs before, or one."""
        return 2 if self.apart else 1

    @property
    def sums(self) -> int:
        """How many sums a unit's step takes: of all gates, then the others of those apart."""
        return self.gates + self.apart

    @property
    def names(self) -> tuple[str, str, str]:
        """Of its kernels: the layer, the layer that keeps what its gradient takes, the gradient."""
        name = self.name.lower()
        return name, f"{name}_keeping", f"{name}_gradient"

    @property
    def cpu(self) -> Callable[..., None]:
        """The compiled kernel `(first_row, last_row, rows, weights, states, options, out)`."""
        return self._kernel("cpu", 0)

    @property
    def cpu_keeping(self) -> Callable[..., None]:
        """The same kernel, whose out has a third array: for what the gradient takes."""
        return self._kernel("cpu", 1)

    @property
    def cpu_gradient(self) -> Callable[..., None]:
        """The kernel of its gradient, with the same arguments as the others."""
        return self._kernel("cpu", 2)

    @property
    def cpu_weight_gradient(self) -> Callable[..., None]:
        """The kernel of the weights' gradient, which is one for all cells."""
        return _found("cpu", "weight_gradient")

    @property
    def cuda(self) -> Callable[..., None]:
        """What launches it on a GPU; needs the extra `cuda` or `cuda12`."""
        return self._kernel("cuda", 0)

    @property
    def cuda_keeping(self) -> Callable[..., None]:
        """What launches the kernel that makes, of all sums, what the gradient takes."""
        return self._kernel("cuda", 1)

    @property
    def cuda_gradient(self) -> Callable[..., None]:
        """What launches the way back through the steps."""
        return self._kernel("cuda", 2)

    def _kernel(self, target: str, which: int) -> Callable[..., None]:
        return _found(target, self.names[which])


def _found(target: str, name: str) -> Callable[..., None]:
    package = import_module(f"ragmask.kernels.{target}")  # which says what is not installed
    kernel: Callable[..., None] = getattr(package, name)
    return kernel


LSTM = Cell("LSTM", gates=4, states=2, kept=5)
GRU = Cell("GRU", gates=3, states=1, apart=1, kept=5)
RNN = Cell("RNN", gates=1, states=1, kept=1)
CELLS = (LSTM, GRU, RNN)
