"""The simulator's own rules: a kernel whose threads part ways, or read too early, is caught."""

import numpy as np
import pytest
from numba import cuda

from tests.cuda.simulator import ALL, DivergenceError

THREADS = 64


@cuda.jit
def some_wait(out, most):
    if cuda.threadIdx.x < most:
        cuda.syncthreads()
    out[cuda.threadIdx.x] = 1


@cuda.jit
def some_lanes_vote(out, most):
    if cuda.threadIdx.x < most:
        cuda.ballot_sync(ALL, True)
    out[cuda.threadIdx.x] = 1


@cuda.jit
def some_fail(out, most):
    if cuda.threadIdx.x >= most:
        raise ZeroDivisionError
    cuda.syncthreads()
    out[cuda.threadIdx.x] = 1


@cuda.jit
def neighbours(x, distance, waits, out):
    shared = cuda.shared.array(THREADS, np.int64)
    number = cuda.threadIdx.x
    shared[number] = -1
    if waits:
        cuda.syncthreads()
    shared[number] = x[number]
    if waits:
        cuda.syncthreads()
    out[number] = shared[(number + distance) % THREADS]


@pytest.mark.parametrize("kernel", [some_wait, some_lanes_vote])
@pytest.mark.parametrize("most", [1, 33, THREADS - 1])
def test_threads_that_part_ways_are_an_error_and_not_a_hang(kernel, most):
    out = np.zeros(THREADS, np.int64)
    with pytest.raises(DivergenceError, match="of 64 threads have ended"):
        kernel[1, THREADS](out, most)
    kernel[1, THREADS](out, THREADS)
    assert out.all()


def test_an_error_of_a_thread_is_that_of_the_launch():
    out = np.zeros(THREADS, np.int64)
    with pytest.raises(ZeroDivisionError):
        some_fail[1, THREADS](out, 7)
    some_fail[1, THREADS](out, THREADS)
    assert out.all()


@pytest.mark.parametrize("distance", [1, THREADS - 1])
def test_what_is_read_too_early_is_not_there_yet(distance):
    x, out = np.arange(THREADS), np.empty(THREADS, np.int64)
    neighbours[1, THREADS](x, distance, True, out)
    np.testing.assert_array_equal(out, np.roll(x, -distance))
    neighbours[1, THREADS](x, distance, False, out)
    assert (out != np.roll(x, -distance)).any()
