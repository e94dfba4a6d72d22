"""Batches written to Parquet: what was read comes back, and a file is whole or not there."""

import os
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

import ragmask as rm
from ragmask.streaming import sink
from tests.interpreters import ROOT
from tests.streams import DATA, Rows, Setup, contents, plain, setups, write, written

SMALL = Rows((("parquet", ((1, 2, None), (5, 0, 3, 1))), ("arrow", ((9, 1), (2, 2, 2)))))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return write(tmp_path / "data", SMALL)


# -- what comes back ----------------------------------------------------------------------


@given(DATA, setups(drops=[False]))
def test_what_is_written_streams_as_it_was(data, setup):
    with written(data) as folder:
        batches = [contents(batch)[0] for batch in setup.stream(folder)]
        target = folder + "/written"
        if not batches:
            assert setup.stream(folder).to_parquet(target) == 0
            assert setup.stream(folder).to_arrow().equals(pq.read_table(target))
            return
        rows = setup.stream(folder).to_parquet(target)
        (back,) = rm.stream(target).batch(10_000)
        assert rows == back.num_rows
        for name in batches[0]:
            assert plain(back[name]) == [row for batch in batches for row in batch[name]]
        assert setup.stream(folder).to_arrow().equals(pq.read_table(target))


def test_masks_structs_vectors_and_times_come_back(tmp_path):
    spans = [[{"begin": 0, "word": "a"}], [], [{"begin": None, "word": "b"}, None], None]
    table = pa.table(
        {
            "ids": [[1, None], [], None, [3]],
            "frames": pa.array([[[1, 2]], [], [[3, 4]] * 2, []], pa.list_(pa.list_(pa.int8(), 2))),
            "spans": spans,
            "day": pa.array([0, 1, None, 3], pa.date32()),
            "flag": [True, None, False, True],
        }
    )
    pq.write_table(table, tmp_path / "in")
    rm.stream(tmp_path / "in").batch(3).to_parquet(tmp_path / "out")
    once, again = (next(iter(rm.stream(tmp_path / name).batch(4))) for name in ("in", "out"))
    assert {name: plain(column) for name, column in again.items()} == {
        name: plain(column) for name, column in once.items()
    }


def test_without_batches_rows_are_written_as_they_lie(folder, tmp_path):
    stream = rm.stream(folder)
    assert stream.to_parquet(tmp_path / "out") == 12
    back = pq.read_table(tmp_path / "out")
    assert back["number"].to_pylist() == list(range(12))
    assert stream.to_arrow().equals(back)
    shuffled = rm.stream(folder).shuffle(0, window_rows=3)
    assert shuffled.to_parquet(tmp_path / "out") == 12
    assert pq.read_table(tmp_path / "out")["number"].to_pylist() != list(range(12))


def test_packed_rows_are_written_without_batches_too(folder, tmp_path):
    rm.stream(folder, columns=["ids"]).pack(9).to_parquet(tmp_path / "out")
    (batch,) = rm.stream(tmp_path / "out").batch(100)
    assert list(batch) == ["ids", "row_ids", "positions", "cu_seqlens"]
    assert batch["ids"].lengths.tolist() == batch["row_ids"].lengths.tolist()
    assert batch["ids"].n_steps == sum(SMALL.lengths)


def test_a_mapped_batch_of_padded_arrays_is_written_ragged(folder, tmp_path):
    stream = rm.stream(folder, columns=["ids"]).batch(5)
    stream.map(lambda batch: {"ids": batch["ids"].to_padded()}).to_parquet(tmp_path / "out")
    back = pq.read_table(tmp_path / "out")["ids"].to_pylist()
    assert [row[:1] for row in back] == [[10 * n][: bool(k)] for n, k in enumerate(SMALL.lengths)]


def test_no_batch_is_an_empty_table_and_a_file_of_no_rows(folder, tmp_path):
    stream = rm.stream(folder, filter=[("number", ">", 99)]).batch(4)
    assert stream.to_arrow().schema == stream.schema
    assert stream.to_parquet(tmp_path / "out") == 0
    assert pq.read_schema(tmp_path / "out") == stream.schema
    mapped = stream.map(lambda batch: {"length": batch["ids"].lengths})
    assert mapped.to_arrow().schema == pa.schema({"length": pa.int64()})
    failing = stream.map(lambda batch: {"first": batch["number"][0]})
    with pytest.raises(rm.InvalidInputError, match="a map fails on a batch of no rows"):
        failing.to_parquet(tmp_path / "failing")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}


