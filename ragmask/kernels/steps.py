"""What a recurrent cell does in one step, and the gradient of that; CPU and CUDA kernels share it.

A step takes the sums of a unit's gates and the states before, the output first. It gives the states
after, and the numbers that its gradient takes, each cell as many as its record says are `kept`.
The gradient takes these and the gradients of the states after. It gives those of the sums and of
the states before; the part of the output before that comes through the sums is not in it.
"""

from typing import Any

from ragmask.kernels.compile import inline
from ragmask.kernels.intrinsics import multiply_add
from ragmask.kernels.math import sigmoid, tanh, zero


@inline
def lstm_step(sums: Any, states: Any) -> Any:
    """S. Hochreiter, J. Schmidhuber (1997), with the forget gate of F. Gers et al. (2000)."""
    i, f, g, o = sigmoid(sums[0]), sigmoid(sums[1]), tanh(sums[2]), sigmoid(sums[3])
    before = states[1]
    c = multiply_add(f, before, i * g)
    return (o * tanh(c), c), (i, f, g, o, before)


@inline
def lstm_gradient(kept: Any, gradients: Any) -> Any:
    i, f, g, o, before = kept
    of_h, of_c = gradients
    tanh_c = tanh(multiply_add(f, before, i * g))
    of_c = of_c + through_tanh(of_h * o, tanh_c)
    of_i, of_f = through_sigmoid(of_c * g, i), through_sigmoid(of_c * before, f)
    of_g, of_o = through_tanh(of_c * i, g), through_sigmoid(of_h * tanh_c, o)
    return (of_i, of_f, of_g, of_o), (zero(of_h), of_c * f)


@inline
def gru_step(sums: Any, states: Any) -> Any:
    """K. Cho et al. (2014), in the form of Nvidia's cuDNN.

    The candidate's sum over the outputs before is multiplied by the reset gate, bias included, and
    not the outputs (`reset_after`).
    """
    z, r, of_outputs = sigmoid(sums[0]), sigmoid(sums[1]), sums[3]
    before = states[0]
    candidate = tanh(multiply_add(r, of_outputs, sums[2]))
    return (multiply_add(z, before - candidate, candidate),), (z, r, candidate, of_outputs, before)


@inline
def gru_gradient(kept: Any, gradients: Any) -> Any:
    z, r, candidate, of_outputs, before = kept
    of_h = gradients[0]
    of_candidate = through_tanh(multiply_add(-z, of_h, of_h), candidate)
    of_z = through_sigmoid(of_h * (before - candidate), z)
    of_r = through_sigmoid(of_candidate * of_outputs, r)
    return (of_z, of_r, of_candidate, of_candidate * r), (of_h * z,)


@inline
def rnn_step(sums: Any, states: Any) -> Any:
    """J. L. Elman (1990)."""
    h = tanh(sums[0])
    return (h,), (h,)


@inline
def rnn_gradient(kept: Any, gradients: Any) -> Any:
    return (through_tanh(gradients[0], kept[0]),), (zero(gradients[0]),)


@inline
def through_tanh(gradient: Any, y: Any) -> Any:
    """The gradient of x, where y is tanh(x): times 1 - y²."""
    return multiply_add(-(gradient * y), y, gradient)


@inline
def through_sigmoid(gradient: Any, y: Any) -> Any:
    """The gradient of x, where y is sigmoid(x): times y · (1 - y)."""
    through = gradient * y
    return multiply_add(-through, y, through)
