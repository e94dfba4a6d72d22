"""Functions of each number, or of each step's features, on batches of any kind."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError
from ragmask.layers.batch import as_batch, each
from ragmask.layers.spec import Spec, check_one

ACTIVATIONS: dict[str, Callable[..., Any]] = {}
_OF_FEATURES: set[str] = set()
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _activation(function: Callable[..., Array]) -> Callable[..., Any]:
    """A function of arrays as one of batches too, known by its name."""

    @wraps(function)
    def of_batch(x: Any, *args: Any, **options: Any) -> Any:
        return each(as_batch(x), lambda values: function(values, *args, **options))

    ACTIVATIONS[function.__name__] = of_batch
    return of_batch


def _of_features(function: Callable[..., Array]) -> Callable[..., Any]:
    """The same for one of a step's features."""
    name = function.__name__

    @wraps(function)
    def checked(x: Any, *args: Any, **options: Any) -> Any:
        if isinstance(x, Ragged | Padded):
            _check_features(name, x.item_shape)
        return each(as_batch(x), lambda values: function(values, *args, **options))

    ACTIVATIONS[name] = checked
    _OF_FEATURES.add(name)
    return checked


def _check_features(name: str, item_shape: Any) -> None:
    if not item_shape:
        raise InvalidInputError(
            f"{name} is over the features of a step, and its steps are numbers; over time softmax "
            "is TemporalSoftmax"
        )


def floats(values: Array) -> Array:
    """Integers and bools as float32."""
    return values if values.dtype.kind == "f" else values.astype(np.float32)


# -- functions of each number -------------------------------------------------------------


@_activation
def linear(x: Array) -> Array:
    return x


@_activation
def relu(
    x: Array, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    """`max(x, 0)`; or x between a threshold and a maximum, and a line of another slope below.

    >>> import ragmask as rm
    >>> rm.layers.relu(rm.Ragged.from_rows([[-1.0, 2.0]])).to_rows()
    [array([0., 2.])]
    """
    if negative_slope or threshold:
        x = floats(x)
    above: Any = np.maximum(x, 0)
    if threshold:
        above = np.where(x <= threshold, x.dtype.type(0), x)
    if max_value is not None:
        above = np.minimum(above, x.dtype.type(max_value))
    if negative_slope:
        above = above - negative_slope * np.maximum(threshold - x, 0)
    bent: Array = above
    return bent


@_activation
def leaky_relu(x: Array, negative_slope: float = 0.2) -> Array:
    x = floats(x)
    return np.where(x >= 0, x, x * negative_slope)


@_activation
def relu6(x: Array) -> Array:
    return np.minimum(np.maximum(x, 0), 6)


@_activation
def elu(x: Array, alpha: float = 1.0) -> Array:
    """D.-A. Clevert et al. (2015)."""
    x = floats(x)
    return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


@_activation
def selu(x: Array) -> Array:
    """G. Klambauer et al. (2017)."""
    x = floats(x)
    scaled: Array = _SELU_SCALE * np.where(x >= 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0)))
    return scaled


@_activation
def celu(x: Array, alpha: float = 1.0) -> Array:
    """J. T. Barron (2017)."""
    x = floats(x)
    smooth: Array = np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha)
    return smooth


@_activation
def softplus(x: Array) -> Array:
    return _softplus(floats(x))


def _softplus(x: Array) -> Array:
    smooth: Array = np.logaddexp(x, x.dtype.type(0))
    return smooth


@_activation
def softsign(x: Array) -> Array:
    x = floats(x)
    return np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))


@_activation
def soft_shrink(x: Array, threshold: float = 0.5) -> Array:
    x = floats(x)
    return x - np.clip(x, -threshold, threshold) if threshold >= 0 else x


@_activation
def hard_shrink(x: Array, threshold: float = 0.5) -> Array:
    return np.where(np.abs(x) <= threshold, x.dtype.type(0), x)


@_activation
def tanh_shrink(x: Array) -> Array:
    x = floats(x)
    return x - np.tanh(x)


@_activation
def sparse_plus(x: Array) -> Array:
    x = floats(x)
    return np.where(x >= 1, x, np.square(np.maximum(x, -1) + 1) / 4)


@_activation
def squareplus(x: Array, b: float = 4) -> Array:
    """J. T. Barron (2021)."""
    x = floats(x)
    smooth: Array = (x + np.sqrt(np.square(x) + b)) / 2
    return smooth


@_activation
def sigmoid(x: Array) -> Array:
    return _sigmoid(floats(x))


def _sigmoid(x: Array) -> Array:
    shares: Array = 1 / (1 + np.exp(-x))
    return shares


@_activation
def hard_sigmoid(x: Array) -> Array:
    return _hard_sigmoid(floats(x))


def _hard_sigmoid(x: Array) -> Array:
    return np.clip(x / 6 + 0.5, 0, 1)


@_activation
def log_sigmoid(x: Array) -> Array:
    return -_softplus(-floats(x))


