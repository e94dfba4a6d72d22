"""Reads that fail, forks, and how much is in memory."""

import os
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ragmask as rm
from ragmask.streaming import retry
from tests.faults import afar
from tests.interpreters import ROOT, run_python
from tests.tables import column, table_of, write

# -- reads that fail ----------------------------------------------------------------------


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.001)


class ClientError(Exception):
    """As clients raise them: no OSError."""


@pytest.mark.parametrize("error", [OSError, EOFError, TimeoutError, ClientError, pa.ArrowInvalid])
def test_whatever_a_client_raises_is_tried_again_and_wrapped(tmp_path, short_waits, error):
    path = str(write(tmp_path / "part.parquet", table_of(range(9))))
    dead = False

    def fault(path, reads):
        if dead or reads % 4 == 2:
            raise error("the line went dead")

    assert column(rm.stream(path, filesystem=afar(fault))) == list(range(9))
    stream = rm.stream(path, filesystem=afar(fault), retries=3).prefetch(0)
    dead = True
    with pytest.raises(rm.StreamError, match=r"row group 0 cannot be read, after 4 tries: .*dead"):
        column(stream)


@pytest.mark.parametrize("fails", [1, 2, 50])
def test_listing_is_tried_again(tmp_path, short_waits, monkeypatch, fails):
    write(tmp_path / "part.parquet", table_of([1, 2]))
    filesystem, calls = afar(), []
    handler = filesystem.handler
    original = handler.get_file_info_selector

    def get_file_info_selector(selector):
        calls.append(selector)
        if len(calls) <= fails:
            raise ConnectionResetError("the line went dead")
        return original(selector)

    monkeypatch.setattr(handler, "get_file_info_selector", get_file_info_selector)
    if fails < 5:
        assert column(rm.stream(str(tmp_path), filesystem=filesystem)) == [1, 2]
    else:
        with pytest.raises(rm.StreamError, match=r"after 5 tries: .*the line went dead"):
            rm.stream(str(tmp_path), filesystem=filesystem)


INTERRUPTED = """
import sys, time
import ragmask as rm
from tests.faults import afar

path, prefetch = sys.argv[1:]

def fault(path, reads):
    if reads > 6:
        sys.stdout.write("stalled\\n")  # in one piece: two threads may say so at once
        sys.stdout.flush()
        time.sleep(60)

for batch in rm.stream(path, filesystem=afar(fault)).prefetch(int(prefetch)).batch(3):
    pass
"""


