"""The GRU's cell, for the kernels of a recurrence."""

from typing import Any

from ragmask.kernels.compile import cuda_device
from ragmask.kernels.cuda.recurrent.launch import launcher_of
from ragmask.kernels.cuda.recurrent.plan import kernels_of
from ragmask.kernels.math import gru_output


@cuda_device
def gru_cell(sums: Any, carry: Any) -> Any:
    """The state, which it carries, from the sums of z, r, and the candidate's two."""
    z, r, h_of_input, h_of_outputs = sums
    state = gru_output(z, r, h_of_input, h_of_outputs, carry)
    return state, state


GRU = kernels_of(gru_cell)
gru, gru_row = launcher_of(GRU), GRU.row
