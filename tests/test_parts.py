"""Streams in parts: together they are the stream, and become a folder whole or not at all."""

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.files import whole_folder
from ragmask.streaming.batch import Batch
from ragmask.streaming.parts import Parts
from ragmask.streaming.sink import alike
from tests.streams import DATA, SMALL, WORLDS, setups, write, written


def table_of(parts):
    """The rows of all parts, each read by a copy, last ones first."""
    tables = {}
    for number in reversed(range(len(parts))):
        copy = pickle.loads(pickle.dumps(parts))
        batches = list(copy.read(number))
        tables[number] = [batch.to_arrow() for batch in batches]
    found = [table for number in range(len(parts)) for table in tables[number]]
    return pa.concat_tables(alike([parts.schema.empty_table(), *found]))


@pytest.mark.slow
@given(DATA, setups(), WORLDS, st.integers(1, 5))
def test_the_parts_of_a_stream_have_its_rows_in_its_order(data, setup, world_size, workers):
    with written(data) as folder:
        for rank in range(world_size):
            stream = setup.stream(folder, rank, world_size)
            parts = Parts.of(stream, workers)
            assert table_of(parts).equals(pa.concat_tables(alike([stream.to_arrow()])))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return write(tmp_path / "data", SMALL)


def test_parts_are_those_of_the_epoch_and_of_what_is_left_of_it(folder):
    stream = rm.stream(folder).shuffle(3, window_rows=4).batch(rows=2)
    stream.set_epoch(5)
    every = list(stream)
    stream.load_state_dict(every[1].state)
    left = pa.concat_tables([batch.to_arrow() for batch in every[2:]])
    assert table_of(Parts.of(stream, 3)).equals(left)


WAYS = {
    "in file order": lambda s: s.batch(rows=4),
    "small batches": lambda s: s.batch(rows=1),
    "large batches": lambda s: s.batch(rows=100),
    "drop_last": lambda s: s.batch(rows=5, drop_last=True),
    "shuffled": lambda s: s.shuffle(seed=1, window_rows=5).batch(rows=3),
    "bucketed": lambda s: s.shuffle(seed=1, window_rows=5).batch(tokens=9, column="ids"),
    "rows in buckets": lambda s: s.batch(rows=2, bucket=True, column="ids"),
    "packed": lambda s: s.pack(6, "ids").batch(rows=1),
    "of a rank": lambda s: s.shard(1, 3).batch(rows=2),
    "mapped": lambda s: s.map(lambda batch: {"row": batch["number"][::2]}).batch(rows=4),
    "of a split": lambda s: s.split({"a": 0.6, "b": 0.4}, seed=2)["a"].batch(rows=2),
}


