"""Rows of a stream by number, and samples of them."""

import copy
import pickle
import threading
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.streaming import access, elsewhere
from ragmask.streaming.reader import Reader
from tests.streams import DATA, FILTER, SHARES, SPLIT_SEED, ids_of, keeps, table_of, written
from tests.test_streaming import FORMATS, TABLE, write

ROWS = TABLE.num_rows


def plain(entry):
    """An entry of a row as Arrow's to_pylist has it."""
    if isinstance(entry, dict):
        return {name: plain(part) for name, part in entry.items()}
    if isinstance(entry, np.ma.MaskedArray):
        return entry.tolist()
    if isinstance(entry, np.ndarray):
        return entry.tolist()
    return entry.item() if isinstance(entry, np.generic) else entry


def columns_of(steps):
    """A list of structs as a struct of lists."""
    if steps is None:
        return None
    return {name: [step and step[name] for step in steps] for name in ("begin", "word")}


@pytest.fixture
def reads(monkeypatch):
    """The row groups that are decoded."""
    read, found = Reader.read_table, []

    def counting(self, groups):
        found.extend((group.file.path, group.index) for group in groups)
        return read(self, groups)

    monkeypatch.setattr(Reader, "read_table", counting)
    return found


# -- single rows --------------------------------------------------------------------------


@pytest.mark.parametrize("format_", [*FORMATS, "memory"])
def test_a_row_holds_what_every_kind_of_column_has_in_it(format_, tmp_path):
    given = TABLE if format_ == "memory" else write(tmp_path / "rows", TABLE, format_)
    stream = rm.stream(given)
    for number, expected in enumerate(TABLE.to_pylist()):
        for row in (stream[number], stream[number - ROWS], stream[np.int8(number)]):
            assert list(row) == TABLE.column_names
            spans = row.pop("spans")
            assert {name: plain(entry) for name, entry in row.items()} == {
                name: value for name, value in expected.items() if name != "spans"
            }
            told = columns_of(expected["spans"])
            assert plain(spans) == (told if told is None else told | {})
    assert isinstance(stream[0]["ids"], np.ndarray)
    assert isinstance(stream[2]["ids"], np.ma.MaskedArray)
    assert stream[3]["ids"] is None
    assert stream[1]["score"] is None
    assert stream[0]["day"] == np.datetime64(date(1970, 1, 1))
    assert stream[0]["frames"].shape == (1, 2)


def test_a_row_is_nobody_elses():
    stream = rm.stream(TABLE, ["ids", "frames"])
    row = stream[0]
    row["ids"][:] = 0
    row["frames"][:] = 0
    assert stream[0]["ids"].tolist() == [1, 2, 3]
    assert stream[0]["frames"].tolist() == [[1, 2]]


@given(DATA, st.data())
def test_rows_are_those_that_streams_deliver(data, draw):
    with written(data) as folder:
        stream = rm.stream(folder)
        rank, size = draw.draw(st.sampled_from([(0, 1), (0, 2), (1, 2), (2, 3)]))
        stream = stream.shard(rank, size)
        if draw.draw(st.booleans()):
            stream = stream.split(SHARES, SPLIT_SEED)["most"]
        delivered = [row for batch in stream.batch(rows=2) for row in batch.row_ids.tolist()]
        assert len(stream) == len(delivered)
        looked = stream.shuffle(seed=5) if draw.draw(st.booleans()) else stream
        numbers = [number - len(delivered) for number in range(2 * len(delivered))]
        numbers = draw.draw(st.lists(st.sampled_from(numbers), max_size=9)) if numbers else []
        batch = looked[numbers]
        wanted = [delivered[number] for number in numbers]
        assert batch.row_ids.tolist() == wanted
        lengths = data.lengths
        expected = [table_of(row, [lengths[row]]) for row in wanted]
        found = batch.to_arrow()
        for name in ("number", "words", "name", "score", "keep"):
            assert found[name].to_pylist() == [one[name][0].as_py() for one in expected]
        assert [ids or [] for ids in found["ids"].to_pylist()] == [
            ids_of(row, lengths[row]) for row in wanted
        ]
        first, last, step = (draw.draw(st.none() | st.integers(-9, 9)) for _ in range(3))
        cut = slice(first, last, step or None)
        assert looked[cut].row_ids.tolist() == delivered[cut]
        for number in numbers[:3]:
            assert looked[number]["number"] == delivered[number]


