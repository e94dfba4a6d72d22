"""What takes too long in the simulator: `run_ptx.py --thorough` runs it as executed PTX."""

import os

import numpy as np
import pytest
from numba import cuda as numba_cuda

import ragmask as rm
from ragmask.kernels import cuda
from ragmask.kernels.compile import cuda_kernel
from ragmask.kernels.constants import MEAN
from tests.cuda import running
from tests.cuda.test_attention import CAUSAL, EVERYTHING, check, check_gradients, drawn
from tests.cuda.test_moves import check_compact, check_counts, check_pack, check_pad, pattern_of
from tests.cuda.test_reductions import HOWS, TOLERANCES, pool, softmax

BEYOND = 2**31
ROWS = 41


def drawn_lengths(random, mean, longest):
    """Most rows are short, and a few very long."""
    return np.minimum(random.lognormal(mean, 1.5, ROWS).astype(int), longest)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("features", "mean"), [(1, 5), (1, 6.5), (7, 4), (64, 2.5), (100, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_reductions_are_those_of_the_cpu(dtype, features, mean, masked):
    random = np.random.default_rng(features)
    lengths = drawn_lengths(random, mean, 9000)
    x = (random.standard_normal((lengths.sum(), features)) * 3).astype(dtype)
    mask = random.random(len(x)) < 0.8 if masked else None
    batch = rm.Ragged(x, np.cumsum(lengths) - lengths, lengths, mask)[random.permutation(ROWS)]
    tolerance = TOLERANCES[dtype] * 10
    expected = rm.temporal_softmax(batch).values
    np.testing.assert_allclose(softmax(batch).values, expected, tolerance, tolerance / 10)
    for how in HOWS:
        expected = rm.temporal_pool(batch, how)
        np.testing.assert_allclose(pool(batch, how), expected, tolerance * 5, tolerance * 5)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_moves_are_the_reference(dtype):
    random = np.random.default_rng(0)
    lengths = drawn_lengths(random, 4, 9000)
    values = random.integers(0, 255, lengths.sum() + 99).astype(dtype)
    starts = np.cumsum(lengths) - lengths + random.integers(0, 3)
    mask = random.random(len(values)) < 0.7
    ragged = rm.Ragged(values, starts, lengths, mask)[random.permutation(ROWS)]
    check_compact(ragged)
    check_pack(ragged)
    check_counts(ragged)
    check_pad(ragged, ragged.max_length + 3, dtype == "float32", pattern_of(ragged, True))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("window", [EVERYTHING, CAUSAL, (70, 40)])
def test_attention_of_whole_heads(dtype, window):
    """Of usual sizes, and of those that fill no tile."""
    for sizes in ((2, 1, 64, 64), (1, 1, 24, 130)):
        case = drawn([200, 0, 3, 64, 97], [210, 5, 0, 64, 33], sizes, dtype)
        check(case._replace(window=window, scale=sizes[2] ** -0.5))
        if dtype != "float16":
            check_gradients(case._replace(window=window, scale=sizes[2] ** -0.5))


# -- beyond 2^31 --------------------------------------------------------------------------
# Zeros take no memory until they are touched, and only the ends of these arrays are; but no system
# gives more than it has.

ALL_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
beyond = pytest.mark.skipif(ALL_MEMORY < 12e9, reason="takes arrays of 9 GB")


def numbers(*values):
    return np.array(values, np.int64)


@pytest.fixture(scope="module")
def bytes_beyond():
    values = np.zeros(BEYOND + 5000, np.uint8)
    values[BEYOND:] = np.random.default_rng(0).integers(0, 255, 5000)
    return values


@beyond
def test_rows_beyond_end_to_end(bytes_beyond):
    out = np.zeros_like(bytes_beyond)
    starts, lengths = numbers(BEYOND + 7, BEYOND + 8), numbers(3900, 5)
    out_starts = numbers(BEYOND + 33, BEYOND + 4500)
    running.run(cuda.compact, 2, bytes_beyond, starts, lengths, 1, out_starts, out)
    for start, length, to in zip(starts, lengths, out_starts, strict=True):
        assert (out[to : to + length] == bytes_beyond[start : start + length]).all()


@beyond
def test_packed_rows_beyond(bytes_beyond):
    out = np.zeros_like(bytes_beyond)
    step_starts = BEYOND + 3 * np.arange(30)
    place = numbers(BEYOND + 7), numbers(30), 1, step_starts
    running.run(cuda.pack, 1, bytes_beyond, *place, out)
    assert (out[step_starts] == bytes_beyond[BEYOND + 7 : BEYOND + 37]).all()


@cuda_kernel
def pad_one_row(values, start, length, pattern, width, to, out):
    team = numba_cuda.threadIdx.x, cuda.THREADS
    cuda.pad_row(values, (start, length, to), None, pattern, (1, width, True), out, None, team)


@beyond
def test_a_padded_row_beyond(bytes_beyond):
    out, pattern = np.zeros_like(bytes_beyond), np.full(1, 9, np.uint8)
    place = BEYOND + 9, 700, pattern, 900, BEYOND - 50
    running.run(pad_one_row, 1, bytes_beyond, *place, out)
    found = out[BEYOND - 51 : BEYOND + 851]
    row = bytes_beyond[BEYOND + 9 : BEYOND + 709]
    assert found.tolist() == [0, *[9] * 200, *row, 0]


@beyond
def test_vectors_of_ids_beyond(bytes_beyond):
    ids = numbers(BEYOND // 4 + 3, 0, BEYOND // 4 + 9)
    out = np.zeros(12, np.uint8)
    place = numbers(0), numbers(3), None
    running.run(cuda.embedding, 1, ids, *place, bytes_beyond, 4, numbers(0), out)
    expected = bytes_beyond.reshape(-1, 4)[ids].reshape(-1)
    assert (out == expected).all()


@beyond
def test_counts_beyond():
    mask = np.zeros(BEYOND + 6000, bool)
    mask[BEYOND + 10 :] = np.random.default_rng(0).random(5990) < 0.5
    out = np.zeros(1, np.int64)
    running.run(cuda.count_kept, 1, mask, numbers(BEYOND + 9), numbers(4990), out)
    assert out == mask[BEYOND + 9 : BEYOND + 4999].sum()


@pytest.fixture(scope="module")
def steps_beyond():
    """(steps of 3 features, where two rows lie among the last of them)."""
    n = BEYOND // 3 + 500
    x = np.zeros((n, 3), np.float32)
    x[-500:] = np.random.default_rng(0).standard_normal((500, 3))
    return x, (numbers(n - 490, n - 20), numbers(300, 20))


@beyond
@pytest.mark.parametrize("masked", [False, True])
def test_softmax_beyond(steps_beyond, masked):
    x, (starts, lengths) = steps_beyond
    out, mask = np.zeros_like(x), np.ones(len(x), bool) if masked else None
    flat = x.reshape(-1), 3, starts, lengths, mask, starts, out.reshape(-1)
    running.run(cuda.softmax, 2, *flat)
    for start, length in zip(starts, lengths, strict=True):
        row = x[start : start + length]
        powers = np.exp(row - row.max(0))
        found = out[start : start + length]
        np.testing.assert_allclose(found, powers / powers.sum(0), 1e-5)


@beyond
def test_pooling_and_masking_beyond(steps_beyond):
    x, place = steps_beyond
    means = np.zeros((2, 3), np.float32)
    running.run(cuda.pool, 2, x, *place, None, MEAN, means)
    rows = [x[start : start + length] for start, length in zip(*place, strict=True)]
    np.testing.assert_allclose(means, [row.mean(0) for row in rows], 1e-4, 1e-5)

    out, out_mask = np.zeros_like(x), np.zeros(len(x), bool)
    running.run(cuda.masking, 2, x, *place, None, np.float32(0), place[0], out, out_mask)
    for start, row in zip(place[0], rows, strict=True):
        assert (out[start : start + len(row)] == row).all()
        assert out_mask[start : start + len(row)].all()
    assert out_mask[-500:].sum() == sum(place[1])
