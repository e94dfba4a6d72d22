"""Layers that hold another one."""

from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import shape_of
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_one, shown_shape


@register
class Wrapper(Layer):
    """A layer around another one, `layer`: a base for those of your own.

    >>> import ragmask as rm
    >>> class Twice(rm.layers.Wrapper):
    ...     def call(self, inputs):
    ...         return self.layer(self.layer(inputs))
    >>> Twice(rm.layers.Activation("relu")).layer.name[:10]
    'activation'
    """

    layer: Layer

    def __init__(self, layer: Layer, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(layer, Layer):
            raise UnsupportedTypeError(
                f"{type(self).__name__} holds a layer, an instance of one; got {layer!r}"
            )
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        if not self.layer.built and input_shape is not None:
            self.layer.build(input_shape)


@register
class TimeDistributed(Wrapper):
    """A layer on each step by itself, as if the steps of all rows were the rows of one batch.

    >>> import ragmask as rm
    >>> pool = rm.layers.TimeDistributed(rm.layers.TemporalPool("max"))
    >>> pool(rm.Ragged.from_rows([[[[1.0], [2.0]]], []])).to_rows()[0]
    array([[2.]])

    layer : takes an array (steps, *item), and gives one of as many steps. Of steps that are
        sequences themselves, (time, features), all are of one length.

    Passes masks on, which `layer` does not see; nor does a mask of its own leave it. In training,
    what `layer` computes over a batch it computes over all steps, and in Keras step by step.
    """

    supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        self._check_item(input_shape)
        super().build((None, *input_shape[2:]))

    def call(self, inputs: Any) -> Any:
        self._check_item(shape_of(inputs))
        if isinstance(inputs, Ragged):
            rows = inputs.compact()
            return rows.with_values(self._of_steps(rows._rows.values))
        values = inputs.values if isinstance(inputs, Padded) else inputs
        lead = values.shape[:2]
        given = self._of_steps(values.reshape(lead[0] * lead[1], *values.shape[2:]))
        given = given.reshape(*lead, *given.shape[1:])
        return Padded(given, inputs.mask) if isinstance(inputs, Padded) else given

    def compute_output(self, inputs: Spec) -> Spec:
        check_one(inputs)
        self._check_item(inputs.input_shape)
        steps = Spec((None, *inputs.item_shape), inputs.dtype)
        given = self.layer._output_specs(steps, (), None, {})
        self._check_one(isinstance(given, Spec) and given.kind != "ragged", given)
        return inputs.of((*inputs.shape[:2], *given.shape[1:]), given.dtype)

    def _of_steps(self, values: Array) -> Array:
        given = self.layer(values)
        self._check_one(isinstance(given, Padded | np.ndarray), given)
        array: Array = given.values if isinstance(given, Padded) else given
        if len(array) != len(values):
            raise InvalidInputError(
                f"layer {self.layer.name!r} gave {len(array)} steps for {len(values)}"
            )
        return array

    def _check_one(self, is_array: bool, given: Any) -> None:
        if not is_array:
            kind = given.class_name if isinstance(given, Spec) else type(given).__name__
            raise UnsupportedTypeError(
                f"layer {self.layer.name!r} gives a {kind}: what is distributed in time gives one "
                "array (steps, …)"
            )

    def _check_item(self, shape: Any) -> None:
        if not isinstance(shape, tuple) or len(shape) < 3:
            raise InvalidInputError(
                f"layer {self.name!r} takes steps that are arrays, (rows, time, …); got shape "
                f"{shown_shape(shape)}"
            )

    def _check_shape(self, shape: Any) -> None:
        pass  # the layer inside sees to itself
