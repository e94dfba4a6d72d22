"""Attention and its gradients on CUDA, in tiles of 64 steps and 32 others."""

import sys
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragmask as rm
from ragmask.kernels import cuda
from ragmask.kernels.cuda.launch import TILE, parts_of
from ragmask.kernels.cuda.teams import WARPS
from ragmask.ops.attention import Seen, attention_gradient
from ragmask.ops.attention import attend as attend_rows
from ragmask.rows.rows import Rows
from tests.cuda import running
from tests.cuda.host_memory import OnDevice, as_device
from tests.strategies import FLOATS

INF, NAN = np.inf, np.nan
GARBAGE = 77.0
UNLIMITED = 2**62
EVERYTHING, CAUSAL = (UNLIMITED, UNLIMITED), (UNLIMITED, 0)
TOLERANCES = {"float16": 3e-3, "float32": 2e-5, "float64": 1e-12}


class Case(NamedTuple):
    """Rows of queries (n, heads, dim), keys and values; a place is (starts, lengths, mask)."""

    q: np.ndarray
    q_place: tuple
    k: np.ndarray
    v: np.ndarray
    k_place: tuple
    window: tuple = EVERYTHING
    scale: float = 0.4

    @property
    def sizes(self):
        return self.q.shape[1], self.k.shape[1], self.q.shape[2], self.v.shape[2]

    @property
    def rows(self):
        return len(self.q_place[0])

    @property
    def arguments(self):
        q, k, v = (array.reshape(-1) for array in (self.q, self.k, self.v))
        scale = np.promote_types(q.dtype, "float32").type(self.scale)
        return q, *self.q_place, k, v, *self.k_place, self.sizes, self.window, scale

    def compact(self):
        """The same rows end to end."""
        (q_at, q_place), (k_at, k_place) = map(end_to_end, (self.q_place, self.k_place))
        arrays = self.q[q_at], q_place, self.k[k_at], self.v[k_at], k_place
        return Case(*arrays, self.window, self.scale)


def end_to_end(place):
    starts, lengths, mask = place
    rows = zip(starts, lengths, strict=True)
    at = np.concatenate([np.empty(0, int), *(start + np.arange(length) for start, length in rows)])
    return at, (starts_of(lengths), lengths, None if mask is None else mask[at])


def starts_of(lengths):
    return np.cumsum(lengths) - lengths


def drawn(q_lengths, k_lengths, sizes=(2, 1, 3, 5), dtype="float64", masked=True, seed=0):
    """Rows in any order with gaps between them, which are NaN, as masked steps are."""
    random = np.random.default_rng(seed)
    heads, key_heads, dim, value_dim = sizes

    def lay(lengths, *shapes):
        lengths, order = np.array(lengths, int), random.permutation(len(lengths))
        starts = np.empty(len(lengths), int)
        starts[order] = starts_of(lengths[order] + 2) + 1
        n = int((lengths + 2).sum()) + 1
        mask = random.random(n) < 0.8 if masked else None
        is_real = np.zeros(n, bool)
        is_real[end_to_end((starts, lengths, None))[0]] = True
        arrays = [(random.standard_normal((n, *shape)) * 2).astype(dtype) for shape in shapes]
        for array in arrays:
            array[~is_real if mask is None else ~(is_real & mask)] = NAN
        return *arrays, (starts, lengths, mask)

    q, q_place = lay(q_lengths, (heads, dim))
    k, v, k_place = lay(k_lengths, (key_heads, dim), (key_heads, value_dim))
    return Case(q, q_place, k, v, k_place)