def test_nulls_and_types_come_back(tmp_path):
    stream = rm.stream(write(tmp_path / "rows", TABLE))
    order = [7, 3, 0, 3, -1, 4]
    table = stream[order].to_arrow()
    assert table.schema.equals(stream.schema)
    assert table.to_pylist() == TABLE.take([number % ROWS for number in order]).to_pylist()
    assert stream[::-1].to_arrow().to_pylist() == TABLE.to_pylist()[::-1]
    none = stream[[]]
    assert (none.num_rows, list(none)) == (0, TABLE.column_names)
    assert none.to_arrow().schema.equals(stream.schema)


def test_rows_of_several_files_and_keys(tmp_path):
    for key in (3, 1):
        (tmp_path / f"key={key}").mkdir()
        for number in range(2):
            table = pa.table({"n": [10 * key + 2 * number, 10 * key + 2 * number + 1]})
            pq.write_table(table, tmp_path / f"key={key}" / f"{number}.parquet", row_group_size=1)
    stream = rm.stream(tmp_path)
    assert [(row["n"], row["key"]) for row in map(stream.__getitem__, range(8))] == [
        (key * 10 + number, key) for key in (1, 3) for number in range(4)
    ]
    assert stream[[7, 0]]["key"].tolist() == [3, 1]


@pytest.mark.parametrize("items", ["vectors", {"frames": 2}])
def test_lists_of_vectors(items):
    table = pa.table({"frames": [[[1, 2], [3, 4]], [], None]})
    stream = rm.stream(table, items=items)
    assert stream[0]["frames"].tolist() == [[1, 2], [3, 4]]
    assert stream[1]["frames"].shape == (0, 2)
    assert stream[2]["frames"] is None


def test_values_that_python_lacks_stay_arrows():
    times = pa.array([{"at": 1}, None], pa.struct([("at", pa.timestamp("ns"))]))
    stream = rm.stream(pa.table({"times": times, "raw": [b"\xff", None]}))
    row = stream[0]
    assert getattr(row["times"], "as_py", None) or row["times"]["at"] is not None
    assert row["raw"] == b"\xff"
    assert stream[1] == {"times": None, "raw": None}


def test_maps_see_the_rows_that_are_asked_for():
    stream = rm.stream(TABLE, ["ids", "label"])
    mapped = stream.map(
        lambda batch: {"n": batch["ids"].lengths, "padded": batch["ids"].to_padded()}
    )
    assert mapped[2]["n"] == 2
    assert mapped[0]["padded"].tolist() == [1, 2, 3]
    assert mapped[[5, 0]]["n"].tolist() == [2, 3]
    assert mapped.sample(3).num_rows == 3
    twice = stream.map(lambda batch: rm.Batch.from_arrow(pa.concat_tables([batch.to_arrow()] * 2)))
    with pytest.raises(rm.InvalidInputError, match=r"map made 2 of it: stream\[1:2\]"):
        twice[1]
    assert twice[1:3].num_rows == 4


# -- what is no row -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "index",
    [8, -9, 2**31, 2**63, -(2**70), np.int64(8), np.uint64(2**64 - 1), [0, 8], [-9], [2**70, 1],
     np.array([1, 8], np.uint8), np.array([2**64 - 1], np.uint64), np.array(8)],
    ids=repr,
)  # fmt: skip
def test_a_row_that_is_not_there(index):
    with pytest.raises(rm.RowIndexError, match=r"row -?\d+ of a stream of 8 rows"):
        rm.stream(TABLE)[index]
    with pytest.raises(IndexError):
        rm.stream(TABLE.slice(0, 0))[0]


@pytest.mark.parametrize(
    "index",
    [True, False, np.True_, 1.0, np.float64(1), [True, False], [1.5], np.array([1.0]), None, (1, 2),
     (), [[1, 2]], [[1], [2, 3]], ["a"], [None], {1}, {1: 2}, np.ones(8, bool), object,
     slice(1.5), slice(None, None, 0), slice("a"), 1j, [0, None], np.array(["1"]), ...],
    ids=repr,
)  # fmt: skip
def test_what_is_no_index(index):
    with pytest.raises(
        rm.UnsupportedTypeError, match=r"rows (of a stream are picked|cannot be cut)"
    ):
        rm.stream(TABLE)[index]


def test_bools_are_told_what_to_pass():
    with pytest.raises(rm.UnsupportedTypeError, match="flatnonzero"):
        rm.stream(TABLE)[np.ones(8, bool)]
    with pytest.raises(rm.UnsupportedTypeError, match="its batches have"):
        rm.stream(TABLE)["ids"]


