"""The simple recurrent cell, for the kernels of a recurrence: three of its four sums are zeros."""

from typing import Any

from ragmask.kernels.compile import cuda_device
from ragmask.kernels.cuda.recurrent.launch import launcher_of
from ragmask.kernels.cuda.recurrent.plan import kernels_of
from ragmask.kernels.math import tanh


@cuda_device
def rnn_cell(sums: Any, carry: Any) -> Any:
    """The state, from its sum; it is what the cell carries too."""
    state = tanh(sums[0])
    return state, state


RNN = kernels_of(rnn_cell)
rnn, rnn_row = launcher_of(RNN), RNN.row
