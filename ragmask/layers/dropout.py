"""Layers that add chance in training, and give back what they get otherwise."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers import initializers
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, shown_shape

_ALPHA = -1.6732632423543772 * 1.0507009873554805  # what SELU tends to, far below 0


class _Random(Layer):
    """What changes floats by chance where `training` is True, unless its share of chance is 0.

    seed : begins a generator of its own, so that layers of one seed choose alike when they are
        called alike; None for the one of `set_random_seed`.
    """

    supports_masking = True
    _share = "rate"
    noise_shape: tuple[int | None, ...] | None = None

    def __init__(self, share: Any, seed: Any, **options: Any) -> None:
        super().__init__(**options)
        is_number = isinstance(share, int | float) and not isinstance(share, bool)
        if not (is_number and 0 <= share <= 1):
            what = "a share" if self._share == "rate" else "a number"
            raise InvalidInputError(f"{self._share} is {what}, 0 to 1; got {share!r}")
        setattr(self, self._share, share)
        self.seed, self._generator = seed, generator(seed)

    def _drawn(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Chance, of a shape that the values' is filled with."""
        raise NotImplementedError

    def _changed(self, values: Array, drawn: Array) -> Array:
        raise NotImplementedError

    def _with(self, values: Array, drawn: Array) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):  # padding may hold anything
            return self._changed(values, drawn)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or getattr(self, self._share) == 0:
            return inputs
        self._check_floats(inputs.dtype)
        random = initializers.random() if self._generator is None else self._generator

        def draw(shape: tuple[int, ...]) -> Array:
            return self._drawn(random, shape)

        if isinstance(inputs, Ragged):
            rows = inputs.compact()
            drawn = self._for_ragged(rows, draw)
            return rows.with_values(self._with(rows._rows.values, drawn))
        values = inputs.values if isinstance(inputs, Padded) else inputs
        changed = self._with(values, draw(self._sizes(values.shape)))
        return Padded(changed, inputs.mask) if isinstance(inputs, Padded) else changed

    def compute_output(self, inputs: Any, training: bool = False) -> Any:
        if training and getattr(self, self._share):
            self._check_floats(inputs.dtype)
        return inputs

    def _check_floats(self, dtype: np.dtype[Any]) -> None:
        if dtype.kind != "f":
            raise UnsupportedTypeError(
                f"layer {self.name!r} scales numbers, which {dtype} cannot hold"
            )

    def _sizes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that is drawn for values of this one."""
        wanted = self._noise_shape_of(len(shape))
        if len(wanted) != len(shape) or any(
            one not in (None, 1, size) for one, size in zip(wanted, shape, strict=True)
        ):
            raise InvalidInputError(
                f"layer {self.name!r} has noise_shape={self.noise_shape}, which does not fit "
                f"inputs of shape {shown_shape(shape)}"
            )
        return tuple(size if one is None else one for one, size in zip(wanted, shape, strict=True))

    def _noise_shape_of(self, ndim: int) -> tuple[int | None, ...]:
        return (None,) * ndim if self.noise_shape is None else self.noise_shape

    def _for_ragged(self, rows: Ragged, draw: Callable[[tuple[int, ...]], Array]) -> Array:
        """Chance for each of its steps; the same for a whole row where time is 1 in `noise_shape`,
        and for steps at the same place in all rows where rows are."""
        time = self._noise_shape_of(len(rows.item_shape) + 2)[1:2]
        if time not in ((None,), (1,)):
            raise InvalidInputError(
                f"layer {self.name!r} has noise_shape={self.noise_shape}; the rows of a Ragged "
                "have any number of steps: make its time None (each step its own) or 1"
            )
        whole = len(rows), rows.max_length, *rows.item_shape
        of_rows, of_time, *items = self._sizes(whole)
        if time == (None,) and of_rows != 1:
            return draw((rows.n_steps, *items))
        if time == (None,):
            at = np.arange(rows.n_steps) - np.repeat(rows.starts, rows.lengths)
            return draw((of_time, *items))[at]
        drawn = np.broadcast_to(draw((of_rows, *items)), (len(rows), *items))
        return np.repeat(drawn, rows.lengths, axis=0)


@register
class Dropout(_Random):
    """With `training=True` sets a share `rate` of the numbers to 0, and scales the others up.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.layers.Dropout(0.5)(np.ones((1, 3)))
    array([[1., 1., 1.]])

    noise_shape : (rows, time, features), None for as many choices as there are, and 1 for one: so
        (None, 1, None) drops features of whole rows.
    seed : layers of one seed choose alike when they are called alike.

    Gives back what it got otherwise. Passes masks on.
    """

    rate: float

    def __init__(
        self, rate: float, noise_shape: Any = None, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(rate, seed, **options)
        self.noise_shape = _noise_shape(noise_shape)

    def _drawn(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return random.random(shape)

    def _changed(self, values: Array, drawn: Array) -> Array:
        return dropped(values, drawn, self.rate)


@register
class SpatialDropout1D(Dropout):
    """Dropout of whole features of a row: the same in all of its steps.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.layers.SpatialDropout1D(0.5)(np.ones((1, 2, 1))).shape
    (1, 2, 1)
    """

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(rate, (None, 1, None), seed, **options)

    def call(self, inputs: Any, training: bool = False) -> Any:
        self._check_axes(inputs)
        return super().call(inputs, training)

    def compute_output(self, inputs: Spec, training: bool = False) -> Spec:
        self._check_axes(inputs)
        checked: Spec = super().compute_output(inputs, training)
        return checked

    def _check_axes(self, batch: Any) -> None:
        ndim = len(batch.item_shape) + 2 if isinstance(batch, Ragged) else len(batch.shape)
        if ndim != 3:
            raise InvalidInputError(
                f"layer {self.name!r} takes steps of features, (rows, time, features); "
                f"got {ndim} axes"
            )


@register
class AlphaDropout(_Random):
    """Dropout that keeps mean and variance of what SELU gives: G. Klambauer et al. (2017).

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.layers.AlphaDropout(0.5)(np.ones((1, 3)))
    array([[1., 1., 1.]])

    noise_shape, seed : as Dropout's.
    """

    rate: float

    def __init__(
        self, rate: float, noise_shape: Any = None, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(rate, seed, **options)
        self.noise_shape = _noise_shape(noise_shape)

    def _drawn(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return random.random(shape) >= self.rate

    def _changed(self, values: Array, drawn: Array) -> Array:
        if self.rate == 1:
            return np.zeros_like(values)
        scale = ((1 - self.rate) * (1 + self.rate * _ALPHA**2)) ** -0.5
        left = np.where(drawn, values, values.dtype.type(_ALPHA))
        changed: Array = (scale * left - scale * _ALPHA * self.rate).astype(values.dtype)
        return changed


@register
class GaussianDropout(_Random):
    """With `training=True` multiplies by normal numbers around 1: N. Srivastava et al. (2014).

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.layers.GaussianDropout(0.5)(np.ones((1, 3)))
    array([[1., 1., 1.]])

    rate : of the Dropout that has the same variance, rate / (1 - rate); below 1.
    """

    rate: float

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(rate, seed, **options)
        if rate == 1:
            raise InvalidInputError("rate is below 1: the variance of rate 1 is infinite")

    def _drawn(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return random.normal(1, math.sqrt(self.rate / (1 - self.rate)), shape)

    def _changed(self, values: Array, drawn: Array) -> Array:
        scaled: Array = values * drawn.astype(values.dtype)
        return scaled


@register
class GaussianNoise(_Random):
    """With `training=True` adds normal numbers.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.layers.GaussianNoise(0.1)(np.ones((1, 3)))
    array([[1., 1., 1.]])

    stddev : their standard deviation, 0 to 1.
    """

    _share = "stddev"
    stddev: float

    def __init__(self, stddev: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(stddev, seed, **options)

    def _drawn(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return random.normal(0, self.stddev, shape)

    def _changed(self, values: Array, drawn: Array) -> Array:
        noisy: Array = values + drawn.astype(values.dtype)
        return noisy


@register
class ActivityRegularization(Layer):
    """Gives back what it gets: what Keras adds to the loss is for training.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.layers.ActivityRegularization(l2=0.1)(np.ones((1, 2)))
    array([[1., 1.]])
    """

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.l1, self.l2 = l1, l2

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_output(self, inputs: Any) -> Any:
        return inputs


def dropped(values: Array, drawn: Array, rate: float) -> Array:
    """A share of them 0, by numbers from 0 to 1 that fit them, and the others larger."""
    scale = values.dtype.type(0 if rate == 1 else 1 / (1 - rate))
    left: Array = np.where(drawn >= rate, values * scale, values.dtype.type(0))
    return left


def generator(seed: Any) -> np.random.Generator | None:
    """One that begins with the seed; None for that of `set_random_seed`."""
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UnsupportedTypeError(f"seed is a number from 0, or None; got {seed!r}")
    return np.random.default_rng(seed)


def _noise_shape(given: Any) -> tuple[int | None, ...] | None:
    if given is None:
        return None
    is_listed = hasattr(given, "__iter__") and not isinstance(given, str)
    shape = tuple(given) if is_listed else ("none",)
    if any(one is not None and (type(one) is not int or one < 1) for one in shape):
        raise InvalidInputError(
            f"noise_shape is a tuple of None and of numbers from 1, an axis each; got {given!r}"
        )
    return shape
