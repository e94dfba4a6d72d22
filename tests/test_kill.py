"""Processes killed at any moment: the next one goes on where the last line of the log says."""

import json
import multiprocessing
import os
import random
import sys
import time
from collections import Counter

import pytest

import ragmask as rm
from tests.streams import Rows, write

pytestmark = pytest.mark.slow

KILLS = 50


def deliver(folder, log, most_epochs):
    """Write each batch's rows and state to the log; go on where its last whole line says."""
    stream = rm.stream(folder).shuffle(7, window_rows=50).batch(tokens=24, column="ids")
    with log.open("ab+") as file:
        file.seek(0)
        lines = file.read().split(b"\n")
        file.truncate(sum(len(line) + 1 for line in lines[:-1]))  # without the torn last one
        if lines[:-1]:
            stream.load_state_dict(json.loads(lines[-2])["state"])
        while stream.state_dict()["epoch"] < most_epochs:
            for batch in stream:
                entry = {"rows": batch.row_ids.tolist(), "state": batch.state}
                file.write(json.dumps(entry).encode())
                file.flush()
                file.write(b"\n")
                file.flush()
                os.fsync(file.fileno())
                time.sleep(0.001)


def test_fifty_kills_lose_no_row_and_repeat_none(tmp_path):
    rng = random.Random(0)
    lengths = [tuple(rng.randrange(9) for _ in range(20)) for _ in range(20)]
    folder, log = tmp_path / "data", tmp_path / "log"
    folder.mkdir()
    write(folder, Rows((("parquet", tuple(lengths[:12])), ("arrow", tuple(lengths[12:])))))
    log.touch()
    forkserver = multiprocessing.get_context("forkserver")
    deliver(folder, tmp_path / "first", 1)  # what it imports, processes have from their beginning
    own = [name for name in sys.modules if name.startswith(("ragmask", "pyarrow", "numba."))]
    forkserver.set_forkserver_preload([*own, __name__])

    for _ in range(KILLS):
        process = forkserver.Process(target=deliver, args=(folder, log, 1000))
        process.start()
        # after so many bytes, not seconds: a busy machine comes as far as an idle one
        enough = log.stat().st_size + rng.randrange(3000)
        while process.is_alive() and log.stat().st_size < enough:
            time.sleep(0.0002)
        time.sleep(rng.random() * 0.004)
        process.kill()
        process.join()
        assert process.exitcode == -9
    states = [json.loads(line)["state"] for line in log.read_bytes().split(b"\n")[:-1]]
    epochs = states[-1]["epoch"] + 1
    last = forkserver.Process(target=deliver, args=(folder, log, epochs))
    last.start()
    last.join(60)
    assert last.exitcode == 0

    delivered = [Counter() for _ in range(epochs)]
    for line in log.read_bytes().splitlines():
        entry = json.loads(line)
        delivered[entry["state"]["epoch"]].update(entry["rows"])
    assert epochs >= 2
    assert delivered == [Counter(range(400))] * epochs
