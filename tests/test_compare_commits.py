"""compare_commits.py: fingerprints tell results apart, and a worker answers with them."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import ragmask as rm
from asv_benchmarks.commits.digest import digest
from tests.interpreters import ROOT

ROWS = rm.Ragged([1, 2, 3], [0, 1], [1, 2])
RESULTS = [
    *(None, [], (), [None], "a", b"a", 1, 1.0, True),
    *(np.array(1), np.array([1]), np.array([1.0]), np.array([[1]]), np.array([1], ">i8")),
    *(np.array([0.0]), np.array([-0.0]), np.array([np.nan]), -np.array([np.nan])),
    *(np.ma.masked_equal([1, 2], 1), np.ma.masked_equal([1, 2], 2)),
    *(ROWS, ROWS[::-1], ROWS.truncate(1), rm.Ragged([1, 2, 3], [0, 1], [1, 2], [True] * 3)),
    *(ROWS.to_padded(), ROWS.to_padded(value=1), rm.Padded(ROWS.to_padded().values)),
    *(pa.array([1, None]), pa.array([1, None], pa.int8()), pa.array([1, 2])),
    *({"a": 1}, {"b": 1}, {"a": 2}),
]


def test_fingerprints_tell_results_apart():
    assert len({digest(result) for result in RESULTS}) == len(RESULTS)
    assert digest(rm.Ragged([1, 2, 3], [0, 1], [1, 2])) == digest(ROWS)


def test_a_fingerprint_knows_whether_an_array_may_be_written_to():
    array = np.arange(3)
    before = digest(array)
    array.flags.writeable = False
    assert digest(array) != before


@pytest.mark.slow
def test_a_worker_gives_the_same_fingerprints_twice():
    request = json.dumps(["digests", "^(constructors|pad_sequences|vocabulary|weights): "])
    process = subprocess.run(
        [sys.executable, ROOT / "asv_benchmarks" / "commits" / "worker.py"],
        input=f"{request}\n{request}\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    first, second = map(json.loads, process.stdout.splitlines())
    assert first == second
    assert len(set(first.values())) > 50
