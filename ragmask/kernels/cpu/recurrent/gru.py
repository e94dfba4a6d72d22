"""The gated recurrent unit: K. Cho et al. (2014), with the reset gate after the product."""

from typing import Any

from ragmask.kernels.cells import GRU
from ragmask.kernels.compile import inline, njit
from ragmask.kernels.cpu.recurrent.loop import loop_of
from ragmask.kernels.math import gru_output


@inline
def step(sums: Any, states: Any) -> Any:
    """The state (h,) after a step, from the sums of z, r, and the candidate's two."""
    return (gru_output(sums[0], sums[1], sums[2], sums[3], states[0]),)


gru = njit(loop_of(GRU, step))
