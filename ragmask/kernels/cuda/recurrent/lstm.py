"""The LSTM's cell, for the kernels of a recurrence."""

from typing import Any

from ragmask.kernels.compile import cuda_device
from ragmask.kernels.cuda.recurrent.launch import launcher_of
from ragmask.kernels.cuda.recurrent.plan import kernels_of
from ragmask.kernels.steps import lstm_step


@cuda_device
def lstm_cell(sums: Any, carry: Any) -> Any:
    """The state and cell state, from the sums of the gates i, f, g, o and the old cell state."""
    states, _ = lstm_step(sums, (carry, carry))  # the old state is in the sums
    return states


LSTM = kernels_of(lstm_cell)
lstm, lstm_row = launcher_of(LSTM), LSTM.row
