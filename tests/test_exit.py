"""Processes that end amid a stream: promptly, well, and without a word."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.interpreters import ROOT

pytestmark = pytest.mark.slow

ROWS = 4000
BEGIN = """
import atexit, builtins, sys, threading, time
import ragmask as rm
from tests.faults import afar

path, where, prefetch = sys.argv[1], sys.argv[2], int(sys.argv[3])
stream = rm.stream(path, filesystem=afar() if where == "afar" else None).prefetch(prefetch)
stream = stream.batch(rows=4)

def read():
    print(sum(batch.num_rows for batch in stream))

"""
OPEN = """
class Cycle: pass

its = [iter(stream) for _ in range(3)]
[next(it) for it in its]
not_begun = iter(stream)
generator = (batch.num_rows for batch in stream)
mapped = iter(stream.map(lambda batch: {"n": batch["ids"] * 2}))
shuffled = iter(stream.shuffle(0, 90).batch(tokens=9, column="ids"))
even = iter(stream.shard(0, 2, even=True).batch(tokens=9, column="ids"))
cycle = Cycle()
cycle.itself, cycle.it = cycle, iter(stream)
builtins.it = iter(stream)
elsewhere = iter(stream)
thread = threading.Thread(target=next, args=(elsewhere,))
thread.start()
thread.join()
for it in (generator, mapped, shuffled, even, cycle.it, builtins.it):
    next(it)
"""
ENDS = [
    OPEN,
    "threading.Thread(target=read, daemon=True).start(); time.sleep(0.05)",
]
LATE = """
it = iter(stream)
next(it)
atexit.register(lambda: print(sum(batch.num_rows for batch in it) + 4))
atexit.register(read)
threading.Thread(target=read).start()
"""


@pytest.fixture(scope="module", params=["parquet", "arrow"])
def path(request, tmp_path_factory):
    table = pa.table({"ids": [[n] * (n % 5) for n in range(ROWS)], "number": range(ROWS)})
    path = tmp_path_factory.mktemp("data") / request.param
    if request.param == "parquet":
        pq.write_table(table, path, row_group_size=40)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=40)
    return path


def ended(code, *arguments):
    """Standard output of a process that must end well, in time, and silently."""
    begin = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGIN + code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (process.returncode, process.stderr) == (0, ""), code
    assert time.perf_counter() - begin < 30
    return process.stdout.strip()


@pytest.mark.parametrize("where", ["here", "afar"])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_loop_that_is_still_open_at_the_end_says_nothing(path, where, prefetch):
    with ThreadPoolExecutor(2) as pool:
        printed = list(pool.map(lambda code: ended(code, path, where, prefetch), ENDS))
    assert set(printed) <= {"", str(ROWS)}  # a daemon may get to its end


@pytest.mark.parametrize("where", ["here", "afar"])
def test_a_stream_is_read_to_its_end_after_the_main_thread_has_ended(path, where):
    assert ended(LATE, path, where, 3).split() == [str(ROWS)] * 3
