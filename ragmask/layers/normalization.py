"""Layers that bring numbers to one mean and variance: over a step's features, or over steps."""

import math
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import each, shape_of
from ragmask.layers.layer import Layer
from ragmask.layers.options import axes_in, axes_of
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_one, shown_shape


class _OfFeatures(Layer):
    """Over axes of a step's features, or of a row's in an array (rows, features)."""

    axis: Any

    def _axes(self, shape: Any) -> list[int]:
        """The axes, counted from the last: of values with and without an axis of rows."""
        ndim = len(shape)
        has_time = ndim > 2 or shape[1:2] == (None,)
        axes = axes_in(self.name, self.axis, shape)
        if axes[0] < (2 if has_time else 1):
            what = "rows and time, of which there are any number" if has_time else "rows"
            raise UnsupportedTypeError(
                f"layer {self.name!r} has axis={self.axis}: it is over features, and the first "
                f"axes of inputs of shape {shown_shape(shape)} are {what}"
            )
        return [axis - ndim for axis in axes]

    def _weight(self, input_shape: Any, initializer: Any, name: str) -> Array:
        shape = tuple(input_shape[axis] for axis in self._axes(input_shape))
        return self.add_weight(shape, initializer, name=name)

    def call(self, inputs: Any) -> Any:
        axes = self._axes_of(inputs, shape_of(inputs), isinstance(inputs, np.ndarray))
        return each(inputs, lambda values: self._of_values(values, axes))

    def compute_output(self, inputs: Spec) -> Spec:
        check_one(inputs)
        self._axes_of(inputs, inputs.input_shape, inputs.kind == "dense")
        return inputs.of(inputs.shape, self._given(inputs.dtype))

    def _given(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of what it gives."""
        return self.dtype

    def _axes_of(self, inputs: Any, shape: Any, is_array: bool) -> list[int]:
        axes = self._axes(shape)
        if isinstance(self._built_for, tuple) and self._own_weights:
            own = self._axes(self._built_for)
            if axes != own or any(shape[one] != self._built_for[one] for one in own):
                raise InvalidInputError(
                    f"layer {self.name!r} was built for inputs of shape "
                    f"{shown_shape(self._built_for)}; got {shown_shape(shape)}"
                )
        return axes

    def _of_values(self, values: Array, axes: list[int]) -> Array:
        raise NotImplementedError

    def _check_shape(self, shape: Any) -> None:
        pass  # `_axes_of` does, axis by axis


@register
class LayerNormalization(_OfFeatures):
    """Each step's features with mean 0 and variance 1, then scaled, moved: J. L. Ba et al. (2016).

    >>> import ragmask as rm
    >>> layer = rm.layers.LayerNormalization(epsilon=0.0)
    >>> layer(rm.Ragged.from_rows([[[1.0, 3.0]], []])).to_rows()[0]
    array([[-1.,  1.]], dtype=float32)

    axis : of features, or several: never rows or time.
    epsilon : is added to the variance.
    center, scale : whether there are a beta to add and a gamma to multiply with.

    Passes masks on. Weights: gamma, beta, of the sizes of the axes. Computed in float32 at least;
    given in the layer's dtype.
    """

    supports_masking = True
    gamma: Array | None
    beta: Array | None

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        *,
        rms_scaling: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        axes_of("axis", axis)
        self.axis, self.epsilon = axis, epsilon
        self.center, self.scale, self.rms_scaling = bool(center), bool(scale), bool(rms_scaling)
        self.beta_initializer, self.gamma_initializer = beta_initializer, gamma_initializer

    def build(self, input_shape: Any) -> None:
        self.gamma = self.beta = None
        self._axes(input_shape)
        if self.scale or self.rms_scaling:
            self.gamma = self._weight(input_shape, self.gamma_initializer, "gamma")
        if self.center and not self.rms_scaling:
            self.beta = self._weight(input_shape, self.beta_initializer, "beta")

    def _of_values(self, values: Array, axes: list[int]) -> Array:
        x = _precise(values)
        if x.size:
            mean = x.mean(axis=tuple(axes), keepdims=True)
            centred = x - mean
            variance = np.square(centred).mean(axis=tuple(axes), keepdims=True)
            x = (x if self.rms_scaling else centred) / np.sqrt(variance + self.epsilon)
            if self.gamma is not None:
                x = x * _along(self.gamma, axes)
            if self.beta is not None:
                x = x + _along(self.beta, axes)
        return x.astype(self.dtype, copy=False)


@register
class RMSNormalization(_OfFeatures):
    """Each step's features with a mean square of 1, then scaled: B. Zhang, R. Sennrich (2019).

    >>> import ragmask as rm
    >>> layer = rm.layers.RMSNormalization(epsilon=0.0)
    >>> layer(rm.Ragged.from_rows([[[2.0, 2.0]], []])).to_rows()[0]
    array([[1., 1.]], dtype=float32)

    axis, epsilon : as LayerNormalization's. Passes masks on. Weights: scale.
    """

    supports_masking = True
    scale: Array

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **options: Any) -> None:
        super().__init__(**options)
        axes_of("axis", axis)
        self.axis, self.epsilon = axis, epsilon

    def build(self, input_shape: Any) -> None:
        self.scale = self._weight(input_shape, "ones", "scale")

    def _of_values(self, values: Array, axes: list[int]) -> Array:
        x = _precise(values)
        if x.size:
            square = np.square(x).mean(axis=tuple(axes), keepdims=True)
            x = x / np.sqrt(square + self.epsilon) * _along(self.scale, axes)
        return x.astype(self.dtype, copy=False)


@register
class UnitNormalization(_OfFeatures):
    """Each step's features as a vector of length 1; one of zeros stays.

    >>> import ragmask as rm
    >>> rm.layers.UnitNormalization()(rm.Ragged.from_rows([[[3.0, 4.0]], []])).to_rows()[0]
    array([[0.6, 0.8]])

    axis : as LayerNormalization's; of an array it may be time. Passes masks on. Integers are
        computed as float32.
    """

    supports_masking = True

    def __init__(self, axis: Any = -1, **options: Any) -> None:
        super().__init__(**options)
        axes_of("axis", axis)
        self.axis = axis

    def _axes_of(self, inputs: Any, shape: Any, is_array: bool) -> list[int]:
        if is_array:  # whose axes are known, all of them
            shape = (1, *inputs.shape[1:])
            return [axis - len(shape) for axis in axes_in(self.name, self.axis, shape)]
        return self._axes(shape)

    def _given(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype if dtype.kind == "f" else np.dtype(np.float32)

    def _of_values(self, values: Array, axes: list[int]) -> Array:
        x = _precise(values)
        length = np.sqrt(np.square(x).sum(axis=tuple(axes), keepdims=True))
        scaled: Array = x / np.maximum(length, 1e-12)
        return scaled.astype(self._given(values.dtype), copy=False)


@register
class BatchNormalization(Layer):
    """Each feature less a mean, over a deviation: of the batch in training, else those it learnt.

    >>> import ragmask as rm
    >>> layer = rm.layers.BatchNormalization(epsilon=0.0)
    >>> layer(rm.Ragged.from_rows([[[1.0], [3.0]], []]), training=True).to_rows()[0]
    array([[-1.],
           [ 1.]], dtype=float32)

    axis : of features, whose numbers are normalised each by itself.
    momentum : is for training, which happens elsewhere: `training=True` looks at the batch's kept
        steps, and leaves moving_mean and moving_variance as they are. So does `trainable=False`,
        which uses these always.
    epsilon, center, scale : as LayerNormalization's.

    Passes masks on. Weights: gamma, beta, moving_mean, moving_variance, each (features,).
    S. Ioffe, C. Szegedy (2015).
    """

    supports_masking = True
    gamma: Array | None
    beta: Array | None
    moving_mean: Array
    moving_variance: Array

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        **options: Any,
    ) -> None:
        for key in ("renorm", "synchronized"):
            if options.pop(key, False):
                raise UnsupportedTypeError(f"BatchNormalization({key}=True) is for training alone")
        for key in ("renorm_clipping", "renorm_momentum"):
            options.pop(key, None)
        super().__init__(**options)
        self.axis = int(axis)
        self.momentum, self.epsilon = momentum, epsilon
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer, self.gamma_initializer = beta_initializer, gamma_initializer
        self.moving_mean_initializer = moving_mean_initializer
        self.moving_variance_initializer = moving_variance_initializer

    def build(self, input_shape: Any) -> None:
        shape = (input_shape[self._axis_in(input_shape)],)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(shape, self.gamma_initializer, name="gamma")
        if self.center:
            self.beta = self.add_weight(shape, self.beta_initializer, name="beta")
        for name, initializer in (
            ("moving_mean", self.moving_mean_initializer),
            ("moving_variance", self.moving_variance_initializer),
        ):
            setattr(self, name, self.add_weight(shape, initializer, name=name, trainable=False))

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        axis = self._checked(shape_of(inputs))
        mean, variance = self.moving_mean, self.moving_variance
        if training and self.trainable:
            mean, variance = _moments(inputs, axis)
        factor = 1 / np.sqrt(_precise(variance) + self.epsilon)
        if self.gamma is not None:
            factor = factor * self.gamma

        def normalized(values: Array) -> Array:
            x = (_precise(values) - _along(mean, [axis])) * _along(factor, [axis])
            if self.beta is not None:
                x = x + _along(self.beta, [axis])
            return x.astype(self.dtype, copy=False)

        return each(inputs, normalized)

    def compute_output(self, inputs: Spec, training: bool = False) -> Spec:
        check_one(inputs)
        self._checked(inputs.input_shape)
        return inputs.of(inputs.shape, self.dtype)

    def _axis_in(self, shape: Any) -> int:
        """The axis, counted from the last."""
        (axis,) = axes_in(self.name, self.axis, shape)
        axis -= len(shape)
        if shape[axis] is None:
            raise UnsupportedTypeError(
                f"layer {self.name!r} has axis={self.axis}: of inputs of shape "
                f"{shown_shape(shape)} that is rows or time, of which there are any number"
            )
        return axis

    def _checked(self, shape: Any) -> int:
        axis = self._axis_in(shape)
        if isinstance(self._built_for, tuple) and self._built_for:
            own = self._axis_in(self._built_for)
            if axis != own or shape[axis] != self._built_for[own]:
                raise InvalidInputError(
                    f"layer {self.name!r} was built for inputs of shape "
                    f"{shown_shape(self._built_for)}; got {shown_shape(shape)}"
                )
        return axis

    def _check_shape(self, shape: Any) -> None:
        pass  # `_checked` does


def _moments(batch: Any, axis: int) -> tuple[Array, Array]:
    """The mean and variance along an axis of all numbers in kept steps; of none 0."""
    values, mask = batch._dense() if isinstance(batch, Ragged | Padded) else (batch, None)
    kept = _precise(values if mask is None else values[mask])
    numbers = np.moveaxis(kept, axis, -1)
    numbers = numbers.reshape(math.prod(numbers.shape[:-1]), numbers.shape[-1])
    count = max(1, len(numbers))
    with np.errstate(invalid="ignore", over="ignore"):
        mean = numbers.sum(axis=0) / count
        return mean, np.square(numbers - mean).sum(axis=0) / count


def _precise(values: Array) -> Array:
    """float32 at least; integers and bools as float32."""
    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float32)
    return values.astype(np.result_type(dtype, np.float32), copy=False)


def _along(weight: Array, axes: list[int]) -> Array:
    """A weight with its axes where the values have theirs, counted from the last."""
    sizes = dict(zip(axes, weight.shape, strict=True))
    shape = [sizes.get(axis, 1) for axis in range(min(axes), 0)]
    assert math.prod(shape) == weight.size
    return weight.reshape(shape)
