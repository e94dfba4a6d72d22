"""The gated recurrent unit: K. Cho et al. (2014), with the reset gate after the product."""

from ragmask.kernels.cells import GRU
from ragmask.kernels.compile import njit
from ragmask.kernels.cpu.recurrent.gradient import gradient_of
from ragmask.kernels.cpu.recurrent.loop import keeping_loop_of, loop_of
from ragmask.kernels.steps import gru_gradient as gradient
from ragmask.kernels.steps import gru_step as step

gru = njit(loop_of(GRU, step))
gru_keeping = njit(keeping_loop_of(GRU, step))
gru_gradient = njit(gradient_of(GRU, gradient))
