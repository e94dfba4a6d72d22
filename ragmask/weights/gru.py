"""The weights of a GRU."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.errors import UnsupportedTypeError
from ragmask.kernels.cells import GRU
from ragmask.weights.recurrent import RecurrentWeights


class GRUWeights(RecurrentWeights):
    """kernel (features, 3 · units), recurrent_kernel (units, 3 · units) and bias (2, 3 · units).

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.GRUWeights(np.zeros((64, 384)), np.zeros((128, 384)), np.zeros((2, 384)))
    GRUWeights(64 features, 128 units, float64)

    The gates stand in the order z, r, h (update, reset, candidate), each `units` columns wide; the
    biases are that of the input and that of the outputs before. These are Keras's own shapes and
    order with `reset_after=True`. Read other layouts with `from_keras`, `from_torch`
    and `from_onnx`.

    float32 or float64; float16 is held as float32. Raises InvalidInputError, naming the array,
    for shapes that disagree, and UnsupportedTypeError for the weights of a Keras GRU with
    `reset_after=False`, which computes something else.
    """

    __slots__ = ()
    cell = GRU
    _onnx_gates = (0, 1, 2)
    _activations = ("Sigmoid", "Tanh")

    def _check(self, arrays: dict[str, Array]) -> None:
        if arrays["bias"].ndim == 1:
            raise UnsupportedTypeError(
                f"bias has shape {arrays['bias'].shape}, that of a GRU with reset_after=False, "
                "which multiplies by the reset gate before its product and not after: no weights "
                "make the one of the other. Train it with reset_after=True, Keras's default, whose "
                "bias is (2, 3 · units)"
            )
        super()._check(arrays)

    @classmethod
    def from_torch(
        cls, state_dict: Mapping[str, Any], layer: int = 0, reverse: bool = False
    ) -> Self:
        """From one layer and direction of torch's GRU, or of a model that has one.

        torch's matrices are transposed, and its gates r, z, n come in the order z, r, h. Raises
        InvalidInputError where the layer is not there, or is there several times.
        """
        weights = super().from_torch(state_dict, layer, reverse)

        def reordered(array: Array) -> Array:
            r, z, n = np.split(array, 3, axis=-1)
            return np.concatenate([z, r, n], axis=-1)

        return cls(*map(reordered, weights._arrays.values()))

    @classmethod
    def from_onnx(
        cls,
        W: Any,
        R: Any,
        B: Any = None,
        *,
        direction: int = 0,
        activations: Sequence[str | bytes] | None = None,
        clip: float | None = None,
        layout: int = 0,
        linear_before_reset: int = 0,
    ) -> Self:
        """From the inputs W, R and B of ONNX's GRU, and its attributes.

        >>> import numpy as np
        >>> import ragmask as rm
        >>> W, R = np.zeros((1, 384, 64)), np.zeros((1, 384, 128))
        >>> rm.GRUWeights.from_onnx(W, R, linear_before_reset=1)
        GRUWeights(64 features, 128 units, float64)

        W : (directions, 3 · units, features), its gates in the order z, r, h.
        R : (directions, 3 · units, units).
        B : (directions, 6 · units), or None for zeros.
        linear_before_reset : must be 1, as exports of torch and Keras have it; the operator's own
            default is 0.
        direction : which one; 1 is the reverse one of a bidirectional operator. One that is
            reverse, alone or not, runs with `go_backwards=True`.
        layout : of X, and not of the weights: 0 and 1 are the same here.

        Raises InvalidInputError, naming the input, for shapes that disagree; UnsupportedTypeError,
        naming it, for what this GRU does not compute: `linear_before_reset=0`, a clip, and
        activations that are not the operator's own.
        """
        if not linear_before_reset:
            raise UnsupportedTypeError(
                "linear_before_reset=0, the operator's default, multiplies by the reset gate "
                "before its product and not after: no weights make the one of the other. Pass "
                "linear_before_reset=1 where the operator has it, as those of torch have"
            )
        return super().from_onnx(
            W, R, B, direction=direction, activations=activations, clip=clip, layout=layout
        )
