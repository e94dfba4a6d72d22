"""First weights, as Keras draws them."""

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.errors import InvalidInputError
from ragmask.layers.limits import spend_weight

Initializer = Callable[[tuple[int, ...]], Array]
_LEFT_OF_DEVIATION = 0.87962566103423978  # of a normal number's, within two of them
_random = np.random.default_rng()


def set_random_seed(seed: int) -> None:
    """Draw weights, and Dropout's choices, from a generator that begins with this seed.

    >>> import ragmask as rm
    >>> rm.layers.set_random_seed(0)
    """
    global _random
    _random = np.random.default_rng(seed)


def make(initializer: Any, shape: tuple[int, ...], what: str = "a weight") -> Array:
    """An array of that shape, as `get` finds the initializer."""
    if spend_weight(what, shape):
        return np.zeros(shape)
    return np.asarray(get(initializer)(shape))


def get(initializer: Any) -> Callable[[tuple[int, ...]], Any]:
    """A function of a shape: by its name in Keras, in either spelling; of a config, {"class_name":
    "RandomNormal", "config": {"stddev": 0.1}}; of a function, a class of such, or an array.
    """
    if callable(initializer):
        made: Callable[[tuple[int, ...]], Any] = (
            initializer() if isinstance(initializer, type) else initializer
        )
        return made
    if isinstance(initializer, np.ndarray):
        return lambda shape: initializer  # whose shape add_weight checks
    is_config = isinstance(initializer, dict)
    name: Any = initializer.get("class_name") if is_config else initializer
    config: Any = initializer.get("config", {}) if is_config else {}
    if not is_name(name) or not isinstance(config, dict):
        raise InvalidInputError(
            f"initializer must be one of {', '.join(_BY_NAME)} or a function of a shape; "
            f"got {initializer!r}"
        )
    factory = _BY_NAME[_snake(name)]
    known = inspect.signature(factory).parameters
    unknown = [key for key in config if key not in known]
    if unknown:
        raise InvalidInputError(f"initializer {name} takes {', '.join(known)}; got {unknown[0]!r}")
    return factory(**config)


def is_name(name: Any) -> bool:
    """Whether an initializer is known by it."""
    return isinstance(name, str) and _snake(name) in _BY_NAME


def over_axes(initializer: Any, inputs: list[int], outputs: list[int]) -> Any:
    """The same for a kernel whose inputs and outputs lie along these axes, where it scales by how
    many they are."""
    name: Any = initializer.get("class_name") if isinstance(initializer, dict) else initializer
    if not is_name(name) or _snake(name) not in _SCALED:
        return initializer
    config = initializer.get("config", {}) if isinstance(initializer, dict) else {}
    axes = {"input_axes": inputs, "output_axes": outputs}
    return get({"class_name": name, "config": {**axes, **config}})


def _snake(name: str) -> str:
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().removesuffix("_initializer")
    return _OTHER_NAMES.get(snake, snake)


def _generator(seed: Any) -> np.random.Generator:
    if seed is None:
        return _random
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InvalidInputError(f"an initializer's seed is a number from 0, or None; got {seed!r}")
    return np.random.default_rng(seed)


def _zeros() -> Initializer:
    return np.zeros


def _ones() -> Initializer:
    return np.ones


def _constant(value: Any = 0.0) -> Initializer:
    return lambda shape: np.full(shape, value)


def _identity(gain: float = 1.0) -> Initializer:
    def made(shape: tuple[int, ...]) -> Array:
        if len(shape) != 2:
            raise InvalidInputError(f"an identity weight has two dimensions; got {shape}")
        return gain * np.eye(*shape)

    return made


