"""Attention of one row's steps to one row's steps, with BLAS's products."""

from collections.abc import Callable

import numpy as np

from ragmask.arrays.protocol import Array


def attend(
    queries: Array,
    keys: Array,
    values: Array,
    kept: Array | None,
    scale: float,
    dropped: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array]:
    """Each query's mean of the values, weighed by softmax(query · key); and the weights.

    queries (t, heads, dim), keys (s, heads, dim), values (s, heads, size) of one dtype.
    kept : bools that fit (heads, t, s): which keys a query sees; None for all. A query that sees
        none gets 0, and so are its weights.
    dropped : what becomes of the weights before they are used.

    Gives (t, heads, size) and (heads, t, s). A. Vaswani et al. (2017).
    """
    with np.errstate(invalid="ignore", over="ignore"):  # of steps that hold anything
        scores = np.matmul(queries.transpose(1, 0, 2) * scale, keys.transpose(1, 2, 0))
        if kept is not None:
            scores = np.where(kept, scores, scores.dtype.type(-np.inf))
        largest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
        powers = np.exp(scores - np.where(np.isneginf(largest), scores.dtype.type(0), largest))
        total = powers.sum(axis=-1, keepdims=True)
        weights = powers / np.where(total == 0, scores.dtype.type(1), total)
        used = weights if dropped is None else dropped(weights)
        means = np.matmul(used, values.transpose(1, 0, 2))
    return means.transpose(1, 0, 2), weights


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