def attend(case):
    """(out, log_sum) as the kernel gives them, end to end."""
    heads, key_heads, _, value_dim = case.sizes
    lengths = case.q_place[1]
    shape = int(lengths.sum()) + 1, heads
    out = np.full((*shape, value_dim), GARBAGE, case.q.dtype)
    log_sum = np.full(shape, GARBAGE, np.promote_types(case.q.dtype, "float32"))
    flat = out.reshape(-1), log_sum.reshape(-1)
    tasks = case.rows * key_heads
    running.run(cuda.attention, tasks, *case.arguments, starts_of(lengths), *flat)
    assert (out[-1] == GARBAGE).all()
    assert (log_sum[-1] == GARBAGE).all()
    return out[:-1], log_sum[:-1]


def differentiate(case, gradient):
    """The gradients of q, k and v as the kernel gives them, of a compact case."""
    arrays = case.q, case.k, case.v
    found = [np.full((len(x) + 1, *x.shape[1:]), GARBAGE, x.dtype) for x in arrays]
    flat = [x.reshape(-1) for x in (*attend(case), gradient, *found)]
    running.run(cuda.attention_gradient, case.rows * case.sizes[1], *case.arguments, *flat)
    assert all((x[-1] == GARBAGE).all() for x in found)
    return [x[:-1] for x in found]


def arriving(case, seed=1):
    """A gradient of what a compact case gives; NaN at masked steps."""
    shape = len(case.q), case.sizes[0], case.sizes[3]
    gradient = np.random.default_rng(seed).standard_normal(shape).astype(case.q.dtype)
    if case.q_place[2] is not None:
        gradient[~case.q_place[2]] = NAN
    return gradient


def expected_of(case, gradient=None):
    """(out, log_sum) of a compact case, or its gradients: query by query, head by head."""
    q, k, v = (array.astype(float) for array in (case.q, case.k, case.v))
    heads, key_heads, _, value_dim = case.sizes
    out, log_sum = np.zeros((len(q), heads, value_dim)), np.full((len(q), heads), INF)
    of_q, of_k, of_v = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    for query, seen in queries_of(case):
        for head in range(heads):
            at = seen, head // (heads // key_heads)
            with np.errstate(invalid="ignore", divide="ignore"):
                scores = (k[at] * q[query, head]).sum(-1) * case.scale
                top = scores.max() if scores.max() != -INF else 0
                powers = np.exp(scores - top)
                total = powers.sum()
                weights = powers / total if total != 0 else powers
                out[query, head] = (weights[:, None] * v[at]).sum(0)
                log_sum[query, head] = top + np.log(total) if total != 0 else INF
            if gradient is not None:
                come = gradient[query, head]
                common = (out[query, head] * come).sum()
                slopes = (weights * ((v[at] * come).sum(-1) - common) * case.scale)[:, None]
                of_q[query, head] = (slopes * k[at]).sum(0)
                of_k[at] += slopes * q[query, head]
                of_v[at] += weights[:, None] * come
    return (out, log_sum) if gradient is None else (of_q, of_k, of_v)


def queries_of(case):
    """Each kept query that sees a key, and which keys it sees."""
    (left, right), rows = case.window, zip(*case.q_place[:2], *case.k_place[:2], strict=True)
    q_mask, k_mask = case.q_place[2], case.k_place[2]
    for q_start, q_length, k_start, k_length in rows:
        for i in range(q_length):
            own, keys = i + k_length - q_length, np.arange(k_length)
            seen = k_start + keys[(keys >= own - left) & (keys <= own + right)]
            seen = seen if k_mask is None else seen[k_mask[seen]]
            if len(seen) and (q_mask is None or q_mask[q_start + i]):
                yield q_start + i, seen


def check(case):
    tolerance = TOLERANCES[str(case.q.dtype)]
    for found, expected in zip(attend(case), expected_of(case.compact()), strict=True):
        np.testing.assert_allclose(found, expected, tolerance, tolerance)


def check_gradients(case):
    case, tolerance = case.compact(), 10 * TOLERANCES[str(case.q.dtype)]
    gradient = arriving(case)
    for found, expected in zip(
        differentiate(case, gradient), expected_of(case, gradient), strict=True
    ):
        np.testing.assert_allclose(found, expected, tolerance, tolerance)


