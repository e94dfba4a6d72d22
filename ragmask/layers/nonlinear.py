"""Layers that put each number, or each step's features, through a function."""

from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError
from ragmask.layers import activations
from ragmask.layers.batch import as_batch, each, shape_of
from ragmask.layers.layer import Layer
from ragmask.layers.options import axes_in, axes_of
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_one, shown_shape
from ragmask.ops.softmax import temporal_softmax


class Activating(Layer):
    """A layer with an `activation`, which configs and saved models know by its name."""

    def _config(self) -> dict[str, Any]:
        config = super()._config()
        if "activation" in config:
            config["activation"] = activations.name_of(config["activation"])
        return config


@register
class Activation(Activating):
    """A function of each number, or of a step's features, by its name in Keras.

    >>> import ragmask as rm
    >>> rm.layers.Activation("relu")(rm.Ragged.from_rows([[-1.0, 2.0]])).to_rows()
    [array([0., 2.])]

    activation : "relu", "tanh", "sigmoid", "softmax" (over features), "gelu", "elu", "silu" and all
        other names of `keras.activations`; or a function of arrays (steps, features), which a
        saved model cannot hold, unless it is one of `ragmask.layers.activations`.

    Passes masks on. Integers are computed as float32.
    """

    supports_masking = True

    def __init__(self, activation: Any, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activation
        activations.get(activation)

    def call(self, inputs: Any) -> Any:
        return activations.get(self.activation)(inputs)

    def compute_output(self, inputs: Spec) -> Spec:
        return activations.compute_output(self.activation, inputs)


class _OfNumbers(Layer):
    """A function of each number."""

    supports_masking = True

    def _function(self, x: Any) -> Any:
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        return self._function(inputs)

    def compute_output(self, inputs: Spec) -> Spec:
        check_one(inputs)
        return inputs.of(inputs.shape, self._function(np.zeros((1, 1), inputs.dtype)).dtype)


@register
class ReLU(_OfNumbers):
    """`max(x, 0)`; or another slope below a threshold, and no more than a maximum.

    >>> import ragmask as rm
    >>> layer = rm.layers.ReLU(max_value=2, negative_slope=0.5)
    >>> layer(rm.Ragged.from_rows([[-1.0, 1.0, 3.0]])).to_rows()
    [array([-0.5,  1. ,  2. ])]
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.max_value = None if max_value is None else _at_least_0("max_value", max_value)
        self.negative_slope = _at_least_0("negative_slope", negative_slope)
        self.threshold = _at_least_0("threshold", threshold)

    def _function(self, x: Any) -> Any:
        return activations.relu(x, self.negative_slope, self.max_value, self.threshold)


@register
class LeakyReLU(_OfNumbers):
    """x, and `negative_slope * x` below 0.

    >>> import ragmask as rm
    >>> rm.layers.LeakyReLU(0.5)(rm.Ragged.from_rows([[-1.0, 2.0]])).to_rows()
    [array([-0.5,  2. ])]
    """

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        super().__init__(**options)
        self.negative_slope = _at_least_0("negative_slope", negative_slope)

    def _function(self, x: Any) -> Any:
        return activations.leaky_relu(x, self.negative_slope)


@register
class ELU(_OfNumbers):
    """x, and `alpha * (exp(x) - 1)` below 0.

    >>> import ragmask as rm
    >>> rm.layers.ELU()(rm.Ragged.from_rows([[0.0, 2.0]])).to_rows()
    [array([0., 2.])]
    """

    def __init__(self, alpha: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.alpha = _number("alpha", alpha)

    def _function(self, x: Any) -> Any:
        return activations.elu(x, self.alpha)


@register
class PReLU(Layer):
    """x, and `alpha * x` below 0, with slopes that are weights: K. He et al. (2015).

    >>> import numpy as np
    >>> import ragmask as rm
    >>> layer = rm.layers.PReLU(lambda shape: np.full(shape, 0.25), shared_axes=[1])
    >>> layer(rm.Ragged.from_rows([[[-1.0, 2.0]], []])).to_rows()[0]
    array([[-0.25,  2.  ]], dtype=float32)

    shared_axes : axes along which the slopes are the same. Of sequences the first is time, which
        has to be among them: rows have any number of steps.

    Passes masks on. Weights: alpha, of the shape of a row, with 1 for shared axes.
    """

    supports_masking = True
    alpha: Array

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.alpha_initializer = alpha_initializer
        self.shared_axes = None if shared_axes is None else axes_of("shared_axes", shared_axes)

    def build(self, input_shape: Any) -> None:
        sizes = list(input_shape[1:])
        for axis in self.shared_axes or ():
            if not 1 <= axis <= len(sizes):
                raise InvalidInputError(
                    f"layer {self.name!r} has shared_axes={self.shared_axes}; of inputs of shape "
                    f"{shown_shape(input_shape)} they are 1 to {len(sizes)}"
                )
            sizes[axis - 1] = 1
        if None in sizes:
            raise InvalidInputError(
                f"layer {self.name!r} would have a slope for each step, of which rows have any "
                "number: share them in time, with shared_axes=[1]"
            )
        self.alpha = self.add_weight(tuple(sizes), self.alpha_initializer, name="alpha")

    def call(self, inputs: Any) -> Any:
        self._check_items(shape_of(inputs))
        dtype = self.alpha.dtype
        alpha = self.alpha[0] if self._built_for[1] is None else self.alpha

        def bent(values: Array) -> Array:
            x = values.astype(dtype, copy=False)
            return np.where(x >= 0, x, alpha * x)

        return each(inputs, bent)

    def compute_output(self, inputs: Spec) -> Spec:
        check_one(inputs)
        self._check_items(inputs.input_shape)
        return inputs.of(inputs.shape, self.alpha.dtype)

    def _check_items(self, shape: Any) -> None:
        if shape != self._built_for and isinstance(self._built_for, tuple) and self._built_for:
            raise InvalidInputError(
                f"layer {self.name!r} was built for inputs of shape "
                f"{shown_shape(self._built_for)}; got {shown_shape(shape)}"
            )


@register
class Softmax(Layer):
    """Softmax over features, or over other axes: `axis=1` is time.

    >>> import ragmask as rm
    >>> rm.layers.Softmax()(rm.Ragged.from_rows([[[1.0, 1.0]], []])).to_rows()[0]
    array([[0.5, 0.5]])
    >>> rm.layers.Softmax(axis=1)(rm.Ragged.from_rows([[[1.0, 1.0]], []])).to_rows()[0]
    array([[1., 1.]])

    axis : one, or several, as numpy counts them in (rows, time, features). Over time it is
        `TemporalSoftmax`. Over time together with other axes it is for arrays alone.

    Masked steps get 0, and in no sum. For an array, `mask` may also be of the array's shape, or of
    one that fits it: what it leaves out gets 0. Passes masks on.
    """

    _masks_itself = True
    supports_masking = True

    def __init__(self, axis: Any = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis
        axes_of("axis", axis)

    def __call__(self, *args: Any, mask: Any = None, **options: Any) -> Any:
        if len(args) == 1 and _is_of_numbers(mask, args[0]):
            with self._noted():
                return self._of_array(as_batch(args[0]), _fitting_mask(mask, args[0].shape))
        return super().__call__(*args, mask=mask, **options)

    def call(self, inputs: Any, mask: Any = None) -> Any:
        shape = (0, 0, *inputs.item_shape) if _is_rows(inputs) else inputs.shape
        axes = axes_in(self.name, self.axis, shape)
        self._check_axes(axes, isinstance(inputs, Ragged))
        if not _is_rows(inputs):
            return self._of_array(inputs, None)
        if axes == [1]:
            return temporal_softmax(each(inputs, activations.floats))
        if isinstance(inputs, Ragged):
            rows = inputs.compact()
            own = [axis - 1 for axis in axes]
            return rows.with_values(_shares(rows._rows.values, own, _over_items(rows)))
        return Padded(_shares(inputs.values, axes, _over_items(inputs)), inputs.mask)

    def compute_output(self, inputs: Spec) -> Spec:
        check_one(inputs)
        self._check_axes(axes_in(self.name, self.axis, inputs.shape), inputs.kind == "ragged")
        dtype = inputs.dtype if inputs.dtype.kind == "f" else np.dtype(np.float32)
        return inputs.of(inputs.shape, dtype)

    def _check_axes(self, axes: list[int], is_ragged: bool) -> None:
        if is_ragged and axes != [1] and min(axes) < 2:
            raise InvalidInputError(
                f"layer {self.name!r} has axis={self.axis}: of a Ragged it is over time alone, "
                "axis=1, or over features"
            )

    def _of_array(self, values: Array, mask: Array | None) -> Array:
        return _shares(values, axes_in(self.name, self.axis, values.shape), mask)


@register
class Identity(Layer):
    """Gives back what it gets.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.layers.Identity()(np.ones((1, 2)))
    array([[1., 1.]])
    """

    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_output(self, inputs: Any) -> Any:
        return inputs


def _shares(values: Array, axes: list[int], mask: Array | None) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        x = activations.floats(values)
        if mask is not None:
            x = np.where(mask, x, x.dtype.type(-3e4 if x.dtype.itemsize == 2 else -1e9))
        shares: Array = activations.softmax(x, tuple(axes))
    return shares if mask is None else np.where(mask, shares, x.dtype.type(0))


def _is_of_numbers(mask: Any, inputs: Any) -> bool:
    """Whether a mask is of an array's numbers, and not of its steps."""
    if not (isinstance(inputs, np.ndarray) and isinstance(mask, np.ndarray)):
        return False
    return inputs.ndim < 3 or mask.ndim > 2 or mask.dtype != np.bool_


def _fitting_mask(mask: Array, shape: tuple[int, ...]) -> Array:
    """A mask of an array's numbers, as bools."""
    if mask.ndim > len(shape) or any(
        size not in (1, other) for size, other in zip(mask.shape[::-1], shape[::-1], strict=False)
    ):
        raise InvalidInputError(
            f"mask has shape {mask.shape}, not broadcastable to that of the inputs, {shape}: it "
            "must not have more dimensions, and 1 or the inputs' size in each"
        )
    return mask if mask.dtype == np.bool_ else mask > 0.5


def _is_rows(batch: Any) -> bool:
    return isinstance(batch, Ragged | Padded)


def _over_items(batch: Any) -> Array | None:
    """A batch's mask, with as many axes as its values."""
    mask: Array | None = batch.mask
    return None if mask is None else mask.reshape(*mask.shape, *[1] * len(batch.item_shape))


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise InvalidInputError(f"{name} must be a number; got {value!r}")
    return float(value)


def _at_least_0(name: str, value: Any) -> float:
    if not _number(name, value) >= 0:
        raise InvalidInputError(f"{name} must be at least 0; got {value!r}")
    return float(value)
