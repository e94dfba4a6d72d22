"""First weights, as Keras draws them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.errors import InvalidInputError
from ragmask.layers.limits import spend_weight

_random = np.random.default_rng()


def set_random_seed(seed: int) -> None:
    """Draw weights, and Dropout's choices, from a generator that begins with this seed.

    >>> import ragmask as rm
    >>> rm.layers.set_random_seed(0)
    """
    global _random
    _random = np.random.default_rng(seed)


def make(initializer: Any, shape: tuple[int, ...], what: str = "a weight") -> Array:
    """An array of that shape: by name, or by a function of a shape."""
    if spend_weight(what, shape):
        return np.zeros(shape)
    if callable(initializer):
        return np.asarray(initializer(shape))
    if initializer not in _BY_NAME:
        raise InvalidInputError(
            f"initializer must be one of {', '.join(_BY_NAME)} or a function of a shape; "
            f"got {initializer!r}"
        )
    return _BY_NAME[initializer](shape)


def _glorot_uniform(shape: tuple[int, ...]) -> Array:
    """X. Glorot, Y. Bengio (2010)."""
    receptive = math.prod(shape[:-2])
    inputs = shape[-2] * receptive if len(shape) > 1 else math.prod(shape)
    outputs = shape[-1] * receptive if shape else 1
    limit = math.sqrt(6 / max(inputs + outputs, 1))
    return _random.uniform(-limit, limit, shape)


def _orthogonal(shape: tuple[int, ...]) -> Array:
    """A. M. Saxe et al. (2013)."""
    if len(shape) < 2:
        raise InvalidInputError(f"an orthogonal weight has two dimensions or more; got {shape}")
    flat = math.prod(shape[:-1]), shape[-1]
    drawn = _random.standard_normal((max(flat), min(flat)))
    q, r = np.linalg.qr(drawn)
    q *= np.sign(np.diag(r))
    return (q.T if flat[0] < flat[1] else q).reshape(shape)


_BY_NAME: dict[str, Callable[[tuple[int, ...]], Array]] = {
    "glorot_uniform": _glorot_uniform,
    "orthogonal": _orthogonal,
    "random_normal": lambda shape: 0.05 * _random.standard_normal(shape),
    "random_uniform": lambda shape: _random.uniform(-0.05, 0.05, shape),
    "uniform": lambda shape: _random.uniform(-0.05, 0.05, shape),
    "zeros": np.zeros,
    "ones": np.ones,
}


def random() -> np.random.Generator:
    return _random