WINDOWS = st.sampled_from([EVERYTHING, CAUSAL, (0, 0), (1, 2), (UNLIMITED, 1)])
SIZES = st.sampled_from([(1, 1, 1, 1), (2, 1, 3, 5), (2, 2, 17, 1)])
LENGTHS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=3)


def case_of(pairs, *arguments):
    return drawn([one for one, _ in pairs], [other for _, other in pairs], *arguments)


@settings(running.few_examples, max_examples=4)
@given(LENGTHS, SIZES, st.sampled_from(FLOATS), st.booleans(), WINDOWS)
def test_it_is_the_reference(pairs, sizes, dtype, masked, window):
    check(case_of(pairs, sizes, dtype, masked)._replace(window=window))


@settings(running.few_examples, max_examples=3)
@given(LENGTHS, SIZES, st.sampled_from(["float32", "float64"]), st.booleans(), WINDOWS)
def test_gradients_are_the_reference(pairs, sizes, dtype, masked, window):
    check_gradients(case_of(pairs, sizes, dtype, masked)._replace(window=window))


@pytest.mark.parametrize("window", [CAUSAL, (40, 3)])
def test_rows_of_several_tiles(window):
    """Of 64 queries or keys, and of 32 others; some of which no query sees."""
    case = drawn([68], [71], (1, 1, 1, 1), "float32")._replace(window=window)
    check(case)
    check_gradients(case)


def test_steps_of_several_tiles():
    """Of 16 numbers that are multiplied, and of 32 float64 that are made, at a time."""
    case = drawn([3], [2], (1, 1, 34, 35))
    check(case)
    check_gradients(case)


def test_where_a_row_lies_changes_no_bit():
    """Nor do the rows beside it, and masked steps before its kept ones."""
    case = drawn([2, 5], [3, 34], (2, 1, 2, 3), "float32", masked=False)
    ends = case.compact()
    gradient = arriving(ends)
    expected, slopes = attend(case), differentiate(ends, gradient)
    for found, other in zip(attend(ends), expected, strict=True):
        assert found.tobytes() == other.tobytes()

    alone = row_1_behind_masked_steps(ends)
    for found, other in zip(attend(alone), expected, strict=True):
        assert found[7:].tobytes() == other[2:].tobytes()
    padded = np.concatenate([np.full((7, *gradient.shape[1:]), NAN, "float32"), gradient[2:]])
    found = differentiate(alone, padded)
    for of_alone, of_all, first in zip(found, slopes, (2, 3, 3), strict=True):
        assert of_alone[7:].tobytes() == of_all[first:].tobytes()
        assert not of_alone[:7].any()


def row_1_behind_masked_steps(case):
    def lay(array, first):
        before = np.full((7, *array.shape[1:]), NAN, array.dtype)
        return np.concatenate([before, array[first:]])

    arrays = lay(case.q, 2), lay(case.k, 3), lay(case.v, 3)
    q_place, k_place = (
        (np.array([0]), np.array([len(array)]), np.arange(len(array)) >= 7) for array in arrays[:2]
    )
    return Case(arrays[0], q_place, *arrays[1:], k_place)


