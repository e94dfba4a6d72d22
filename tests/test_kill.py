"""Processes killed at any moment: the next one goes on where the last line of the log says."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.interpreters import ROOT
from tests.streams import Rows, write

pytestmark = pytest.mark.slow

KILLS = 50
CHILD = """
import json, os, sys, time
import ragmask as rm

folder, log = sys.argv[1:]

def stream():
    return rm.stream(folder).shuffle(7, window_rows=50).batch(tokens=24, column="ids")

for _ in zip(range(9), stream()):
    pass  # all is imported, compiled and opened once
print("ready", flush=True)
most_epochs = int(sys.stdin.readline())

with open(log, "ab+") as file:
    file.seek(0)
    lines = file.read().split(b"\\n")
    file.truncate(sum(len(line) + 1 for line in lines[:-1]))  # without the torn last one
    going_on = stream()
    if lines[:-1]:
        going_on.load_state_dict(json.loads(lines[-2])["state"])
    while going_on.state_dict()["epoch"] < most_epochs:
        for batch in going_on:
            entry = {"rows": batch.row_ids.tolist(), "state": batch.state}
            file.write(json.dumps(entry).encode())
            file.flush()
            file.write(b"\\n")
            file.flush()
            os.fsync(file.fileno())
            time.sleep(0.001)
"""


def start(folder, log):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CHILD, str(folder), str(log)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_fifty_kills_lose_no_row_and_repeat_none(tmp_path):
    rng = random.Random(0)
    lengths = [tuple(rng.randrange(9) for _ in range(20)) for _ in range(20)]
    folder, log = tmp_path / "data", tmp_path / "log"
    folder.mkdir()
    write(folder, Rows((("parquet", tuple(lengths[:12])), ("arrow", tuple(lengths[12:])))))
    log.touch()

    waiting = [start(folder, log) for _ in range(3)]  # they import while another runs
    try:
        for kill in range(KILLS):
            process = waiting.pop(0)
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("1000000\n")
            process.stdin.flush()
            # after so many bytes, not seconds: a busy machine comes as far as an idle one
            enough = log.stat().st_size + rng.randrange(3000)
            while process.poll() is None and log.stat().st_size < enough:
                time.sleep(0.0002)
            time.sleep(rng.random() * 0.004)
            process.kill()
            assert process.wait() == -9
            process.stdin.close()
            process.stdout.close()
            if kill + len(waiting) < KILLS:
                waiting.append(start(folder, log))
        states = [json.loads(line)["state"] for line in log.read_bytes().split(b"\n")[:-1]]
        epochs = states[-1]["epoch"] + 1
        (last,) = waiting
        last.communicate(f"{epochs}\n", timeout=60)
        assert last.returncode == 0
    finally:
        for process in waiting:
            process.kill()
            process.communicate()

    delivered = [Counter() for _ in range(epochs)]
    for line in log.read_bytes().splitlines():
        entry = json.loads(line)
        delivered[entry["state"]["epoch"]].update(entry["rows"])
    assert epochs >= 2
    assert delivered == [Counter(range(400))] * epochs
