"""Attention of steps as they are, without projections."""

import math
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.masks import with_mask
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers import initializers
from ragmask.layers.activations import floats
from ragmask.layers.attention.attend import (
    at_all_keys,
    attend,
    attended,
    check_rows,
    kept_pairs,
    like,
    products,
    rows_of_arrays,
    rows_of_ragged,
)
from ragmask.layers.batch import each, mask_of
from ragmask.layers.dropout import dropped, generator
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_one, shown_shape

_MOST_AT_ONCE = 1 << 22  # numbers of a row's queries against its keys


@register
class Attention(Layer):
    """Each step of a query as a mean of the steps of a value in its row: M.-T. Luong et al. (2015).

    >>> import ragmask as rm
    >>> x = rm.Ragged.from_rows([[[1.0, 2.0], [0.0, 1.0]], []], dtype="float32")
    >>> rm.layers.Attention()([x, x]).item_shape
    (2,)

    use_scale : multiply the scores with a weight. score_mode : "dot" for query · key, "concat" for
        a weight times the sum of tanh(query + key).
    dropout : of the weights, in training, by `seed`.

    It is called on [query, value] or [query, value, key]: steps of features, all Ragged, or all
    arrays or Padded. A query sees the kept steps of the value in its row; with `use_causal_mask`
    those up to its own place. One that sees none has 0, where Keras takes all; so has a masked
    one. The output has the query's mask. `return_attention_scores` gives (output, weights), of
    arrays and Padded.

    Weights: scale and concat_score_weight, single numbers, where they are used.
    """

    _masks_itself = True
    supports_masking = True
    scale: Array | None
    concat_score_weight: Array | None

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if score_mode not in ("dot", "concat"):
            raise InvalidInputError(f'score_mode must be "dot" or "concat"; got {score_mode!r}')
        if not (isinstance(dropout, int | float) and 0 <= dropout <= 1):
            raise InvalidInputError(f"dropout is a share, 0 to 1; got {dropout!r}")
        self.use_scale, self.score_mode = bool(use_scale), score_mode
        self.dropout, self.seed, self._generator = dropout, seed, generator(seed)

    def __call__(self, *args: Any, mask: Any = None, **options: Any) -> Any:
        given = args[0] if args else options.get("inputs")
        if isinstance(mask, list) and isinstance(given, list) and len(mask) == 2 < len(given):
            mask = [*mask, None]
        return super().__call__(*args, mask=mask, **options)

    def build(self, input_shape: Any) -> None:
        self._check_list(input_shape)
        self.scale = self.concat_score_weight = None
        if self.use_scale:
            self.scale = self.add_weight((), "ones", name="scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        query, value, *rest = self._check_list(inputs)
        key = with_mask(rest[0] if rest else value, None)
        self._check_batches([query, value, key], return_attention_scores)
        dtype = self._dtype_for([query.dtype, value.dtype, key.dtype])
        parts = [
            each(batch, lambda values: floats(values).astype(dtype, copy=False)[..., None, :])
            for batch in (query, key, value)
        ]
        is_ragged = isinstance(query, Ragged)
        check_rows(*parts)
        q, k, v = with_mask(parts[0], None), parts[1], parts[2]  # masked queries are seen to below
        random = initializers.random() if self._generator is None else self._generator
        is_dropping = training and self.dropout > 0

        def drop(weights: Array) -> Array:
            return dropped(weights, random.random(weights.shape), self.dropout)

        seen: dict[str, Any] = {"causal": bool(use_causal_mask), "window": None}
        scale, mixed, scores = self._scale_of_products(), None, []
        if scale is not None and not is_dropping and not return_attention_scores:
            mixed = attended(q, k, v, scale=scale, **seen)
        if mixed is None:
            means = []
            for row in rows_of_ragged(q, k, v) if is_ragged else rows_of_arrays(q, k, v, None):
                kept = kept_pairs(len(row.queries), row.at, mask=None, **seen)
                mean, weights = attend(self._scores(row.queries, row.keys), row.values, kept)
                if is_dropping:
                    weights = drop(weights)
                    mean = np.matmul(weights, row.values.transpose(1, 0, 2)).transpose(1, 0, 2)
                means.append(mean)
                if return_attention_scores:
                    scores.append(at_all_keys(weights, row.at, key.shape[1])[0])
            size = value.item_shape[0] if is_ragged else value.shape[-1]
            mixed = like(parts[0], means, (1, size))
        output = each(mixed, lambda values: values[..., 0, :])
        output = with_mask(_without_masked(output, mask_of(query)), mask_of(query))
        if not return_attention_scores:
            return output
        lead = 0, query.shape[1], key.shape[1]
        return output, np.stack(scores) if scores else np.empty(lead, dtype)

    def _scale_of_products(self) -> float | None:
        """What scores are query · key times; None where they are something else."""
        scale = 1.0 if self.scale is None else float(self.scale)
        return scale if self.score_mode == "dot" and math.isfinite(scale) else None

    def _scores(self, queries: Array, keys: Array) -> Array:
        if self.score_mode == "dot":
            return products(queries, keys, 1 if self.scale is None else self.scale)
        weight = np.full(queries.shape[-1], self.concat_score_weight)
        return _sums(queries, keys, 1 if self.scale is None else self.scale, weight)

    def compute_output(
        self,
        inputs: Any,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        query, value, *rest = self._check_list(inputs)
        key = rest[0] if rest else value
        for one in (query, value, key):
            check_one(one)
        self._check_batches([query, value, key], return_attention_scores)
        dtype = self._dtype_for([query.dtype, value.dtype, key.dtype])
        output = query.of((*query.shape[:2], value.shape[-1]), dtype)
        if not return_attention_scores:
            return output
        return output, Spec((None, query.shape[1], key.shape[1]), dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        self._check_list(inputs)
        return None if mask is None else mask[0]

    def _dtype_for(self, dtypes: list[np.dtype[Any]]) -> np.dtype[Any]:
        if self._own_weights:
            return self.dtype
        are_floats = [one if one.kind == "f" else np.dtype(np.float32) for one in dtypes]
        return np.result_type(*are_floats)

    def _check_list(self, inputs: Any) -> list[Any]:
        if not isinstance(inputs, list) or len(inputs) not in (2, 3):
            told = f"{len(inputs)} of them" if isinstance(inputs, list) else type(inputs).__name__
            raise InvalidInputError(
                f"layer {self.name!r} is called on a list, [query, value] or [query, value, key]; "
                f"got {told}"
            )
        return inputs

    def _check_batches(self, batches: list[Any], return_attention_scores: bool) -> None:
        _, value, key = batches
        kinds = [one.class_name if isinstance(one, Spec) else type(one).__name__ for one in batches]
        if "Ragged" in kinds:
            if len(set(kinds)) > 1:
                raise UnsupportedTypeError(
                    f"layer {self.name!r} takes batches of one kind, all Ragged or none; got "
                    f"{', '.join(kinds)}: make them one, with to_padded() or Ragged.from_padded()"
                )
            if return_attention_scores:
                raise UnsupportedTypeError(
                    f"layer {self.name!r}: return_attention_scores is of arrays (rows, queries, "
                    "keys), and the rows of a Ragged have any number of each: pass it to_padded()"
                )
        shapes = [
            (None, None, *one.item_shape) if isinstance(one, Ragged | Padded) else one.shape
            for one in batches
        ]
        if any(len(shape) != 3 for shape in shapes) or shapes[0][-1] != shapes[2][-1]:
            told = ", ".join(map(shown_shape, shapes))
            raise InvalidInputError(
                f"layer {self.name!r} takes steps of features, (rows, time, features), of as many "
                f"in the query as in the key; got {told}"
            )
        if kinds[0] != "Ragged" and value.shape[1] != key.shape[1]:
            raise InvalidInputError(
                f"value and key have the same steps; got {value.shape[1]} and {key.shape[1]}"
            )


@register
class AdditiveAttention(Attention):
    """Attention whose scores are sums of tanh(query + key): D. Bahdanau et al. (2015).

    >>> import ragmask as rm
    >>> x = rm.Ragged.from_rows([[[1.0, 2.0], [0.0, 1.0]], []], dtype="float32")
    >>> rm.layers.AdditiveAttention()([x, x]).item_shape
    (2,)

    use_scale : each feature in the sums has a weight. dropout, and what it is called on, as
    Attention's. Weights: scale (features,).
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **options: Any) -> None:
        super().__init__(use_scale, dropout=dropout, **options)

    def build(self, input_shape: Any) -> None:
        self._check_list(input_shape)
        self.scale = None
        if self.use_scale:
            self.scale = self.add_weight((input_shape[0][-1],), "glorot_uniform", name="scale")

    def _scale_of_products(self) -> None:
        return None

    def _scores(self, queries: Array, keys: Array) -> Array:
        weight = np.ones(queries.shape[-1], queries.dtype) if self.scale is None else self.scale
        if len(weight) != queries.shape[-1]:
            raise InvalidInputError(
                f"layer {self.name!r} was built for {len(weight)} features; got {queries.shape[-1]}"
            )
        return _sums(queries, keys, 1, weight)


def _sums(queries: Array, keys: Array, scale: Any, weight: Array) -> Array:
    """weight · tanh(scale (query + key)), (1, t, s), of (t, 1, dim) and (s, 1, dim)."""
    scores = np.empty((1, len(queries), len(keys)), queries.dtype)
    at_once = max(1, _MOST_AT_ONCE // max(1, keys.size))
    with np.errstate(invalid="ignore", over="ignore"):
        for first in range(0, len(queries), at_once):
            some = slice(first, first + at_once)
            both = np.tanh(scale * (queries[some] + keys[:, 0]))
            scores[0, some] = both @ weight
    return scores


def _without_masked(output: Any, mask: Any) -> Any:
    """A masked query's output is 0."""
    if mask is None:
        return output
    if isinstance(output, Ragged):
        kept = mask.compact().values[:, None]
        rows = output.compact()
        return rows.with_values(np.where(kept, rows._rows.values, rows.dtype.type(0)))
    values = output.values if isinstance(output, Padded) else output
    return Padded(np.where(mask[..., None], values, values.dtype.type(0)))
