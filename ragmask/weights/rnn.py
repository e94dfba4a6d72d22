"""The weights of a simple recurrent layer."""

from ragmask.kernels.cells import RNN
from ragmask.weights.recurrent import RecurrentWeights


class RNNWeights(RecurrentWeights):
    """kernel (features, units), recurrent_kernel (units, units) and bias (units,).

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.RNNWeights(np.zeros((64, 128)), np.zeros((128, 128)), np.zeros(128))
    RNNWeights(64 features, 128 units, float64)

    Keras's own shapes. Read torch's with `from_torch`, and ONNX's with `from_onnx`. Of layers
    whose activation is tanh, which is the default of all three.

    float32 or float64; float16 is held as float32. Raises InvalidInputError, naming the array,
    for shapes that disagree.
    """

    __slots__ = ()
    cell = RNN
    _onnx_gates = (0,)
    _activations = ("Tanh",)