@pytest.mark.parametrize("parts", [1, 9])
def test_how_many_blocks_share_rows_changes_no_bit(monkeypatch, parts):
    """Each takes some rows, heads and tiles, or all, or none."""
    case = drawn([66, 3], [2, 4], (1, 1, 1, 2), "float32").compact()
    gradient = arriving(case)
    expected = [*attend(case), *differentiate(case, gradient)]
    monkeypatch.setattr(sys.modules["ragmask.kernels.cuda.launch"], "parts_of", lambda *_: parts)
    found = [*attend(case), *differentiate(case, gradient)]
    for one, other in zip(found, expected, strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_block_for_every_row_and_tile():
    case = drawn([9] * 9, [9] * 9)
    out = np.zeros(36 * TILE)
    arguments = *case.arguments, case.q_place[0], out, None
    assert parts_of(cuda.attention, 3, *arguments) == WARPS + 12


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_and_nans(dtype):
    """They reach the queries that see them, and no other, nor the row beside theirs."""
    case = drawn([4, 2], [4, 2], (1, 1, 1, 1), dtype, masked=False).compact()
    case = case._replace(window=CAUSAL)
    case.q[:], case.k[:] = abs(case.q), abs(case.k)
    for array, numbers in ((case.k, (-INF, 1, INF, NAN)), (case.v, (1, 2, NAN, INF))):
        array[:4, 0, 0] = numbers
    out, _ = attend(case)
    np.testing.assert_array_equal(out[:4, 0, 0], np.array([0, 2, NAN, NAN], dtype))
    assert np.isfinite(out[4:]).all()


def test_what_is_not_seen_has_no_part_in_gradients():
    case = drawn([3, 2], [3, 2], (1, 1, 1, 1), masked=False).compact()._replace(window=CAUSAL)
    clean = differentiate(case, arriving(case))
    for array in (case.k, case.v):
        array[2] = NAN
    q_gradient, k_gradient, v_gradient = differentiate(case, arriving(case))
    assert np.isnan(q_gradient[2])
    assert np.isnan(k_gradient[:3]).all()
    for found, expected in zip((q_gradient, k_gradient, v_gradient), clean, strict=True):
        assert found[3:].tobytes() == expected[3:].tobytes()
    assert q_gradient[:2].tobytes() == clean[0][:2].tobytes()


def test_no_sums_are_wanted():
    case = drawn([3], [2], (1, 1, 1, 2))
    out = np.zeros((3, 1, 2))
    arguments = *case.arguments, np.zeros(1, int), out.reshape(-1), None
    running.run(cuda.attention, 1, *arguments)
    np.testing.assert_array_equal(out, attend(case)[0])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_arrays_on_a_device_attend_as_the_hosts_do(monkeypatch, dtype):
    as_device(monkeypatch)
    case = drawn([6], [6], (2, 1, 2, 3), dtype, masked=False).compact()
    mask = np.array([True, True, False, True, True, True])
    batches = [
        rm.Ragged(case.q, [0, 3], [2, 3]),
        rm.Ragged(case.k, [1, 0], [4, 1], mask),
        rm.Ragged(case.v, [1, 0], [4, 1]),
    ]
    expected = rm.temporal_attention(*batches, causal=True)
    found = rm.temporal_attention(*map(on_device, batches), causal=True).to_host()
    assert (found.dtype, found.lengths.tolist()) == (dtype, [2, 3])
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(found.values, expected.values, tolerance, tolerance)
    if dtype == "float32":
        seen, rows = Seen(UNLIMITED, 1, 0.5), [batch.compact()._rows for batch in batches]
        rows[2] = Rows(rows[2].values, rows[1].layout, rows[1].mask)
        for one, other in zip(gradients_of(rows, seen), there(rows, seen), strict=True):
            np.testing.assert_allclose(other.to_host(), one, 1e-4, 1e-4)


def on_device(batch):
    arrays = batch.values, batch.starts, batch.lengths, batch.mask
    return rm.Ragged(*(None if array is None else OnDevice(array.copy()) for array in arrays))


def there(rows, seen):
    moved = [on_device(rm.Ragged._of(one))._rows for one in rows]
    return gradients_of([*moved[:2], Rows(moved[2].values, moved[1].layout, moved[1].mask)], seen)


def gradients_of(rows, seen):
    q, k, v = rows
    out = q.arrays.empty((q.n_steps, 2, 3), np.float32)
    log_sum = q.arrays.empty((q.n_steps, 2), np.float32)
    attend_rows(q, k, v, seen, q.layout.end_to_end.starts, out, log_sum)
    return attention_gradient(q, k, v, seen, out, log_sum, out)
