"""The simple recurrent cell, for the kernels of a recurrence: three of its four sums are zeros."""

from typing import Any

from ragmask.kernels import cells
from ragmask.kernels.compile import cuda_device
from ragmask.kernels.cuda.recurrent.gradient import gradient_kernels_of
from ragmask.kernels.cuda.recurrent.launch import gradient_launchers_of, launcher_of
from ragmask.kernels.cuda.recurrent.plan import kernels_of
from ragmask.kernels.math import tanh, zero
from ragmask.kernels.steps import rnn_gradient as undo
from ragmask.kernels.steps import rnn_step


@cuda_device
def rnn_cell(sums: Any, carry: Any) -> Any:
    """The state, from its sum; it is what the cell carries too."""
    state = tanh(sums[0])
    return state, state


@cuda_device
def rnn_undo(kept: Any, gradients: Any) -> Any:
    """`steps.rnn_gradient`, with zeros for the sums that are none."""
    (of_sum,), states = undo(kept, gradients)
    nothing = zero(of_sum)
    return (of_sum, nothing, nothing, nothing), states


RNN = kernels_of(rnn_cell)
rnn, rnn_row = launcher_of(RNN), RNN.row
RNN_GRADIENT = gradient_kernels_of(rnn_step, rnn_undo, cells.RNN.kept)
rnn_keeping, rnn_gradient = gradient_launchers_of(RNN_GRADIENT)
