"""The weights of an LSTM."""

from ragmask.kernels.cells import LSTM
from ragmask.weights.recurrent import RecurrentWeights


class LSTMWeights(RecurrentWeights):
    """kernel (features, 4 · units), recurrent_kernel (units, 4 · units) and bias (4 · units,).

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.LSTMWeights(np.zeros((64, 512)), np.zeros((128, 512)), np.zeros(512))
    LSTMWeights(64 features, 128 units, float64)

    The gates stand in the order i, f, g, o (input, forget, cell, output), each `units` columns
    wide: Keras's own shapes and order. Read other layouts with `from_keras` and `from_torch`.

    float32 or float64; float16 is held as float32. Raises InvalidInputError, naming the array,
    for shapes that disagree.
    """

    __slots__ = ()
    cell = LSTM
