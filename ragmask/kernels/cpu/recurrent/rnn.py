"""The simple recurrent network, with tanh: J. L. Elman (1990)."""

from typing import Any

from ragmask.kernels.cells import RNN
from ragmask.kernels.compile import inline, njit
from ragmask.kernels.cpu.recurrent.loop import loop_of
from ragmask.kernels.math import tanh


@inline
def step(sums: Any, states: Any) -> Any:
    """The state (h,) after a step."""
    return (tanh(sums[0]),)


rnn = njit(loop_of(RNN, step))