def _random_normal(mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> Initializer:
    return lambda shape: _generator(seed).normal(mean, stddev, shape)


def _random_uniform(minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> Initializer:
    return lambda shape: _generator(seed).uniform(minval, maxval, shape)


def _truncated_normal(mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> Initializer:
    """Within two standard deviations: others are drawn again."""

    def made(shape: tuple[int, ...]) -> Array:
        random = _generator(seed)
        drawn = random.standard_normal(math.prod(shape))
        while (far := np.flatnonzero(np.abs(drawn) > 2)).size:
            drawn[far] = random.standard_normal(far.size)
        return mean + stddev * drawn.reshape(shape)

    return made


def _variance_scaling(
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    seed: Any = None,
    input_axes: Any = None,
    output_axes: Any = None,
) -> Initializer:
    """X. Glorot, Y. Bengio (2010); K. He et al. (2015); Y. LeCun et al. (1998)."""
    if not scale > 0 or mode not in ("fan_in", "fan_out", "fan_avg"):
        raise InvalidInputError(
            f'scale is above 0, and mode "fan_in", "fan_out" or "fan_avg"; got {scale}, {mode!r}'
        )

    def made(shape: tuple[int, ...]) -> Array:
        inputs, outputs = _fans(shape, input_axes, output_axes)
        of_mode = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}
        variance = scale / max(1.0, of_mode[mode])
        deviation = math.sqrt(variance)
        if distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return _random_uniform(-limit, limit, seed)(shape)
        if distribution == "untruncated_normal":
            return _random_normal(0.0, deviation, seed)(shape)
        return _truncated_normal(0.0, deviation / _LEFT_OF_DEVIATION, seed)(shape)

    if distribution not in ("uniform", "untruncated_normal", "truncated_normal", "normal"):
        raise InvalidInputError(
            'distribution is "uniform", "truncated_normal" or "untruncated_normal"; '
            f"got {distribution!r}"
        )
    return made


def _fans(shape: tuple[int, ...], inputs: Any, outputs: Any) -> tuple[int, int]:
    """How many numbers a kernel adds up, and how many sums it makes."""
    if inputs is not None and outputs is not None:
        return math.prod(shape[axis] for axis in inputs), math.prod(shape[axis] for axis in outputs)
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    receptive = math.prod(shape[:-2])
    return shape[-2] * receptive, shape[-1] * receptive


def _scaled(scale: float, mode: str, distribution: str) -> Callable[..., Initializer]:
    def factory(seed: Any = None, input_axes: Any = None, output_axes: Any = None) -> Initializer:
        return _variance_scaling(scale, mode, distribution, seed, input_axes, output_axes)

    return factory


def _orthogonal(gain: float = 1.0, seed: Any = None) -> Initializer:
    """A. M. Saxe et al. (2013)."""

    def made(shape: tuple[int, ...]) -> Array:
        if len(shape) < 2:
            raise InvalidInputError(f"an orthogonal weight has two dimensions or more; got {shape}")
        flat = math.prod(shape[:-1]), shape[-1]
        drawn = _generator(seed).standard_normal((max(flat), min(flat)))
        q, r = np.linalg.qr(drawn)
        q *= np.sign(np.diag(r))
        weight: Array = gain * (q.T if flat[0] < flat[1] else q).reshape(shape)
        return weight

    return made


_SCALED: dict[str, Callable[..., Initializer]] = {
    "glorot_uniform": _scaled(1, "fan_avg", "uniform"),
    "glorot_normal": _scaled(1, "fan_avg", "truncated_normal"),
    "he_uniform": _scaled(2, "fan_in", "uniform"),
    "he_normal": _scaled(2, "fan_in", "truncated_normal"),
    "lecun_uniform": _scaled(1, "fan_in", "uniform"),
    "lecun_normal": _scaled(1, "fan_in", "truncated_normal"),
    "variance_scaling": _variance_scaling,
}
_BY_NAME: dict[str, Callable[..., Initializer]] = {
    **_SCALED,
    "orthogonal": _orthogonal,
    "random_normal": _random_normal,
    "random_uniform": _random_uniform,
    "truncated_normal": _truncated_normal,
    "zeros": _zeros,
    "ones": _ones,
    "constant": _constant,
    "identity": _identity,
}
_OTHER_NAMES = {
    "normal": "random_normal",
    "uniform": "random_uniform",
    "zero": "zeros",
    "one": "ones",
}


def random() -> np.random.Generator:
    return _random
