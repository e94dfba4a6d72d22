"""Files that are not local: reads fail, stall, and are tried again."""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ragmask as rm
from ragmask.streaming import retry
from tests.faults import afar
from tests.interpreters import run_python

ROWS = 60


@pytest.fixture(params=["parquet", "arrow"])
def folder(request, tmp_path):
    for year in (2023, 2024):
        part = tmp_path / f"year={year}"
        part.mkdir()
        first = 0 if year == 2023 else ROWS // 2
        numbers = range(first, first + ROWS // 2)
        table = pa.table({"ids": [[n] * (n % 5) for n in numbers], "number": list(numbers)})
        if request.param == "parquet":
            pq.write_table(table, part / "part.parquet", row_group_size=7)
        else:
            with pa.ipc.new_file(part / "part.arrow", table.schema) as writer:
                writer.write_table(table, max_chunksize=7)
    return str(tmp_path)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.001)


def rows_of(batches):
    return [row for batch in batches for row in batch["number"].tolist()]


def decoding():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ragmask-decode")]


@pytest.mark.parametrize(
    "settle",
    [
        lambda stream: stream.batch(rows=8),
        lambda stream: stream.shuffle(1, 20).batch(rows=8),
        lambda stream: stream.shuffle(1, 20).batch(tokens=30, column="ids"),
        lambda stream: stream.shard(1, 3).batch(rows=4),
        lambda stream: stream.pack(16, "ids").batch(rows=2),
    ],
    ids=["in order", "shuffled", "bucketed", "sharded", "packed"],
)
@pytest.mark.parametrize("filter_", [None, [("number", ">", 20)]])
def test_it_streams_what_the_local_files_hold(folder, settle, filter_):
    here = settle(rm.stream(folder, filter=filter_))
    there = settle(rm.stream(folder, filter=filter_, filesystem=afar()))
    for one, other in zip(here, there, strict=True):
        assert one.row_ids.tolist() == other.row_ids.tolist()
        assert one.to_arrow().equals(other.to_arrow())


def test_globs_folders_and_pickles_work(folder):
    stream = rm.stream(f"{folder}/*/part.*", ["number", "year"], filesystem=afar())
    stream = pickle.loads(pickle.dumps(stream.batch(rows=100)))
    (batch,) = stream
    assert batch["number"].tolist() == list(range(ROWS))
    assert set(batch["year"]) == {2023, 2024}


@pytest.mark.parametrize("every", [2, 3, 7])
def test_a_read_that_fails_is_tried_again(folder, every):
    failed = []

    def fault(path, reads):
        if reads % every == 0 and len(failed) < 6:
            failed.append(reads)
            raise ConnectionResetError("the line went dead")

    stream = rm.stream(folder, filesystem=afar(fault), retries=6).shuffle(0, 20).batch(rows=8)
    assert sorted(rows_of(stream)) == list(range(ROWS))
    assert failed


def test_when_tries_run_out_the_error_says_where_and_how_often(folder):
    dead = threading.Event()

    def fault(path, reads):
        if dead.is_set() and "2024" in path:
            raise ConnectionResetError("the line went dead")

    stream = rm.stream(folder, filesystem=afar(fault), retries=2).prefetch(0).batch(rows=7)
    assert len(stream) == 9
    dead.set()
    batches = iter(stream)
    # of the fifth batch, two rows are there and five are not
    assert rows_of(next(batches) for _ in range(4)) == list(range(28))
    with pytest.raises(
        rm.StreamError,
        match=r"year=2024.part\.\w+: (row group|record batch) 0 cannot be read, "
        r"after 3 tries: .*the line went dead",
    ):
        next(batches)


def test_a_read_that_stalls_is_given_up_and_tried_again(folder):
    stalled = []

    def fault(path, reads):
        if reads in (9, 17):
            stalled.append(reads)
            time.sleep(1.5)

    begin = time.perf_counter()
    stream = rm.stream(folder, filesystem=afar(fault), timeout=0.2).batch(rows=8)
    assert rows_of(stream) == list(range(ROWS))
    assert stalled
    assert time.perf_counter() - begin < 1.4


