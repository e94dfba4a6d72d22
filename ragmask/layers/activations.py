"""Functions of each number, or of each step's features, on batches of any kind."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError
from ragmask.layers.batch import each
from ragmask.layers.spec import Spec, check_one


def relu(x: Any) -> Any:
    """`max(x, 0)`.

    >>> import ragmask as rm
    >>> rm.layers.relu(rm.Ragged.from_rows([[-1.0, 2.0]])).to_rows()
    [array([0., 2.])]
    """
    return np.maximum(x, 0)


def _linear(x: Any) -> Any:
    return x


def _sigmoid(x: Any) -> Any:
    return each(x, lambda values: 0.5 + 0.5 * np.tanh(0.5 * values))


def _softmax(x: Any) -> Any:
    """Over the features of a step."""
    if isinstance(x, Ragged | Padded):
        _check_features(x.item_shape)

    def function(values: Array) -> Array:
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        powers = np.exp(values - values.max(axis=-1, keepdims=True, initial=-np.inf))
        shares: Array = powers / powers.sum(axis=-1, keepdims=True)
        return shares

    return each(x, function)


def _check_features(item_shape: tuple[int, ...]) -> None:
    if not item_shape:
        raise InvalidInputError(
            "softmax is over the features of a step, and its steps are numbers; over time it is "
            "TemporalSoftmax"
        )


def _gelu(x: Any) -> Any:
    """D. Hendrycks, K. Gimpel (2016): x times the normal distribution's share below x."""
    return each(x, lambda values: values * (0.5 + 0.5 * _erf(values * math.sqrt(0.5))))


_erf_of_float = np.frompyfunc(math.erf, 1, 1)


def _erf(values: Array) -> Array:
    return np.asarray(_erf_of_float(values)).astype(values.dtype)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": _linear,
    "relu": relu,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "gelu": _gelu,
}


def get(name: str | None) -> Callable[[Any], Any]:
    """An activation by its name; None is linear."""
    if name is None:
        return _linear
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise InvalidInputError(
            f"activation must be one of {', '.join(map(repr, ACTIVATIONS))}; got {name!r}"
        )
    return ACTIVATIONS[name]


def compute_output(name: str | None, spec: Spec) -> Spec:
    """What an activation gives for such a batch."""
    check_one(spec)
    if name == "softmax" and spec.kind != "dense":
        _check_features(spec.item_shape)
    return spec.of(spec.shape, get(name)(np.zeros((1, 1), spec.dtype)).dtype)
