"""Large outputs lie in Arrow's pool, and go back there as the last view of them dies."""

import copy
import gc
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

import ragmask as rm
from ragmask import arrow
from ragmask.arrays import memory
from ragmask.arrays.host import HOST
from ragmask.errors import InvalidInputError
from tests.interpreters import run_python

ROWS, WIDTH, FEATURES = 500, 20, 16
SIZE = ROWS * WIDTH * FEATURES * 4  # past what numpy allocates


SLACK = 64 << 10  # what readers of other tests, which have not ended yet, may come by or give back


def lent():
    """What lies in Arrow's pool just now."""
    gc.collect()
    return pa.total_allocated_bytes()


def large(dtype=np.float32):
    values = np.random.default_rng(0).integers(0, 9, (ROWS * WIDTH, FEATURES)).astype(dtype)
    return rm.Ragged.from_offsets(values, np.arange(ROWS + 1) * WIDTH)


def weights():
    return rm.LSTMWeights(*(np.ones(s, np.float32) for s in ((FEATURES, 64), (16, 64), (64,))))


OUTPUTS = {
    "embedding": lambda x: rm.embedding(ids_of(x), np.ones((9, FEATURES), np.float32)).values,
    "masking": lambda x: rm.masking(x).values,
    "softmax": lambda x: rm.temporal_softmax(x).values,
    "softmax of a dense array": lambda x: rm.temporal_softmax(x.to_padded().values),
    "conv": lambda x: rm.temporal_conv(x, np.ones((3, FEATURES))).values,
    "cumsum": lambda x: rm.temporal_cumsum(x).values,
    "flip": lambda x: rm.temporal_flip(x).values,
    "roll": lambda x: x.roll(3).values,
    "sort": lambda x: rm.temporal_sort(x).values,
    "argsort": lambda x: rm.temporal_argsort(x).values,
    "concat": lambda x: rm.temporal_concat([x, x]).values,
    "lstm": lambda x: rm.lstm(x, weights()).outputs.values,
    "pool": lambda x: rm.temporal_pool(x.with_values(np.ones((ROWS * WIDTH, 256), "f4"))),
    "compact": lambda x: x[::-1].compact().values,
    "to_padded": lambda x: x.to_padded().values,
    "another dtype": lambda x: x.to_padded(dtype=np.float64).values,
    "from_rows": lambda x: rm.Ragged.from_rows(list(x)).values,
    "pad_sequences": lambda x: rm.pad_sequences(list(x)),
    "items with nulls": lambda x: from_nulls(x).values,
    "chunks": lambda x: rm.Ragged.from_arrow(pa.chunked_array([x.to_arrow()] * 2)).values,
}


def ids_of(x):
    return x.with_values(x.values[:, 0].astype(np.int64))


def from_nulls(x):
    mask = np.arange(x.n_steps) % 2 > 0
    return rm.Ragged.from_arrow(rm.Ragged(x.values, x.starts, x.lengths, mask).to_arrow())


@pytest.mark.slow
@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_large_outputs_are_lent_and_given_back(output):
    x = large()
    output(x)
    before = lent()
    made = output(x)
    assert made.nbytes > memory._SMALL
    assert lent() - before > made.nbytes - SLACK
    assert made.ctypes.data % 64 == 0
    kept, made = made[-1:], None
    assert lent() - before > SIZE // 2  # one view keeps it
    del kept
    assert abs(lent() - before) < SLACK


def test_arrow_takes_an_output_as_it_lies_and_keeps_it():
    before = lent()
    made = rm.temporal_softmax(large())
    expected, address = made.values.tobytes(), made.values.ctypes.data
    lists = made.to_arrow()
    del made
    items = lists.values.values
    assert items.buffers()[1].address == address
    assert items.to_numpy().tobytes() == expected
    again = rm.Ragged.from_arrow(lists)
    del lists, items
    assert again.values.ctypes.data == address
    assert lent() - before > SIZE - SLACK
    del again
    assert abs(lent() - before) < SLACK


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f2", "f8", "c16", "M8[s]", "m8[ns]"])
def test_any_dtype_is_writable_and_aligned(dtype):
    made = HOST.empty((3, 100_000), dtype)
    assert (made.shape, made.dtype) == ((3, 100_000), dtype)
    assert made.flags.writeable
    assert made.flags.c_contiguous
    assert made.ctypes.data % 64 == 0
    made[...] = np.ones((), np.int64).astype(dtype)
    assert lent() >= made.nbytes


def test_small_arrays_are_numpys():
    before = lent()
    made = HOST.empty((memory._SMALL,), np.uint8)
    assert abs(lent() - before) < SLACK
    assert made.base is None
    assert HOST.empty((0, 1 << 40), np.float64).shape == (0, 1 << 40)


@pytest.mark.parametrize("size", [1 << 46, 1 << 55])
def test_more_than_there_is_raises_at_once(size):
    with pytest.raises(MemoryError):
        HOST.empty((size,), np.uint8)
    with pytest.raises(MemoryError):
        HOST.empty((8, size // 8), np.uint8)


def test_more_than_can_be_counted_is_refused():
    with pytest.raises(InvalidInputError, match="larger than any memory"):
        HOST.empty((1 << 62,), np.float64)
    with pytest.raises(ValueError, match="negative"):
        HOST.empty((-1, 1 << 20), np.float64)


def test_outputs_are_copied_and_pickled_as_ever():
    made = rm.temporal_softmax(large())
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again.values.tobytes() == made.values.tobytes()
    dense = made.to_padded().values
    for again in (copy.deepcopy(dense), pickle.loads(pickle.dumps(dense, protocol=5))):
        assert again.tobytes() == dense.tobytes()
        again[...] = 0
    assert dense.any()


def test_nobody_takes_an_output_for_memory_of_arrows_that_may_not_be_written_to():
    values = rm.temporal_softmax(large()).values
    assert not arrow.owns_memory(values)
    values.flags.writeable = True  # as for tensors over it
    values[:] = 1
    assert arrow.owns_memory(rm.Ragged.from_arrow(large().to_arrow()).values)


def test_threads_lend_and_give_back():
    x = large()
    expected, before = rm.temporal_softmax(x).values.tobytes(), lent()

    def work(_):
        return [rm.temporal_softmax(x).values for _ in range(5)][-1]

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(work, range(40)))
    assert all(values.tobytes() == expected for values in made)
    del made
    assert abs(lent() - before) < SLACK


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_child_has_what_was_there_and_lends_its_own():
    code = """
import os
import numpy as np
import ragmask as rm
x = rm.Ragged.from_offsets(np.ones((10_000, 16), np.float32), np.arange(501) * 20)
made = rm.temporal_softmax(x)
child = os.fork()
if child == 0:
    again = rm.temporal_softmax(x)
    same = again.values.tobytes() == made.values.tobytes()
    del made, again
    os._exit(0 if same and rm.temporal_softmax(x).values.any() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), made.values.any())
"""
    assert run_python(code).split() == ["0", "True"]
