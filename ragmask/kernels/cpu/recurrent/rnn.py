"""The simple recurrent network, with tanh: J. L. Elman (1990)."""

from ragmask.kernels.cells import RNN
from ragmask.kernels.compile import njit
from ragmask.kernels.cpu.recurrent.gradient import gradient_of
from ragmask.kernels.cpu.recurrent.loop import keeping_loop_of, loop_of
from ragmask.kernels.steps import rnn_gradient as gradient
from ragmask.kernels.steps import rnn_step as step

rnn = njit(loop_of(RNN, step))
rnn_keeping = njit(keeping_loop_of(RNN, step))
rnn_gradient = njit(gradient_of(RNN, gradient))