@_activation
def sparse_sigmoid(x: Array) -> Array:
    return np.clip((floats(x) + 1) / 2, 0, 1)


@_activation
def silu(x: Array) -> Array:
    """P. Ramachandran et al. (2017), who call it swish."""
    x = floats(x)
    return x * _sigmoid(x)


@_activation
def hard_silu(x: Array) -> Array:
    x = floats(x)
    return x * _hard_sigmoid(x)


@_activation
def mish(x: Array) -> Array:
    """D. Misra (2019)."""
    x = floats(x)
    return x * np.tanh(_softplus(x))


@_activation
def gelu(x: Array, approximate: bool = False) -> Array:
    """D. Hendrycks, K. Gimpel (2016): x times the normal distribution's share below x."""
    x = floats(x)
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return x * (0.5 + 0.5 * np.tanh(inner))
    return x * (0.5 + 0.5 * _erf(x * math.sqrt(0.5)))


_erf_of_float = np.frompyfunc(math.erf, 1, 1)


def _erf(values: Array) -> Array:
    return np.asarray(_erf_of_float(values)).astype(values.dtype)


@_activation
def tanh(x: Array) -> Array:
    return np.tanh(floats(x))


@_activation
def hard_tanh(x: Array) -> Array:
    return np.clip(x, -1, 1) if x.dtype.kind in "if" else np.minimum(x, 1)


@_activation
def exponential(x: Array) -> Array:
    return np.exp(floats(x))


# -- functions of a step's features -------------------------------------------------------


@_of_features
def softmax(x: Array, axis: Any = -1) -> Array:
    x = floats(x)
    powers = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    shares: Array = powers / powers.sum(axis=axis, keepdims=True)
    return shares


@_of_features
def log_softmax(x: Array, axis: Any = -1) -> Array:
    x = floats(x)
    x = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    shares: Array = x - np.log(np.exp(x).sum(axis=axis, keepdims=True))
    return shares


@_of_features
def sparsemax(x: Array, axis: int = -1) -> Array:
    """A. F. T. Martins, R. F. Astudillo (2016)."""
    x = np.moveaxis(floats(x), axis, -1)
    falling = -np.sort(-x, axis=-1)
    over = np.cumsum(falling, axis=-1) - 1
    ranks = np.arange(1, x.shape[-1] + 1).astype(x.dtype)
    count = np.count_nonzero(falling * ranks > over, axis=-1, keepdims=True)
    last = np.maximum(count - 1, 0)
    if x.shape[-1]:
        x = np.maximum(x - np.take_along_axis(over / ranks, last, axis=-1), 0)
    return np.moveaxis(x, -1, axis)


@_of_features
def glu(x: Array, axis: int = -1) -> Array:
    """Y. N. Dauphin et al. (2016): half the features, each let through by another."""
    _half(x.shape[axis])
    x, gates = np.split(floats(x), 2, axis)
    return x * _sigmoid(gates)


def _half(features: int | None) -> int:
    if features is None or features % 2:
        raise InvalidInputError(f"glu halves the features of a step; got {features}")
    return features // 2


ACTIVATIONS |= {"swish": silu, "hard_swish": hard_silu}


# -- as layers take them ------------------------------------------------------------------


def get(activation: Any) -> Callable[[Any], Any]:
    """A function of batches: by its name, or of a function of arrays; None is linear."""
    if activation is None:
        return linear
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation]
    if callable(activation) and not isinstance(activation, type):
        is_ours = any(activation is one for one in ACTIVATIONS.values())
        return activation if is_ours else lambda x: each(x, activation)
    names = ", ".join(map(repr, ACTIVATIONS))
    raise InvalidInputError(
        f"activation must be one of {names}, or a function of arrays; got {activation!r}"
    )


def name_of(activation: Any) -> Any:
    """The name of a function that has one here; all else as it is."""
    names = [name for name, one in ACTIVATIONS.items() if one is activation]
    return names[0] if names else activation


def compute_output(activation: Any, spec: Spec) -> Spec:
    """What an activation gives for such a batch."""
    check_one(spec)
    activation = name_of(activation)
    function, shape = get(activation), spec.shape
    if activation is not None and not isinstance(activation, str):
        tried = spec.example(1)  # of a user's own function nothing is known
        made = function(tried)
        return spec.of((*shape[: 2 if spec.has_time else 1], *_item_shape(made, spec)), made.dtype)
    if activation in _OF_FEATURES and spec.kind != "dense":
        _check_features(activation, spec.item_shape)
    if activation == "glu":
        if len(shape) < 2:
            raise InvalidInputError("glu halves the features of a step, and there are none")
        shape = (*shape[:-1], _half(shape[-1]))
    return spec.of(shape, function(np.zeros((1, 2), spec.dtype)).dtype)


def _item_shape(batch: Any, spec: Spec) -> Any:
    if isinstance(batch, Ragged | Padded):
        return batch.item_shape
    return batch.shape[2 if spec.has_time else 1 :]