def test_indices_of_other_libraries_and_kinds():
    stream = rm.stream(TABLE, ["label"])
    for index in (range(1, 3), np.array([1, 2], np.uint8), pa.array([1, 2]), iter([1, 2])):
        assert stream[index]["label"].tolist() == [1, 2]
    assert stream[np.array(3)]["label"] == 3
    assert stream[np.array([], np.int32)].num_rows == stream[5:2].num_rows == 0
    assert [row["label"] for row in reversed(stream)] == list(range(8))[::-1]


def test_batches_and_filters_have_no_numbered_rows():
    for stream in (
        rm.stream(TABLE).batch(rows=2),
        rm.stream(TABLE).pack(8, "ids"),
        rm.stream(TABLE, filter=[("label", ">", 2)]),
    ):
        for index in (0, slice(2), [1]):
            with pytest.raises(rm.UnsupportedTypeError, match="has no item"):
                stream[index]
    with pytest.raises(rm.UnsupportedTypeError, match=r"before \.batch\(\).*StreamDataset"):
        rm.stream(TABLE).batch(rows=2)[0]
    with pytest.raises(rm.UnsupportedTypeError, match=r"sample\(n\).*to_arrow\(\)"):
        rm.stream(TABLE, filter=[("label", ">", 2)])[0]


def test_an_unknown_length_names_what_counts():
    filtered = rm.stream(TABLE, filter=[("label", ">", 2)])
    for stream in (
        filtered,
        filtered.batch(rows=2),
        rm.stream(TABLE).batch(tokens=9, column="ids"),
    ):
        with pytest.raises(rm.UnsupportedTypeError, match=r"count_batches\(\)"):
            len(stream)


# -- what is read -------------------------------------------------------------------------


def test_each_row_group_is_read_once_and_no_other(tmp_path, reads):
    path = str(write(tmp_path / "rows", TABLE, group_rows=2))
    stream = rm.stream(path)
    stream[3]
    assert reads == [(path, 1)]
    stream[2], stream[[3, 2, 3]], stream[2:4]
    assert reads == [(path, 1)]
    stream[[7, 0, 6, 1, 0, 7, 2]]
    assert reads == [(path, 1), (path, 0), (path, 3)]
    copied = pickle.loads(pickle.dumps(stream))
    for other in (copied, copy.copy(stream), stream.shuffle(seed=0)):
        before = len(reads)
        assert other[3]["label"] == 3
        assert len(reads) == before + 1


def test_a_few_row_groups_are_kept_by_their_bytes(tmp_path, reads, monkeypatch):
    path = write(tmp_path / "rows", pa.table({"ids": [[n] * 10 for n in range(20)]}), group_rows=1)
    stream = rm.stream(path)
    list(map(stream.__getitem__, range(20)))
    assert len(reads) == 20
    stream[19], stream[20 - access._MOST_KEPT]
    assert len(reads) == 20
    stream[0]
    assert len(reads) == 21
    monkeypatch.setattr(access, "_MOST_BYTES", 100)  # one group has 80
    stream[1], stream[1]
    assert len(reads) == 22
    stream[2], stream[1]
    assert len(reads) == 24


def test_a_pickle_is_as_small_as_before(tmp_path):
    stream = rm.stream(write(tmp_path / "rows", pa.table({"ids": [[1] * 100_000] * 9})))
    stream[0]
    assert len(pickle.dumps(stream)) < 20_000
    assert len(pickle.loads(pickle.dumps(stream))[0]["ids"]) == 100_000


def test_rows_of_several_groups_hold_on_to_none():
    table = pa.table({"ids": [[number] * 1000 for number in range(100)], "name": ["x"] * 100})
    parts = [table.slice(first, 10) for first in range(0, 100, 10)]
    batch = rm.stream(parts)[[5, 95]]
    assert batch["ids"].values.nbytes <= 2 * 8 * 1000


def test_several_threads_look_at_once(tmp_path):
    stream = rm.stream(write(tmp_path / "rows", pa.table({"n": range(500)}), group_rows=7))
    wrong = []

    def look(seed):
        for number in np.random.default_rng(seed).integers(0, 500, 60):
            if stream[number]["n"] != number:
                wrong.append(number)

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_file_that_is_gone_is_told(tmp_path):
    path = write(tmp_path / "rows", TABLE)
    stream = rm.stream(path)
    path.unlink()
    with pytest.raises(rm.StreamError, match="rows"):
        stream[0]


