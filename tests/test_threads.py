"""The row runner: every row once, the same result on any number of threads, no loose ends."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import threads
from tests.interpreters import run_python

WORTH_IT = 10 * threads.WORTH_A_THREAD_NS


def big_batch(rows=20_000, seed=0):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 60, rows)
    starts = random.permutation(np.cumsum(lengths) - lengths)
    lengths = np.minimum(lengths, lengths.sum() - starts)
    return rm.Ragged(np.arange(lengths.sum() + 60), starts, lengths)


# -- chunks -------------------------------------------------------------------------------

COSTS = st.floats(0, 1e7) | st.lists(st.integers(0, 10**6), min_size=1, max_size=60).map(
    lambda costs: np.array(costs, float)
)


@given(COSTS, st.integers(0, 60), st.integers(1, 9))
def test_chunks_cover_every_row_once(cost, rows, num_threads):
    rows = len(cost) if isinstance(cost, np.ndarray) else rows
    chunks = threads._chunks(rows, cost, num_threads)
    assert [row for first, last in chunks for row in range(first, last)] == list(range(rows))
    assert all(first < last for first, last in chunks)
    assert len(chunks) <= max(1, num_threads * threads._CHUNKS_PER_THREAD)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60).map(np.array), st.integers(2, 9))
def test_chunks_are_equal_in_cost_up_to_one_row(costs, num_threads):
    chunks = threads._chunks(len(costs), costs.astype(float), num_threads)
    if costs.sum() < threads.WORTH_A_THREAD_NS:
        assert chunks == [(0, len(costs))]
        return
    share = costs.sum() / min(len(costs), num_threads * threads._CHUNKS_PER_THREAD)
    for first, last in chunks:
        assert costs[first : last - 1].sum() <= share + 1e-6 * costs.sum()


def test_small_work_stays_with_the_caller():
    assert threads._chunks(1000, 1.0, 4) == [(0, 1000)]
    assert len(threads._chunks(1000, 1e6, 4)) == 4 * threads._CHUNKS_PER_THREAD
    assert threads._chunks(1000, 1e6, 1) == [(0, 1000)]


# -- results ------------------------------------------------------------------------------


def test_results_never_depend_on_the_number_of_threads(num_threads):
    batch = big_batch()
    num_threads(1)
    padded, compact = batch.to_padded(padding="pre", value=-1), batch.compact()
    assert len(threads._chunks(len(batch), padded.shape[1] * 0.9, 2)) > 1
    for count in (2, 3, 4):
        num_threads(count)
        again = batch.to_padded(padding="pre", value=-1)
        assert again.values.tobytes() == padded.values.tobytes()
        assert again.mask.tobytes() == padded.mask.tobytes()
        assert batch.compact().values.tobytes() == compact.values.tobytes()


def test_many_callers_at_once(num_threads):
    num_threads(3)
    batches = [big_batch(5_000, seed) for seed in range(4)]
    expected = [batch.to_padded().values for batch in batches]
    barrier = threading.Barrier(8)

    def caller(number):
        barrier.wait()
        for turn in range(10):
            which = (number + turn) % len(batches)
            if not np.array_equal(batches[which].to_padded().values, expected[which]):
                return False
            if number == 0:
                rm.set_num_threads(2 + turn % 3)  # while the others are at work
        return True

    with ThreadPoolExecutor(8) as callers:
        assert all(callers.map(caller, range(8)))


def test_helpers_take_part(num_threads):
    """The caller's chunk waits for a helper's: it would wait for ever if there were none."""
    num_threads(2)
    helper_came, caller = threading.Event(), threading.get_ident()

    def kernel(first_row, last_row):
        if threading.get_ident() == caller:
            assert helper_came.wait(30)
        else:
            helper_came.set()

    threads.run_rows(kernel, 8, WORTH_IT)


def test_the_caller_never_waits_for_helpers_that_have_not_begun(num_threads):
    num_threads(2)
    release, busy = threading.Event(), threading.Event()

    def occupy():
        busy.set()
        assert release.wait(30)

    (blocked,) = threads._call_helpers(occupy, 1)
    assert busy.wait(30)
    done = []
    threads.run_rows(lambda first_row, last_row: done.append(last_row - first_row), 8, WORTH_IT)
    assert sum(done) == 8
    assert not blocked.done()
    release.set()


# -- errors and interrupts ----------------------------------------------------------------


@pytest.mark.parametrize("who", ["caller", "helper"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nobody_writes_after_an_error(num_threads, who, error):
    num_threads(3)
    caller, both_here = threading.get_ident(), threading.Barrier(2)
    met, writing, begun = threading.Event(), [], []

    def kernel(first_row, last_row):
        begun.append(first_row)
        if not met.is_set():
            both_here.wait(30)  # one chunk is the caller's, the other a helper's
            met.set()
        if (threading.get_ident() == caller) == (who == "caller"):
            raise error("stop")
        writing.append(1)
        time.sleep(0.02)
        writing.pop()

    helpers = threads._call_helpers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_call_helpers", lambda task, count: helpers(task, 1))
        with pytest.raises(error, match="stop"):
            threads.run_rows(kernel, 12, WORTH_IT)
    assert not writing
    if who == "caller":
        assert len(begun) < 6  # of 12 chunks: the helper ended its own and took no more


def test_an_interrupt_while_waiting_leaves_no_writer(num_threads, monkeypatch):
    num_threads(2)
    caller, helper_began, ended = threading.get_ident(), threading.Event(), threading.Event()
    waits = []

    def kernel(first_row, last_row):
        if threading.get_ident() == caller:
            assert helper_began.wait(30)
        elif not helper_began.is_set():
            helper_began.set()
            time.sleep(0.1)
            ended.set()

    def interrupted_once(helpers):
        waits.append(helpers)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return wait(helpers)

    wait = threads.wait
    monkeypatch.setattr(threads, "wait", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        threads.run_rows(kernel, 8, WORTH_IT)
    assert ended.is_set()


def test_work_goes_on_after_an_error(num_threads):
    num_threads(2)

    def kernel(first_row, last_row):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        threads.run_rows(kernel, 8, WORTH_IT)
    batch = big_batch(5_000)
    assert batch.to_padded().mask.sum() == batch.n_steps


# -- processes ----------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_makes_its_own_pool():
    code = """
import os, warnings
import numpy as np
import ragmask as rm
from ragmask import threads

warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of a fork beside threads
rm.set_num_threads(3)
batch = rm.Ragged.from_padded(np.arange(1_000_000).reshape(-1, 50))[::-1]
expected = batch.to_padded().values
assert threads._pool is not None
for _ in range(5):
    child = os.fork()
    if child == 0:
        assert threads._pool is None
        same = np.array_equal(batch.to_padded().values, expected) and threads._pool is not None
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert np.array_equal(batch.to_padded().values, expected)
print("both work")
"""
    assert run_python(code) == "both work"


@pytest.mark.parametrize("setting", ["1", "3", " 2 "])
def test_the_environment_sets_the_number_of_threads(setting):
    code = "import ragmask as rm; print(rm.get_num_threads())"
    assert run_python(code, RAGMASK_NUM_THREADS=setting) == setting.strip()


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", None, True])
def test_set_num_threads_takes_a_positive_integer(count):
    before = rm.get_num_threads()
    with pytest.raises(rm.InvalidInputError, match="takes an integer of at least 1; got"):
        rm.set_num_threads(count)
    assert rm.get_num_threads() == before


def test_set_num_threads_is_what_get_gives(num_threads):
    num_threads(np.int64(3))
    assert rm.get_num_threads() == 3
