"""The LSTM's cell, for the kernels of a recurrence."""

from typing import Any

from ragmask.kernels.compile import cuda_device
from ragmask.kernels.cuda.recurrent.launch import launcher_of
from ragmask.kernels.cuda.recurrent.plan import kernels_of
from ragmask.kernels.math import lstm_output, lstm_state


@cuda_device
def lstm_cell(sums: Any, carry: Any) -> Any:
    """The state and cell state, from the sums of the gates i, f, g, o and the old cell state."""
    i, f, g, o = sums
    carry = lstm_state(i, f, g, carry)
    return lstm_output(o, carry), carry


LSTM = kernels_of(lstm_cell)
lstm, lstm_row = launcher_of(LSTM), LSTM.row
