"""Attention by the op where it says the same, else row by row, which gives the weights too."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError
from ragmask.layers.spec import shown_shape
from ragmask.ops.attention import temporal_attention
from ragmask.ops.input import Input


def attended(
    query: Any, key: Any, value: Any, *, causal: bool, window: int | None, scale: float
) -> Any:
    """Each query's mean of the values as the query came; None where the op means something else.

    query, key and value of heads, all Ragged, or all Padded or arrays. With `causal` or a window,
    queries and keys are counted from their rows' starts here, and from their ends there.
    """
    given = Input.of(query, None, "query")
    q, k, v = (Ragged._of(one.rows) for one in (given, *map(Input.of, (key, value))))
    is_limited = causal or window is not None
    if is_limited and not np.array_equal(q.lengths, k.lengths):
        return None
    sides = None if window is None else window - 1
    found = temporal_attention(q, k, v, causal=causal, window=sides, scale=scale)
    return given.give(found._rows.values, given.rows.compact_mask())


def attend(
    scores: Array,
    values: Array,
    kept: Array | None,
    dropped: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array]:
    """Each query's mean of the values, weighed by the softmax of its scores; and the weights.

    scores (heads, t, s), values (s, heads, size), of one dtype.
    kept : bools that fit (heads, t, s): which keys a query sees; None for all. A query that sees
        none gets 0, and so are its weights.
    dropped : what becomes of the weights before they are used.

    Gives (t, heads, size) and (heads, t, s). A. Vaswani et al. (2017).
    """
    with np.errstate(invalid="ignore", over="ignore"):  # of steps that hold anything
        if kept is not None:
            scores = np.where(kept, scores, scores.dtype.type(-np.inf))
        largest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
        powers = np.exp(scores - np.where(np.isneginf(largest), scores.dtype.type(0), largest))
        total = powers.sum(axis=-1, keepdims=True)
        weights = powers / np.where(total == 0, scores.dtype.type(1), total)
        used = weights if dropped is None else dropped(weights)
        means = np.matmul(used, values.transpose(1, 0, 2))
    return means.transpose(1, 0, 2), weights


def products(queries: Array, keys: Array, scale: Any) -> Array:
    """The scores query · key, (heads, t, s), of (t, heads, dim) and (s, heads, dim)."""
    with np.errstate(invalid="ignore", over="ignore"):
        scores: Array = np.matmul(queries.transpose(1, 0, 2) * scale, keys.transpose(1, 2, 0))
    return scores


def kept_pairs(
    queries: int, at: Array, *, causal: bool, window: int | None, mask: Array | None
) -> Array | None:
    """Which of a row's queries sees which of its keys, (queries, keys); None for each all.

    at : where in the row the keys are, in its order. causal : those behind the query are not seen;
    window : nor those as far off as that, or farther. mask : nor those it leaves out.
    """
    kept = mask
    if causal or window is not None:
        ahead = at[None, :] - np.arange(queries)[:, None]
        if causal:
            kept = ahead <= 0 if kept is None else kept & (ahead <= 0)
        if window is not None:
            near = np.abs(ahead) < window
            kept = near if kept is None else kept & near
    return kept


class Row(NamedTuple):
    """One row: its queries, the keys and values they may see, and where those are in it."""

    queries: Array
    keys: Array
    values: Array
    at: Array
    mask: Array | None  # of queries and keys


def rows_of_ragged(query: Ragged, key: Ragged, value: Ragged) -> Iterator[Row]:
    kept = key.mask
    if value.mask is not None:
        kept = value.mask if kept is None else kept & value.mask
    q, k, v = (one._rows.values for one in (query, key, value))
    bounds = zip(query.starts, query.lengths, value.starts, value.lengths, strict=True)
    for first, length, start, keys in bounds:
        own = slice(start, start + keys)
        at = np.arange(keys) if kept is None else np.flatnonzero(kept[own])
        mask = None if query.mask is None else query.mask[first : first + length, None]
        yield Row(q[first : first + length], k[own][at], v[own][at], at, mask)


def rows_of_arrays(query: Any, key: Any, value: Any, mask: Array | None) -> Iterator[Row]:
    batches = query, key, value
    q, k, v = (one.values if isinstance(one, Padded) else one for one in batches)
    masks = [one.mask if isinstance(one, Padded) else None for one in batches]
    shape = (len(q), q.shape[2], q.shape[1], k.shape[1])
    if mask is not None:
        mask = mask[:, None] if mask.ndim == 3 else mask
        fits = mask.ndim == 4 and all(
            one in (1, other) for one, other in zip(mask.shape, shape, strict=True)
        )
        if not fits and mask.ndim == 2 and mask.shape == shape[2:]:
            mask, fits = mask[None, None], True
        if not fits:
            raise InvalidInputError(
                f"attention_mask has shape {mask.shape}; of these batches it is of shape "
                f"{(shape[0], *shape[2:])} or {shape}"
            )
        mask = np.broadcast_to(mask, shape)
    of_keys = masks[1]
    if masks[2] is not None:
        of_keys = masks[2] if of_keys is None else of_keys & masks[2]
    for row in range(len(q)):
        at = np.arange(k.shape[1]) if of_keys is None else np.flatnonzero(of_keys[row])
        own = None if mask is None else mask[row][..., at]
        if masks[0] is not None:
            seeing = masks[0][row][:, None]
            own = seeing if own is None else own & seeing
        yield Row(q[row], k[row][at], v[row][at], at, own)


def like(query: Any, means: list[Array], item_shape: tuple[int, ...]) -> Any:
    """What the heads give for each row, as the query came."""
    if isinstance(query, Ragged):
        empty = np.empty((0, *item_shape), query.dtype)
        return query.with_values(np.concatenate([empty, *means]))
    values = query.values if isinstance(query, Padded) else query
    made = np.empty((*values.shape[:2], *item_shape), values.dtype)
    for row, mean in enumerate(means):
        made[row] = mean
    return Padded(made, query.mask) if isinstance(query, Padded) else made


def at_all_keys(weights: Array, at: Array, keys: int) -> Array:
    """A row's weights, with 0 for the keys that were left out."""
    if len(at) == keys:
        return weights
    whole = np.zeros((*weights.shape[:-1], keys), weights.dtype)
    whole[..., at] = weights
    return whole


def check_rows(query: Any, key: Any, value: Any) -> None:
    """Raise where a row of one has none of another, or of another length."""
    if isinstance(query, Ragged):
        if len(query) != len(value):
            raise InvalidInputError(f"query and value have {len(query)} and {len(value)} rows")
        value._check_same_rows(key, "value and key")
    elif len(query) != len(value) or value.shape[:2] != key.shape[:2]:
        raise InvalidInputError(of_other_lengths(value.shape, key.shape, query.shape))


def of_other_lengths(value: Any, key: Any, query: Any = None) -> str:
    told = "" if query is None else f", and query {query[0]} rows"
    return (
        "value and key have the same rows and steps, and query the same rows; got shapes "
        f"{shown_shape(value[:2])} and {shown_shape(key[:2])}{told}"
    )
