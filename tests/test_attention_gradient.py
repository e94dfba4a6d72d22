"""The gradient of attention, and rows long enough for many tiles, blocks and chunks."""

import math

import numpy as np
import pytest

import ragmask as rm
from ragmask.ops.attention import Seen, attend, attention_gradient
from tests import reference
from tests.test_attention_op import NAN, normals

pytestmark = pytest.mark.slow  # two kernels compiled for two dtypes: 40 seconds

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


MASKS = [True, False, True, True], [True, True, False, True, True]


@pytest.mark.parametrize("sides", [(2**62, 2**62), (1, 0)])
def test_it_is_what_finite_differences_say(sides):
    shapes = (4, 2, 3), (5, 1, 3), (5, 1, 2)
    arrays = [normals(shape, seed=seed) for seed, shape in enumerate(shapes)]
    weights = normals((4, 2, 2), seed=5)
    left, right = (math.inf if side == 2**62 else side for side in sides)

    def loss(arrays):
        rows = [[array.tolist()] for array in arrays]
        masks = [[mask] for mask in MASKS]
        found = reference.temporal_attention(*rows, *masks, 2, left, right, 0.5)
        return (np.array(found[0]) * weights).sum()

    q, k, v = (rm.Ragged(array, [0], [len(array)]) for array in arrays)
    q, k = (rm.Ragged(x.values, [0], x.lengths, mask) for x, mask in ((q, MASKS[0]), (k, MASKS[1])))
    found = gradients(q, k, v, Seen(*sides, 0.5), weights)
    for number, array in enumerate(arrays):
        for place in np.ndindex(array.shape):
            sides_of = []
            for by in (1e-6, -1e-6):
                moved = [one.copy() for one in arrays]
                moved[number][place] += by
                sides_of.append(loss(moved))
            difference = (sides_of[0] - sides_of[1]) / 2e-6
            np.testing.assert_allclose(found[number][place], difference, 1e-7, 1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_is_changed_by_its_own_kept_steps_alone(dtype):
    """To the bit: not by other rows, by masked steps among its own, or by what these hold."""
    seen = Seen(2**62, 2**62, 0.3)
    q, k, v = (batch([300], 2, 8, dtype=dtype, seed=seed) for seed in range(3))
    gradient = normals((300, 2, 8), dtype, 4)
    expected = forward(q, k, v, seen)[0], *gradients(q, k, v, seen, gradient)
    kept = np.sort(np.random.default_rng(0).permutation(400)[:300]) + 30
    mask = np.zeros(450, bool)
    mask[kept] = True
    spread = []
    for array in (q.values, k.values, v.values, gradient):
        among = np.full((450, 2, 8), NAN, dtype)
        among[kept] = array
        spread.append(rm.Ragged(among, [0, 30, 430], [30, 400, 20], mask))
    spread_q, spread_k, spread_v = spread[:3]
    found = forward(spread_q, spread_k, spread_v, seen)[0]
    found = found, *gradients(spread_q, spread_k, spread_v, seen, spread[3].values)
    for one, wanted in zip(found, expected, strict=True):
        assert one[kept].tobytes() == wanted.tobytes()
        assert not one[~mask].any()


@pytest.mark.parametrize("part", ["q", "k", "v", "gradient"])
@pytest.mark.parametrize("sides", [(5, 0), (2, 2)])
def test_what_is_not_finite_reaches_only_what_sees_it(part, sides):
    """A NaN at step 60 of 120: pairs with it are those that its window holds."""
    arrays = {name: normals((120, 1, 4), "float32", at) for at, name in enumerate("qkv")}
    arrays["gradient"] = normals((120, 1, 4), "float32", 4)
    seen = Seen(*sides, 0.5)

    def run(arrays):
        q, k, v = (rm.Ragged(arrays[name], [0], [120]) for name in "qkv")
        return forward(q, k, v, seen)[0], *gradients(q, k, v, seen, arrays["gradient"])

    expected = run(arrays)
    arrays[part] = arrays[part].copy()
    arrays[part][60] = NAN
    found = run(arrays)
    reach = sum(sides)
    for one, wanted in zip(found, expected, strict=True):
        far = np.abs(np.arange(120) - 60) > reach
        assert one[far].tobytes() == wanted[far].tobytes()
    of_part = {"q": (0, 1), "k": (0, 1, 2), "v": (0, 1, 2), "gradient": (1, 2, 3)}[part]
    assert all(np.isnan(found[at][60]).all() for at in of_part)


def test_a_query_that_sees_no_key_gives_and_gets_nothing():
    q, k, v = batch([3, 2], 1, 2), batch([2, 0], 1, 2), batch([2, 0], 1, 3)
    seen = Seen(0, 0, 1.0)
    out, log_sum = forward(q, k, v, seen)
    of_q, of_k, of_v = gradients(q, k, v, seen, np.full((5, 1, 3), NAN))
    alone = [0, 3, 4]  # the first of three ends before both keys
    assert not out[alone].any()
    assert (log_sum[alone] == np.inf).all()
    assert not of_q[alone].any()
    assert np.isnan(of_v).all()
    assert of_k.shape == k.values.shape
