"""The LSTM's cell, for the kernels of a recurrence."""

from typing import Any

from ragmask.kernels import cells
from ragmask.kernels.compile import cuda_device
from ragmask.kernels.cuda.recurrent.gradient import gradient_kernels_of
from ragmask.kernels.cuda.recurrent.launch import gradient_launchers_of, launcher_of
from ragmask.kernels.cuda.recurrent.plan import kernels_of
from ragmask.kernels.steps import lstm_gradient as lstm_undo
from ragmask.kernels.steps import lstm_step


@cuda_device
def lstm_cell(sums: Any, carry: Any) -> Any:
    """The state and cell state, from the sums of the gates i, f, g, o and the old cell state."""
    states, _ = lstm_step(sums, (carry, carry))  # the old state is in the sums
    return states


LSTM = kernels_of(lstm_cell)
lstm, lstm_row = launcher_of(LSTM), LSTM.row
LSTM_GRADIENT = gradient_kernels_of(lstm_step, lstm_undo, cells.LSTM.kept)
lstm_keeping, lstm_gradient = gradient_launchers_of(LSTM_GRADIENT)