@pytest.mark.parametrize("wait", [30.0, 0.001])
def test_closing_ends_promptly_while_reads_wait_or_stall(folder, monkeypatch, wait):
    """With a long wait a try is waited for; with a short one, a read that stalls."""
    monkeypatch.setattr(retry, "_FIRST_WAIT", wait)
    dead, met = threading.Event(), threading.Event()

    def fault(path, reads):
        if dead.is_set() and "2024" in path:
            met.set()
            if wait > 1:
                raise ConnectionResetError("the line went dead")
            time.sleep(2)

    stream = rm.stream(folder, filesystem=afar(fault)).batch(rows=7)
    assert len(stream) == 9
    dead.set()
    batches = iter(stream)
    for _ in range(3):
        next(batches)
    assert met.wait(5)
    begin = time.perf_counter()
    batches.close()
    assert time.perf_counter() - begin < 1
    assert not decoding()


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_what_another_try_cannot_change_is_not_tried_again(folder, error):
    seen = []

    def fault(path, reads):
        seen.append(reads)
        raise error("no")

    with pytest.raises(rm.StreamError, match="cannot be read: no"):
        rm.stream(folder, filesystem=afar(fault))
    assert len(seen) == 1


def test_a_file_cut_short_is_an_error_that_names_it(folder, tmp_path):
    name = next((tmp_path / "year=2024").iterdir())
    name.write_bytes(name.read_bytes()[:-20])
    with pytest.raises(rm.StreamError, match=r"year=2024.part"):
        list(rm.stream(folder, filesystem=afar(), retries=1).batch(rows=8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "retries must be at least 0; got -1"),
        ({"retries": 1.5}, "retries must be an integer"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0; got 0"),
        ({"timeout": float("nan")}, "timeout must be a number of seconds above 0; got nan"),
        ({"timeout": "5"}, "timeout must be a number of seconds above 0; got '5'"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder, options, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.stream(folder, filesystem=afar(), **options)


def test_a_changed_file_is_noticed(folder, tmp_path):
    stream = rm.stream(folder, filesystem=afar()).prefetch(0).batch(rows=7)
    batches = iter(stream)
    next(batches)
    name = next((tmp_path / "year=2024").iterdir())
    content = name.read_bytes()
    time.sleep(0.01)
    name.write_bytes(content)
    with pytest.raises(rm.StreamError, match=r"year=2024.part\.\w+: the file changed"):
        list(batches)
    name.unlink()
    with pytest.raises(rm.StreamError, match=r"no such file"):
        list(stream)


def test_numbers_are_those_of_the_rows(folder):
    stream = rm.stream(folder, filter=[("number", "in", [3, 33, 59])], filesystem=afar())
    (batch,) = stream.batch()
    assert batch.row_ids.tolist() == batch["number"].tolist() == [3, 33, 59]
    assert np.issubdtype(batch["year"].dtype, np.int64)


# -- which threads read -------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["parquet"], indirect=True)
@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("filter_", [None, [("number", ">", 20)], [("number", "in", [3, 33])]])
def test_no_thread_of_arrows_meets_python(folder, filter_, prefetch):
    """Else it may let go of the last bytes while the interpreter ends, and end with it."""
    threads = set()

    def fault(path, reads):
        threads.add(threading.current_thread().name)

    stream = rm.stream(folder, filter=filter_, filesystem=afar(fault)).prefetch(prefetch)
    for settled in (stream.batch(rows=8), stream.shuffle(0, 20).batch(tokens=9, column="ids")):
        assert list(settled)
    assert threads == {"ragmask-read"}


@pytest.mark.parametrize("columns", [["ids"], ["ids", "number"], ["a.b", "number", "last"]])
def test_row_groups_are_read_in_one_go(tmp_path, columns):
    numbers = list(range(1000))
    every = {"ids": [[n, n] for n in numbers], "a.b": numbers, "number": numbers, "last": numbers}
    pq.write_table(pa.table(every), tmp_path / "f", row_group_size=100)
    seen = []
    filesystem = afar(lambda path, reads: seen.append(reads))
    stream = rm.stream(str(tmp_path / "f"), columns, filesystem=filesystem).prefetch(0)
    stream = stream.shuffle(0, 500).batch(500)
    assert len(stream) == 2
    seen.clear()
    for batch in stream:
        for name in columns:
            assert batch.to_arrow()[name].to_pylist() == [every[name][n] for n in batch.row_ids]
    assert len(seen) <= 3 * 3  # the footer once; and each window's row groups


ENDING = """
import sys
import ragmask as rm
from tests.faults import afar

stream = rm.stream(sys.argv[1], filesystem=afar()).batch(rows=8)
print(sum(batch.num_rows for batch in stream))
"""


@pytest.mark.slow
def test_processes_that_stream_from_afar_end_well_on_a_busy_machine(folder):
    with ThreadPoolExecutor(6) as pool:
        printed = list(pool.map(lambda _: run_python(ENDING, folder), range(6)))
    assert printed == [str(ROWS)] * 6
