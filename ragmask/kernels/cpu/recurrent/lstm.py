"""The LSTM: S. Hochreiter, J. Schmidhuber (1997), with the forget gate of F. Gers et al. (2000)."""

from typing import Any

from ragmask.kernels.cells import LSTM
from ragmask.kernels.compile import inline, njit
from ragmask.kernels.cpu.recurrent.loop import loop_of
from ragmask.kernels.math import lstm_output, lstm_state


@inline
def step(sums: Any, states: Any) -> Any:
    """The states (h, c) after a step, from the sums of its gates and the states before."""
    i, f, g, o = sums
    c = lstm_state(i, f, g, states[1])
    return lstm_output(o, c), c


lstm = njit(loop_of(LSTM, step))
