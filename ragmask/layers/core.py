"""Layers that look at one step at a time."""

import math
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.masks import with_mask
from ragmask.batches.padded import Padded
from ragmask.errors import UnsupportedTypeError
from ragmask.layers import activations
from ragmask.layers.batch import each, mask_of, shape_of
from ragmask.layers.layer import Layer
from ragmask.layers.nonlinear import Activating
from ragmask.layers.options import plain_options
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_steps, features_of
from ragmask.ops.embeddings import embedding
from ragmask.ops.masks import masking
from ragmask.rows.checks import check_count
from ragmask.rows.padding import item_of


@register
class Embedding(Layer):
    """A vector for each id; masks the steps of id 0 where `mask_zero` is True.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> embedding = rm.layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)
    >>> padded = np.array([[711, 632, 71, 0, 0], [73, 8, 3215, 55, 927]])
    >>> embedding(padded).mask
    array([[ True,  True,  True, False, False],
           [ True,  True,  True,  True,  True]])

    input_dim : the size of the vocabulary; an id outside it is an error.
    output_dim : features of a vector.
    weights : the table, or a list of it alone.

    Ids are integers, one a step, or one a row; vectors are of the layer's dtype. Weights:
    embeddings (input_dim, output_dim).
    """

    _masks_itself = True
    embeddings: Array
    _input_dtype = np.dtype(np.int32)

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**plain_options(options))
        self.input_dim = check_count("input_dim", input_dim, 1)
        self.output_dim = check_count("output_dim", output_dim, 1)
        self.embeddings_initializer = embeddings_initializer
        self.mask_zero = bool(mask_zero)
        self.supports_masking = self.mask_zero
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, list) else [weights])

    def build(self, input_shape: Any = None) -> None:
        shape = self.input_dim, self.output_dim
        self.embeddings = self.add_weight(shape, self.embeddings_initializer, name="embeddings")

    def call(self, inputs: Any) -> Any:
        if isinstance(inputs, np.ndarray) and inputs.ndim == 1:  # a row is an id
            return embedding(inputs[:, None], self.embeddings)[:, 0]
        vectors = embedding(inputs, self.embeddings, mask_zero=self.mask_zero)
        return vectors if self.mask_zero else with_mask(vectors, None)  # as Keras drops it

    def compute_output(self, inputs: Spec) -> Spec:
        is_row = isinstance(inputs, Spec) and len(inputs.shape) == 1
        if is_row and inputs.dtype.kind in "iu":
            return inputs.of((None, self.output_dim), self.embeddings.dtype)
        check_steps(inputs, "ids")
        if inputs.item_shape or inputs.dtype.kind not in "iu":
            raise UnsupportedTypeError(
                f"ids must be integers, one a step; got {inputs.dtype} of shape {inputs.item_shape}"
            )
        vectors = inputs.of_items(self.output_dim, dtype=self.embeddings.dtype)
        return vectors.masked(self.mask_zero)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if not self.mask_zero or getattr(inputs, "ndim", 2) == 1:
            return None
        kept = np.not_equal(inputs, 0)
        if isinstance(kept, Padded):
            kept = kept.values if kept.mask is None else kept.values & kept.mask
        return kept if mask is None else np.logical_and(kept, mask)

    def _check_shape(self, shape: Any) -> None:
        pass


@register
class Masking(Layer):
    """Masks the steps all of whose features equal `mask_value`, and sets them to 0. NaN equals NaN.

    >>> import ragmask as rm
    >>> rm.layers.Masking()(rm.Ragged.from_rows([[[1.0, 2.0], [0.0, 0.0]]])).mask
    array([ True, False])
    """

    _masks_itself = True
    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.mask_value = mask_value

    def call(self, inputs: Any) -> Any:
        return masking(inputs, self.mask_value)

    def compute_output(self, inputs: Spec) -> Spec:
        check_steps(inputs)
        if inputs.dtype.char in "gG":
            raise UnsupportedTypeError(f"masking takes no {inputs.dtype}")
        item_of(self.mask_value, inputs.dtype, ())  # raises for what the dtype cannot hold
        return inputs.masked()

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is not None:
            inputs = with_mask(inputs, mask)
        return mask_of(masking(inputs, self.mask_value))


@register
class Dense(Activating):
    """`activation(x @ kernel + bias)`, of each step or of each row of an array (rows, features).

    >>> import ragmask as rm
    >>> dense = rm.layers.Dense(2, activation="relu")
    >>> dense(rm.Ragged.from_rows([[[1.0, 2.0, 3.0]], []])).item_shape
    (2,)

    activation : as Activation's.

    Passes masks on. Weights: kernel (features, units), bias (units,); outputs are of their dtype.
    The sums are numpy's: in which order BLAS adds up depends on how many steps there are, so the
    last bits of a step may differ between a Ragged and its padded form.
    """

    supports_masking = True
    kernel: Array
    bias: Array | None

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(**plain_options(options))
        self.units = check_count("units", units, 1)
        self.activation = activation
        self.use_bias = bool(use_bias)
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer
        activations.get(activation)

    def build(self, input_shape: Any) -> None:
        features = features_of(self.name, input_shape)
        self.kernel = self.add_weight(
            (features, self.units), self.kernel_initializer, name="kernel"
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight((self.units,), self.bias_initializer, name="bias")

    def call(self, inputs: Any) -> Any:
        self._check_shape(shape_of(inputs))  # of integers too, which elsewhere may be ids
        sums = each(inputs, self._product)
        return activations.get(self.activation)(sums)

    def compute_output(self, inputs: Spec) -> Spec:
        self._check_shape(inputs.input_shape)
        sums = inputs.of((*inputs.shape[:-1], self.units), self.kernel.dtype)
        return activations.compute_output(self.activation, sums)

    def _product(self, values: Array) -> Array:
        flat = values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
        product = np.matmul(flat.astype(self.kernel.dtype, copy=False), self.kernel)
        if self.bias is not None:
            product += self.bias
        sums: Array = product.reshape(*values.shape[:-1], self.units)
        return sums