# -- samples ------------------------------------------------------------------------------


@given(DATA, st.booleans(), st.sampled_from([None, "most", "few"]), st.integers(0, 30))
def test_a_sample_is_of_rows_each_once(data, filtered, part, n):
    with written(data) as folder:
        stream = rm.stream(folder, filter=FILTER if filtered else None).shard(1, 2)
        if part:
            stream = stream.split(SHARES, SPLIT_SEED)[part]
        every = [row for batch in stream.batch(rows=4) for row in batch.row_ids.tolist()]
        batch = stream.sample(n, seed=3)
        drawn = batch.row_ids.tolist()
        assert len(drawn) == len(set(drawn)) == min(n, len(every))
        assert set(drawn) <= set(every)
        assert batch["number"].tolist() == drawn
        assert [ids or [] for ids in batch.to_arrow()["ids"].to_pylist()] == [
            ids_of(row, data.lengths[row]) for row in drawn
        ]
        assert stream.batch(rows=3).shuffle(seed=9).sample(n, seed=3).row_ids.tolist() == drawn
        if filtered:
            assert all(row >= 2 and keeps(row) for row in drawn)
        else:
            assert drawn[: n // 2] == stream.sample(n // 2, seed=3).row_ids.tolist()


@pytest.mark.parametrize(("groups", "kept"), [(7, 100), (1, 30), (7, 30), (100, 2), (20, 2)])
def test_each_row_is_as_likely_as_any_other(groups, kept):
    table = pa.table({"n": np.arange(100)})
    stream = rm.stream(
        [table.slice(first, groups) for first in range(0, 100, groups)],
        filter=[("n", "<", kept)] if kept < 100 else None,
    )
    times, counts = 200, np.zeros(100)
    for seed in range(times):
        counts[stream.sample(2, seed).row_ids] += 1
    expected = 2 * times / kept
    assert counts[kept:].sum() == 0
    # chi-square of kept - 1 degrees of freedom, six deviations off
    square = ((counts[:kept] - expected) ** 2 / expected).sum()
    assert square < kept + 6 * np.sqrt(2 * kept)


def test_a_sample_reads_few_row_groups(tmp_path, reads):
    path = write(tmp_path / "rows", pa.table({"n": range(1000)}), group_rows=10)
    rm.stream(path).sample(5)
    assert len(reads) <= 5
    reads.clear()
    rm.stream(path, filter=[("n", ">=", 0)]).sample(5)
    assert len(reads) <= 10  # once to filter, once to read
    reads.clear()
    assert rm.stream(path, filter=[("n", "!=", -1), ("n", "==", 777)]).sample(5).num_rows == 1
    assert len(reads) <= 101


def test_samples_of_packed_streams_are_packed():
    batch = rm.stream(JAPANESE_VOWELS).pack(64, "frames").sample(6)
    assert "cu_seqlens" in batch
    assert sorted(set(batch["row_ids"].values)) == sorted(batch.row_ids)
    assert len(set(batch.row_ids)) == 6


def test_seeds_draw_other_rows_and_none_is_fine():
    stream = rm.stream(JAPANESE_VOWELS, ["speaker"])
    drawn = {tuple(stream.sample(4, seed).row_ids) for seed in range(20)}
    assert len(drawn) == 20
    assert stream.sample().num_rows == 5
    assert stream.sample(0).num_rows == 0
    assert stream.sample(10**6).num_rows == 640
    assert rm.stream(TABLE.slice(0, 0)).sample().num_rows == 0
    for n in (-1, 2.0, True, None):
        with pytest.raises(rm.InvalidInputError, match="n must be"):
            stream.sample(n)
    with pytest.raises(rm.InvalidInputError, match="seed must be"):
        stream.sample(1, seed=-1)


@pytest.mark.parametrize("name", sorted(elsewhere._REMEDY_OF))
def test_names_of_other_libraries_say_what_to_write_here(name):
    stream = rm.stream(TABLE)
    assert name not in dir(stream)
    assert not hasattr(stream, name)
    with pytest.raises(rm.MissingAttributeError, match=f"a Stream has no {name}: "):
        getattr(stream, name)


def test_other_names_are_missing_as_ever():
    with pytest.raises(AttributeError, match="'Stream' object has no attribute 'shufle'") as caught:
        _ = rm.stream(TABLE).shufle
    assert not isinstance(caught.value, rm.RagmaskError)
