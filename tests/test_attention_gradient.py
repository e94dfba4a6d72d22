"""The gradient of attention, and rows long enough for many tiles, blocks and chunks."""

import numpy as np
import pytest

import ragmask as rm
from ragmask.ops.attention import Seen, attend, attention_gradient
from tests.test_attention_op import NAN, normals

LEFT, RIGHT = 2**62, 2**62
LONG = [1, 0, 5, 6, 7, 16, 47, 48, 49, 97, 255, 256, 257, 300, 513]


def forward(q, k, v, seen):
    """Outputs of compact batches with k's mask, and what their gradient takes."""
    out = np.full((*q.values.shape[:2], v.values.shape[2]), NAN, q.dtype)
    log_sum = np.full(q.values.shape[:2], NAN, q.dtype)
    attend(q._rows, k._rows, v._rows, seen, q._rows.layout.end_to_end.starts, out, log_sum)
    return out, log_sum


def gradients(q, k, v, seen, gradient):
    return attention_gradient(q._rows, k._rows, v._rows, seen, *forward(q, k, v, seen), gradient)


def batch(lengths, *item, dtype="float64", seed=0, mask=None):
    lengths = np.asarray(lengths)
    values = normals((int(lengths.sum()), *item), dtype, seed)
    return rm.Ragged(values, np.cumsum(lengths) - lengths, lengths, mask)


def dense(q, k, v, q_mask, k_mask, seen, gradient):
    """One row's outputs and gradients in float64, by whole matrices."""
    own = np.arange(len(q)) + len(k) - len(q)
    ahead = np.arange(len(k)) - own[:, None]
    sees = (ahead >= -seen.left) & (ahead <= seen.right) & q_mask[:, None] & k_mask
    q, k, v, gradient = (x.astype("f8") for x in (q, k, v, gradient))
    out, of_q = np.zeros((*q.shape[:2], v.shape[2])), np.zeros_like(q)
    of_k, of_v = np.zeros_like(k), np.zeros_like(v)
    for head in range(q.shape[1]):
        at = head * k.shape[1] // q.shape[1]
        powers = np.where(sees, np.exp(seen.scale * q[:, head] @ k[:, at].T), 0)
        total = powers.sum(1, keepdims=True)
        weights = powers / np.where(total == 0, 1, total)
        out[:, head] = weights @ v[:, at]
        means = (gradient[:, head] * out[:, head]).sum(1, keepdims=True)
        slopes = seen.scale * weights * (gradient[:, head] @ v[:, at].T - means)
        of_q[:, head] = slopes @ k[:, at]
        of_k[:, at] += slopes.T @ q[:, head]
        of_v[:, at] += weights.T @ gradient[:, head]
    return out, of_q, of_k, of_v


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sides", [(LEFT, RIGHT), (LEFT, 0), (40, 3), (0, 0)])
@pytest.mark.parametrize(
    ("heads", "key_heads", "dim", "value_dim"), [(2, 2, 16, 33), (6, 2, 19, 8)]
)
def test_rows_of_any_length(dtype, masked, sides, heads, key_heads, dim, value_dim):
    k_lengths = LONG[::-1]
    random = np.random.default_rng(0)
    n, m = sum(LONG), sum(k_lengths)
    masks = [random.random(size) < 0.8 if masked else np.ones(size, bool) for size in (n, m)]
    q = batch(LONG, heads, dim, dtype=dtype, seed=1, mask=masks[0] if masked else None)
    k = batch(k_lengths, key_heads, dim, dtype=dtype, seed=2, mask=masks[1] if masked else None)
    v = batch(k_lengths, key_heads, value_dim, dtype=dtype, seed=3)
    gradient = normals((n, heads, value_dim), dtype, 4)
    seen = Seen(*sides, dim**-0.5)
    found = forward(q, k, v, seen)[0], *gradients(q, k, v, seen, gradient)
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for row in range(len(q)):
        of_q = slice(q.starts[row], q.starts[row] + LONG[row])
        of_k = slice(k.starts[row], k.starts[row] + k_lengths[row])
        arrays = q.values[of_q], k.values[of_k], v.values[of_k], masks[0][of_q], masks[1][of_k]
        expected = dense(*arrays, seen, gradient[of_q])
        for one, wanted, own in zip(found, expected, (of_q, of_q, of_k, of_k), strict=True):
            np.testing.assert_allclose(one[own], wanted, tolerance, tolerance)
