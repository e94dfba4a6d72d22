"""The work of one row, called from a kernel of one's own."""

import numpy as np
from numba import cuda

import ragmask as rm
from ragmask.kernels import cuda as kernels
from ragmask.kernels.compile import cuda_kernel
from ragmask.kernels.cuda import ATTENTION_MEMORY, SOFTMAX_MEMORY
from ragmask.kernels.cuda.vector import ALIGNED
from tests.cuda import running

LENGTHS = np.array([3, 0, 40, 70])
STARTS = np.cumsum(LENGTHS) - LENGTHS


@cuda_kernel
def scores_and_counts(x, features, starts, lengths, mask, out, counts):
    """Blocks take rows in turn: each one's softmax, and how many of its steps are kept."""
    memory = cuda.shared.array(SOFTMAX_MEMORY, np.float32)
    warp = cuda.threadIdx.x >> 5
    for row in range(cuda.blockIdx.x, lengths.size, cuda.gridDim.x):
        first, last, _ = kernels.kept_span(mask, starts[row], lengths[row])
        segment, span = (starts[row], lengths[row], starts[row]), (first, last)
        kernels.softmax_row(x, features, segment, span, mask, out, memory, (warp, kernels.WARPS))
        kept = kernels.count_kept_row(mask, starts[row], lengths[row])
        if cuda.threadIdx.x == 0:
            counts[row] = kept


def test_a_kernel_of_ones_own_calls_row_functions():
    random = np.random.default_rng(0)
    x = random.standard_normal((LENGTHS.sum(), 40)).astype(np.float32)
    mask = random.random(len(x)) < 0.8
    out, counts = np.empty_like(x), np.empty_like(LENGTHS)
    flat = x.reshape(-1), 40, STARTS, LENGTHS, mask, out.reshape(-1), counts
    running.run(scores_and_counts, len(LENGTHS), *flat)
    expected = rm.temporal_softmax(rm.Ragged(x, STARTS, LENGTHS, mask))
    np.testing.assert_allclose(out, expected.values, 4e-6, 4e-6)
    assert counts.tolist() == [row.sum() for row in np.split(mask, STARTS[1:])]


@cuda_kernel
def attended_twice(x, starts, lengths, sizes, out, between):
    """Blocks take rows in turn: each one's steps look at each other, and at what they saw."""
    memory, window = cuda.shared.array(ATTENTION_MEMORY, np.float32, ALIGNED), (2**40, 0)
    for row in range(cuda.blockIdx.x, lengths.size, cuda.gridDim.x):
        place = starts[row], lengths[row]
        for head in range(sizes[0]):
            given, result = (x, place, None, x, x, place, None), (starts[row], between, None)
            kernels.attention_row(given, sizes, window, 1.0, result, head, memory, (0, 1))
        cuda.syncthreads()
        for head in range(sizes[0]):
            given = between, place, None, between, between, place, None
            result = starts[row], out, None
            kernels.attention_row(given, sizes, window, 1.0, result, head, memory, (0, 1))


def test_a_kernel_of_ones_own_attends():
    x = np.random.default_rng(0).standard_normal((6, 2, 3)).astype(np.float32)
    starts, lengths = np.array([0, 2, 2]), np.array([2, 0, 4])
    out, between = np.empty_like(x), np.empty_like(x)
    arrays = x.reshape(-1), starts, lengths, (2, 2, 3, 3), out.reshape(-1), between.reshape(-1)
    running.run(attended_twice, len(lengths), *arrays)
    expected = rm.Ragged(x, starts, lengths)
    for _ in range(2):
        expected = rm.temporal_attention(expected, expected, expected, causal=True, scale=1.0)
    np.testing.assert_allclose(out, expected.values, 1e-5, 1e-5)
