"""The GRU's cell, for the kernels of a recurrence."""

from typing import Any

from ragmask.kernels import cells
from ragmask.kernels.compile import cuda_device
from ragmask.kernels.cuda.recurrent.gradient import gradient_kernels_of
from ragmask.kernels.cuda.recurrent.launch import gradient_launchers_of, launcher_of
from ragmask.kernels.cuda.recurrent.plan import kernels_of
from ragmask.kernels.steps import gru_gradient as gru_undo
from ragmask.kernels.steps import gru_step


@cuda_device
def gru_cell(sums: Any, carry: Any) -> Any:
    """The state, which it carries, from the sums of z, r, and the candidate's two."""
    states, _ = gru_step(sums, (carry,))
    return states[0], states[0]


GRU = kernels_of(gru_cell)
gru, gru_row = launcher_of(GRU), GRU.row
GRU_GRADIENT = gradient_kernels_of(gru_step, gru_undo, cells.GRU.kept)
gru_keeping, gru_gradient = gradient_launchers_of(GRU_GRADIENT)