def test_batches_of_other_columns_are_named(folder, tmp_path):
    def widen(batch):
        first = batch.row_ids is None and batch["number"][0] == 0
        return {"a": batch["number"]} if first else {"b": batch["number"]}

    stream = rm.stream(folder).batch(5).map(widen)
    for run in (lambda: stream.to_parquet(tmp_path / "out"), stream.to_arrow):
        with pytest.raises(rm.InvalidInputError, match="batch 1 has other columns than the first"):
            run()
    numbers = (
        rm.stream(folder)
        .batch(5)
        .map(lambda batch: {"a": batch["number"] if batch["number"][0] else batch["number"] + 0.5})
    )
    assert numbers.to_arrow()["a"].type == pa.float64()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


# -- row groups and progress --------------------------------------------------------------


def test_row_groups_are_cut_by_rows_and_bytes(tmp_path, monkeypatch):
    pq.write_table(pa.table({"ids": [[1, 2, 3, 4]] * 100}), tmp_path / "in")
    stream = rm.stream(tmp_path / "in").batch(10)

    def groups():
        stream.to_parquet(tmp_path / "out")
        metadata = pq.read_metadata(tmp_path / "out")
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    assert groups() == [100]
    monkeypatch.setattr(sink, "_GROUP_ROWS", 30)
    assert groups() == [30, 30, 30, 10]
    monkeypatch.setattr(sink, "_GROUP_BYTES", 10 * 4 * 8 * 2)
    assert groups() == [20] * 5


def test_many_small_batches_take_no_longer_than_their_rows(tmp_path):
    pq.write_table(pa.table({"a": np.arange(20_000)}), tmp_path / "in")
    begin = time.process_time()
    rm.stream(tmp_path / "in").batch(1).to_parquet(tmp_path / "out")
    assert time.process_time() - begin < 10  # minutes, were sizes summed anew for each batch


def test_progress_hears_of_the_rows_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sink, "_GROUP_ROWS", 4)
    pq.write_table(pa.table({"a": range(10)}), tmp_path / "in")
    heard = []
    rm.stream(tmp_path / "in").batch(2).to_parquet(tmp_path / "out", progress=heard.append)
    assert heard == [4, 8, 10]


# -- whole or not at all ------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("before", [None, b"what was there"])
def test_an_error_in_the_middle_changes_nothing(folder, tmp_path, error, before):
    target = tmp_path / "out"
    if before:
        target.write_bytes(before)

    def fail(batch):
        if batch["number"][0] >= 8:
            raise error("in the middle")
        return batch

    expected = rm.StreamError if error is OSError else error
    with pytest.raises(expected, match="in the middle"):
        rm.stream(folder).batch(2).map(fail).to_parquet(target)
    names = ["data", "out"] if before else ["data"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert not before or target.read_bytes() == before


def test_a_file_that_is_there_is_replaced_and_as_readable_as_others(folder, tmp_path):
    target = tmp_path / "out"
    target.write_bytes(b"what was there")
    rm.stream(folder).to_parquet(target)
    assert pq.read_table(target).num_rows == 12
    (tmp_path / "plain").write_bytes(b"")
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    rm.stream(target).to_parquet(target)  # onto itself
    assert pq.read_table(target).num_rows == 12


def test_a_target_that_cannot_be_written_is_named(folder, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "nowhere" / "out", tmp_path / "file" / "out"):
        with pytest.raises(rm.StreamError, match="out cannot be written"):
            rm.stream(folder).to_parquet(target)
    with pytest.raises(rm.StreamError, match="is a folder: name the file to write"):
        rm.stream(folder).to_parquet(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(folder, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(rm.StreamError, match="out cannot be written"):
        rm.stream(folder).to_parquet(closed / "out")


KILLED = """
import sys, time
import ragmask as rm
from ragmask.streaming import sink

sink._GROUP_ROWS = 1

def slow(batch):
    if batch["number"][0] == 6:
        print("in the middle", flush=True)
        time.sleep(60)
    return batch

rm.stream(sys.argv[1]).batch(2).map(slow).to_parquet(sys.argv[2])
"""


def test_a_killed_writer_leaves_the_old_file_whole(folder, tmp_path):
    target = tmp_path / "out"
    rm.stream(folder).to_parquet(target)
    before = target.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(target)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"in the middle\n"
    process.kill()
    process.communicate()
    assert target.read_bytes() == before
    rm.stream(folder).batch(3).to_parquet(target)
    assert pq.read_table(target).num_rows == 12
    assert rm.stream(tmp_path / "data").num_rows == 12
    assert Setup(rows=4).stream(target).num_rows == 12