@pytest.mark.slow
def test_an_interrupt_ends_a_process_whose_reads_stall(tmp_path):
    path = write(tmp_path / "part.parquet", table_of(range(30)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, str(path), str(prefetch)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for prefetch in (0, 3)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "stalled\n"
        begin = time.perf_counter()
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
        # reads that were left get a few seconds to end before the interpreter does
        assert time.perf_counter() - begin < 10
    finally:
        for process in processes:
            process.kill()
            process.communicate()


SLOW = """
import sys, time
import ragmask as rm

path, prefetch = sys.argv[1:]
for batch in rm.stream(path).shuffle(0, window_rows=9).prefetch(int(prefetch)).batch(1):
    print("streaming", flush=True)
    time.sleep(2)
"""


@pytest.mark.slow
def test_an_interrupt_ends_a_process_that_streams_slowly(tmp_path):
    path = write(tmp_path / "part.parquet", table_of(range(300)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SLOW, str(path), str(prefetch)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for prefetch in (0, 3)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "streaming\n"
        begin = time.perf_counter()
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            assert process.communicate(timeout=30)[1].splitlines()[-1] == "KeyboardInterrupt"
            assert process.returncode == -signal.SIGINT
        assert time.perf_counter() - begin < 2
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("filesystem", [None, afar()], ids=["local", "afar"])
def test_closing_a_shuffled_stream_early_leaves_no_thread(tmp_path, filesystem, prefetch):
    def decoding():
        return [one for one in threading.enumerate() if one.name.startswith("ragmask-decode")]

    path = str(write(tmp_path / "part.parquet", table_of(range(300))))
    stream = rm.stream(path, filesystem=filesystem).shuffle(0, window_rows=9).prefetch(prefetch)
    batches = iter(stream.batch(tokens=9, column="ids"))
    next(batches)
    assert bool(decoding()) == bool(prefetch)
    batches.close()
    assert not decoding()


# -- forks --------------------------------------------------------------------------------

FORKED = """
import os, sys, threading, traceback, warnings
import ragmask as rm
from tests.faults import afar

warnings.simplefilter("ignore", DeprecationWarning)  # of forks of a process with threads
path, where, prefetch = sys.argv[1], sys.argv[2], int(sys.argv[3])
filesystem = afar() if where == "afar" else None

def numbers(batches):
    return sorted(number for batch in batches for number in batch["number"].tolist())

def go_on(stream, begun):
    try:
        next(begun)
    except rm.StreamError as error:
        assert "before a fork" in str(error), error
    else:
        raise AssertionError("a loop went on in the child")
    stream.set_epoch(0)
    assert numbers(stream) == list(range(60))
    assert numbers(rm.stream(path, filesystem=filesystem).batch(7)) == list(range(60))

def fork(stream):
    assert numbers(stream) == list(range(60))  # and so threads and clients have run
    stream.set_epoch(0)
    begun = iter(stream)
    first = numbers([next(begun)])
    decoding = [one for one in threading.enumerate() if one.name.startswith("ragmask-decode")]
    assert bool(decoding) == bool(prefetch)
    child = os.fork()
    if child == 0:
        try:
            go_on(stream, begun)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted([*first, *numbers(begun)]) == list(range(60))

stream = rm.stream(path, filesystem=filesystem).prefetch(prefetch).batch(2)
fork(stream)
fork(stream.shuffle(0, window_rows=9))
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["here", "afar"])
@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_after_a_fork_a_stream_begins_anew_and_a_loop_does_not_go_on(tmp_path, where, prefetch):
    path = write(tmp_path / "part.parquet", table_of(range(60)), group_rows=6)
    run_python(FORKED, path, where, prefetch)


# -- memory -------------------------------------------------------------------------------

STEPS, GROUP_ROWS = 50, 400
PEAK = """
import sys, time
import pyarrow as pa
import pyarrow.parquet as pq
import ragmask as rm

groups, group_rows, *paths = sys.argv[1:]
def peak():
    return pa.default_memory_pool().max_memory()

decoded = pq.ParquetFile(paths[0], pre_buffer=False).read_row_groups(
    list(range(max(1, int(groups)))), use_threads=False
)
print(peak())
del decoded
for prefetch in (0, 1, 3):
    for path in paths:
        stream = rm.stream(path).prefetch(prefetch)
        if int(groups):
            stream = stream.shuffle(0, int(groups) * int(group_rows))
        for batch in stream.batch(200):
            time.sleep(0.002)  # time enough for the background to run ahead
        print(prefetch, peak())
"""


@pytest.mark.slow
@pytest.mark.parametrize("groups", [0, 1, 4])
def test_memory_is_a_few_windows_whatever_the_size_of_files(tmp_path, groups):
    """`prefetch + 2` windows, and what pyarrow needs besides while it decodes two of them."""
    lists = pa.ListArray.from_arrays(
        pa.array(range(0, STEPS * GROUP_ROWS + 1, STEPS), pa.int32()),
        pa.array(range(STEPS * GROUP_ROWS), pa.int64()),
    )
    table = pa.table([lists] * 8, names=[*"abcdefgh"])
    paths = [tmp_path / "small.parquet", tmp_path / "large.parquet"]
    for path, many in zip(paths, (16, 64), strict=True):
        with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as file:
            for _ in range(many):
                file.write_table(table)
    window = max(1, groups) * table.nbytes
    alone, *lines = run_python(PEAK, groups, GROUP_ROWS, *paths).splitlines()
    besides = int(alone) - window
    for line in lines:
        prefetch, peak = map(int, line.split())
        decoders = max(1, min(2, prefetch))
        assert peak <= 1.02 * ((prefetch + 2) * window + decoders * besides)