@pytest.mark.parametrize("workers", [1, 3, 1000])
@pytest.mark.parametrize("condition", [None, [("number", ">", 4)], [("number", "<", 0)]])
@pytest.mark.parametrize("way", WAYS)
def test_parts_have_a_stream_s_batches(folder, way, condition, workers):
    stream = WAYS[way](rm.stream(folder, filter=condition))
    parts = Parts.of(stream, workers)
    found = [batch for number in range(len(parts)) for batch in parts.read(number)]
    expected = list(stream)
    assert [batch.to_arrow() for batch in found] == [batch.to_arrow() for batch in expected]
    assert [b.row_ids.tolist() for b in found] == [b.row_ids.tolist() for b in expected]
    assert sum(part.batches for part in parts.all) == len(expected)
    most = -(-len(expected) // workers)  # batches of a part, so that all have work
    if expected:
        assert -(-len(expected) // most) <= len(parts) <= 5 * workers


def test_windows_are_left_whole_where_there_are_enough(tmp_path):
    pq.write_table(pa.table({"a": range(4000)}), tmp_path / "a.parquet", row_group_size=100)
    parts = Parts.of(rm.stream(tmp_path).batch(rows=10), workers=4)
    assert {part.start.place.item for part in parts.all} == {0}


def test_files_are_found_from_another_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    whole = rm.stream(folder.name)
    split = whole.split({"a": 0.5, "b": 0.5}, seed=1)["a"]
    sent = [pickle.dumps(Parts.of(stream.batch(rows=2), workers=2)) for stream in (whole, split)]
    monkeypatch.chdir(tmp_path)
    for stream, parts in zip((rm.stream(folder), None), map(pickle.loads, sent), strict=True):
        expected = stream or rm.stream(folder).split({"a": 0.5, "b": 0.5}, seed=1)["a"]
        assert table_of(parts).equals(expected.to_arrow())


def test_a_stream_that_repeats_rows_is_refused(folder):
    stream = rm.stream(folder).shard(0, 2, even=True).batch(rows=2)
    with pytest.raises(rm.InvalidInputError, match="even=True"):
        Parts.of(stream)


def rows_of(parts, number):
    return sum(batch.num_rows for batch in parts.read(number))


def write_all(parts, target, function=Batch.to_arrow):
    with whole_folder(target) as folder:
        rows = [parts.write(number, function, folder, parts.schema) for number in range(len(parts))]
        return parts.check_written(folder, rows)


def test_a_folder_of_parts_streams_as_the_stream_it_was(folder, tmp_path):
    stream = rm.stream(folder).batch(rows=2)
    assert write_all(Parts.of(stream), tmp_path / "out") == stream.num_rows == 12
    assert rm.stream(tmp_path / "out").to_arrow().equals(stream.to_arrow())
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}


def test_an_attempt_that_comes_again_or_late_changes_nothing(folder, tmp_path):
    parts = Parts.of(rm.stream(folder).batch(rows=2), workers=4)
    with whole_folder(tmp_path / "out") as whole:
        for number in (0, 1, 1, 3, 2, 0):
            rows = parts.write(number, Batch.to_arrow, whole, parts.schema)
            assert rows == rows_of(parts, number)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [parts.file_name(number) for number in range(4)]
    with pytest.raises(rm.StreamError, match="cannot be written"):
        parts.write(1, Batch.to_arrow, whole, parts.schema)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert not whole.parent.exists()


def test_a_stream_of_no_rows_is_one_part_with_its_columns(tmp_path):
    schema = pa.schema({"ids": pa.list_(pa.int32()), "label": pa.int8()})
    parts = Parts.of(rm.stream(schema.empty_table()).batch(rows=2))
    assert write_all(parts, tmp_path / "out") == 0
    assert rm.stream(tmp_path / "out").to_arrow().schema == schema


@pytest.mark.parametrize("number", [0, 3])
def test_parts_that_are_not_there_or_of_other_rows_are_told(folder, tmp_path, number):
    parts = Parts.of(rm.stream(folder).batch(rows=2), workers=4)
    write_all(parts, tmp_path / "out")
    path = tmp_path / "out" / parts.file_name(number)
    rows = [rows_of(parts, number) for number in range(len(parts))]
    pq.write_table(parts.schema.empty_table(), path)
    with pytest.raises(rm.StreamError, match=f"{path.name} has 0 rows, and not {rows[number]}"):
        parts.check_written(path.parent, rows)
    path.write_bytes(b"nonsense")
    with pytest.raises(rm.StreamError, match=f"{path.name} cannot be read again"):
        parts.check_written(path.parent, rows)
    path.unlink()
    with pytest.raises(rm.StreamError, match="lacks 1 of 4 files"):
        parts.check_written(path.parent, rows)


def test_the_names_of_many_parts_are_in_their_order():
    parts = Parts(None, (None,) * 1_000_002)
    names = [parts.file_name(number) for number in (0, 9, 10, 99_999, 100_000, 1_000_001)]
    assert names == sorted(names)


def test_a_folder_is_whole_or_not_there(tmp_path):
    target = tmp_path / "out"

    def fail(target, error):
        with whole_folder(target) as folder:
            (folder / "some").touch()
            assert not target.exists()
            raise error

    for error in (KeyboardInterrupt(), rm.InvalidInputError("no")):
        with pytest.raises(type(error)):
            fail(target, error)
        assert list(tmp_path.iterdir()) == []
    with whole_folder(target) as folder:
        (folder / "some").touch()
    assert [path.name for path in target.iterdir()] == ["some"]
    with pytest.raises(rm.StreamError, match="is there, and is not replaced"):
        fail(target, AssertionError())
    with pytest.raises(rm.StreamError, match="cannot be written: No such file"):
        fail(tmp_path / "no" / "out", AssertionError())
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(rm.StreamError, match="is a link"):
        fail(tmp_path / "link", AssertionError())
    assert {path.name for path in tmp_path.iterdir()} == {"out", "link"}


def test_a_folder_that_another_made_meanwhile_stays(tmp_path):
    def race():
        with whole_folder(tmp_path / "out") as folder:
            (folder / "ours").touch()
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").touch()

    with pytest.raises(rm.StreamError, match="is there, and is not replaced"):
        race()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs"]
