"""Recurrent cells as records: what loops, packing and weights have to know of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module


@dataclass(frozen=True)
class Cell:
    """The shape of a cell, whose step and kernels are found by its name. Needs no Numba before.

    name : "LSTM"; the kernel is `lstm` in `kernels/cpu/recurrent/lstm.py`.
    gates : how many columns of the weights each unit has.
    states : how many numbers a unit carries from step to step. Its output is the first.
    apart : whether a step takes each gate's sum over the input, and that over the outputs before,
        as two sums with a bias each, and not as one.
    """

    name: str
    gates: int
    states: int
    apart: bool = False

    @property
    def parts(self) -> int:
        """How many sums a gate has."""
        return 2 if self.apart else 1

    @property
    def sums(self) -> int:
        """How many sums a unit's step takes: of all gates over the input, then over the outputs."""
        return self.gates * self.parts

    @cached_property
    def cpu(self) -> Callable[..., None]:
        """The compiled kernel `(first_row, last_row, rows, weights, states, options, out)`."""
        name = self.name.lower()
        kernel: Callable[..., None] = getattr(
            import_module(f"ragmask.kernels.cpu.recurrent.{name}"), name
        )
        return kernel


LSTM = Cell("LSTM", gates=4, states=2)
