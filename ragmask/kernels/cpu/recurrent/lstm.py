"""The LSTM: S. Hochreiter, J. Schmidhuber (1997), with the forget gate of F. Gers et al. (2000)."""

from ragmask.kernels.cells import LSTM
from ragmask.kernels.compile import njit
from ragmask.kernels.cpu.recurrent.gradient import gradient_of
from ragmask.kernels.cpu.recurrent.loop import keeping_loop_of, loop_of
from ragmask.kernels.steps import lstm_gradient as gradient
from ragmask.kernels.steps import lstm_step as step

lstm = njit(loop_of(LSTM, step))
lstm_keeping = njit(keeping_loop_of(LSTM, step))
lstm_gradient = njit(gradient_of(LSTM, gradient))
