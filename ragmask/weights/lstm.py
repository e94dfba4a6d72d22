"""The weights of an LSTM."""

from collections.abc import Sequence
from typing import Any, Self

from ragmask.errors import UnsupportedTypeError
from ragmask.kernels.cells import LSTM
from ragmask.weights.onnx import of_direction
from ragmask.weights.recurrent import RecurrentWeights


class LSTMWeights(RecurrentWeights):
    """kernel (features, 4 · units), recurrent_kernel (units, 4 · units) and bias (4 · units,).

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.LSTMWeights(np.zeros((64, 512)), np.zeros((128, 512)), np.zeros(512))
    LSTMWeights(64 features, 128 units, float64)

    The gates stand in the order i, f, g, o (input, forget, cell, output), each `units` columns
    wide: Keras's own shapes and order. Read other layouts with `from_keras`, `from_torch` and
    `from_onnx`.

    float32 or float64; float16 is held as float32. Raises InvalidInputError, naming the array,
    for shapes that disagree.
    """

    __slots__ = ()
    cell = LSTM
    _onnx_gates = (0, 2, 3, 1)
    _activations = ("Sigmoid", "Tanh", "Tanh")

    @classmethod
    def from_onnx(
        cls,
        W: Any,
        R: Any,
        B: Any = None,
        *,
        P: Any = None,
        direction: int = 0,
        activations: Sequence[str | bytes] | None = None,
        clip: float | None = None,
        input_forget: int = 0,
        layout: int = 0,
    ) -> Self:
        """From the inputs W, R, B and P of ONNX's LSTM, and its attributes.

        >>> import numpy as np
        >>> import ragmask as rm
        >>> rm.LSTMWeights.from_onnx(np.zeros((1, 512, 64)), np.zeros((1, 512, 128)))
        LSTMWeights(64 features, 128 units, float64)

        W : (directions, 4 · units, features), its gates in ONNX's order i, o, f, c.
        R : (directions, 4 · units, units).
        B : (directions, 8 · units), or None for zeros; its two biases are one here.
        P : (directions, 3 · units), which must be zeros.
        direction : which one; 1 is the reverse one of a bidirectional operator. One that is
            reverse, alone or not, runs with `go_backwards=True`.
        layout : of X, and not of the weights: 0 and 1 are the same here.

        Raises InvalidInputError, naming the input, for shapes that disagree; UnsupportedTypeError,
        naming it, for what this LSTM does not compute: peepholes, `input_forget`, a clip, and
        activations that are not the operator's own.
        """
        if input_forget:
            raise UnsupportedTypeError(
                "input_forget=1 is not supported: its input gate is 1 less the forget gate, and no "
                "weights do so"
            )
        if P is not None and of_direction(cls.cell, direction, W=W, R=R, P=P)["P"].any():
            raise UnsupportedTypeError(
                "peepholes are not supported: P must be zeros, as gates do not see the cell here"
            )
        return super().from_onnx(
            W, R, B, direction=direction, activations=activations, clip=clip, layout=layout
        )
