"""Layers in which steps look at other steps of their row."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.masks import with_mask
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers import initializers
from ragmask.layers.attention.attend import (
    at_all_keys,
    attend,
    attended,
    check_rows,
    kept_pairs,
    like,
    of_other_lengths,
    products,
    rows_of_arrays,
    rows_of_ragged,
)
from ragmask.layers.batch import mask_of
from ragmask.layers.dropout import dropped, generator
from ragmask.layers.einsum import EinsumDense
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_one, shown_shape
from ragmask.rows.checks import check_count


@register
class MultiHeadAttention(Layer):
    """Each step of `query` as a mean of the steps of `value` in its row: A. Vaswani et al. (2017).

    >>> import ragmask as rm
    >>> layer = rm.layers.MultiHeadAttention(num_heads=2, key_dim=4)
    >>> x = rm.Ragged.from_rows([[[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], []])
    >>> layer(x, x).item_shape
    (3,)

    num_heads, key_dim, value_dim : how many heads, and the sizes of their keys and values.
    dropout : of the weights, in training, by `seed`.
    output_shape : of a step; by default that of the query's.
    sliding_window : a query sees the steps nearer than so many.
    use_gate : multiply what the heads give with a sigmoid of the query.

    It is called on `query`, `value`, and `key`, which is the value by default: steps of features,
    (rows, time, features), all Ragged, or all arrays or Padded. Rows of query and value may differ
    in length, those of value and key may not. A query sees the kept steps of value and key in its
    row; with `use_causal_mask` those up to its own place. A query that sees none, or is masked,
    has 0 of all heads, where Keras may give the mean of all values. The output has the query's
    mask.

    attention_mask : bools (rows, queries, keys), or with heads as the second axis, for arrays and
        Padded: what it leaves out is not seen.
    return_attention_scores : give (output, weights), the weights (rows, heads, queries, keys); for
        arrays and Padded.

    Weights: those of query, key, gate, value and attention_output, each a kernel and a bias.
    Nothing of rows × width × width is made: `temporal_attention` computes it, or, with dropout in
    training, attention_mask, returned scores, and a causal mask or window where rows of query and
    value differ in length, one row after the other.
    """

    _masks_itself = True
    supports_masking = True
    attention_axes: Any

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        use_gate: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.num_heads = check_count("num_heads", num_heads, 1)
        self.key_dim = check_count("key_dim", key_dim, 1)
        value_dim = key_dim if value_dim is None else value_dim
        self.value_dim = check_count("value_dim", value_dim, 1)
        if not (isinstance(dropout, int | float) and 0 <= dropout <= 1):
            raise InvalidInputError(f"dropout is a share, 0 to 1; got {dropout!r}")
        self.dropout, self.use_bias, self.use_gate = dropout, bool(use_bias), bool(use_gate)
        if attention_axes not in (None, 1, (1,), [1]):
            raise UnsupportedTypeError(
                f"attention is over time alone, the axis 1; got attention_axes={attention_axes!r}"
            )
        self.attention_axes = attention_axes
        self.sliding_window = None
        if sliding_window is not None:
            self.sliding_window = check_count("sliding_window", sliding_window, 1)
        self._output_shape = None
        if output_shape:
            sizes = output_shape if isinstance(output_shape, list | tuple) else [output_shape]
            self._output_shape = tuple(check_count("output_shape", one, 1) for one in sizes)
        self.flash_attention = flash_attention
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer
        self.seed, self._generator = seed, generator(seed)

    def build(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> None:
        value_shape = query_shape if value_shape is None else value_shape
        key_shape = value_shape if key_shape is None else key_shape
        for name, shape in (("query", query_shape), ("value", value_shape), ("key", key_shape)):
            self._check_steps(name, shape)
        keys, values = (self.num_heads, self.key_dim), (self.num_heads, self.value_dim)
        self.query_dense = self._projection("query", query_shape, keys)
        self.key_dense = self._projection("key", key_shape, keys)
        if self.use_gate:
            self.gate_dense = self._projection("gate", query_shape, values, "sigmoid")
        self.value_dense = self._projection("value", value_shape, values)
        given = self._output_shape or query_shape[-1:]
        letters = "efghijklmnopqrstuvwxyz"[: len(given)]
        self.output_dense = self._dense("attention_output", f"abcd,cd{letters}->ab{letters}", given)
        self.output_dense.build((None, None, *values))

    def _projection(
        self, name: str, shape: Any, sizes: tuple[int, int], activation: Any = None
    ) -> EinsumDense:
        dense = self._dense(name, "abc,cde->abde", sizes, activation)
        dense.build(shape)
        return dense

    def _dense(self, name: str, equation: str, sizes: Any, activation: Any = None) -> EinsumDense:
        return EinsumDense(
            equation,
            (None, *sizes),
            activation,
            bias_axes=equation.rpartition("ab")[2] if self.use_bias else None,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            name=name,
            dtype=self.dtype,
        )

    def call(  # type: ignore[override]
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        query, value = with_mask(query, query_mask), with_mask(value, value_mask)
        key = value if key is None else with_mask(key, key_mask)
        is_ragged = self._check_kinds([type(one).__name__ for one in (query, value, key)])
        if is_ragged:
            self._check_for_ragged(attention_mask, return_attention_scores)
            query, value, key = query.compact(), value.compact(), key.compact()
        check_rows(query, key, value)
        mask = None if attention_mask is None else np.asarray(attention_mask).astype(np.bool_)
        projections = (
            (self.query_dense, query),
            (self.key_dense, key),
            (self.value_dense, value),
        )
        heads = [with_mask(dense(batch), mask_of(batch)) for dense, batch in projections]
        q, k, v = heads
        drop = self._dropped() if training and self.dropout else None
        seen: dict[str, Any] = {"causal": bool(use_causal_mask), "window": self.sliding_window}
        scale, mixed, scores = 1 / math.sqrt(self.key_dim), None, []
        if mask is None and drop is None and not return_attention_scores:
            mixed = attended(q, k, v, scale=scale, **seen)
        if mixed is None:
            means = []
            for row in rows_of_ragged(q, k, v) if is_ragged else rows_of_arrays(q, k, v, mask):
                kept = kept_pairs(len(row.queries), row.at, mask=row.mask, **seen)
                found = products(row.queries, row.keys, scale)
                mean, weights = attend(found, row.values, kept, drop)
                means.append(mean)
                if return_attention_scores:
                    scores.append(at_all_keys(weights, row.at, key.shape[1]))
            mixed = like(q, means, (self.num_heads, self.value_dim))
        if self.use_gate:
            mixed = np.multiply(mixed, self.gate_dense(query))
        output = with_mask(self.output_dense(mixed), mask_of(query))
        if not return_attention_scores:
            return output
        lead = (0, self.num_heads, query.shape[1], key.shape[1])
        return output, np.stack(scores) if scores else np.empty(lead, self.dtype)

    def compute_output(  # type: ignore[override]
        self,
        query: Spec,
        value: Spec,
        key: Any = None,
        query_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool = False,
        **_: Any,
    ) -> Any:
        key = value if key is None else key
        for name, spec in (("query", query), ("value", value), ("key", key)):
            check_one(spec)
            self._check_steps(name, spec.input_shape)
        if self._check_kinds([one.class_name for one in (query, value, key)]):
            self._check_for_ragged(attention_mask, return_attention_scores)
        elif value.shape[1] != key.shape[1]:
            raise InvalidInputError(of_other_lengths(value.shape, key.shape))
        for dense, spec in (
            (self.query_dense, query),
            (self.value_dense, value),
            (self.key_dense, key),
        ):
            dense.compute_output(spec)
        sizes = self._output_shape or (query.shape[-1],)
        output = query.of((*query.shape[:2], *sizes), self.dtype)
        if query_mask is not None:
            output = output.masked()
        if not return_attention_scores:
            return output
        shape = (None, self.num_heads, query.shape[1], key.shape[1])
        return output, Spec(shape, self.dtype)

    def _dropped(self) -> Callable[[Array], Array]:
        random = initializers.random() if self._generator is None else self._generator
        return lambda weights: dropped(weights, random.random(weights.shape), self.dropout)

    def _check_steps(self, name: str, shape: Any) -> None:
        if not isinstance(shape, tuple) or len(shape) != 3:
            raise InvalidInputError(
                f"layer {self.name!r} takes steps of features, (rows, time, features); its {name} "
                f"has shape {shown_shape(shape)}"
            )

    def _check_kinds(self, classes: list[str]) -> bool:
        """Whether they are Ragged: then all of them."""
        are = {one == "Ragged" for one in classes}
        if len(are) > 1:
            raise UnsupportedTypeError(
                f"layer {self.name!r} takes batches of one kind, all Ragged or none; got "
                f"{', '.join(classes)}: make them one, with to_padded() or Ragged.from_padded()"
            )
        return are == {True}

    def _check_for_ragged(self, attention_mask: Any, return_attention_scores: bool) -> None:
        asked = {
            "attention_mask": attention_mask is not None,
            "return_attention_scores": bool(return_attention_scores),
        }
        for name, is_asked in asked.items():
            if is_asked:
                raise UnsupportedTypeError(
                    f"layer {self.name!r}: {name} is of arrays (rows, queries, keys), and the rows "
                    "of a Ragged have any number of each: pass it to_padded()"
                )
