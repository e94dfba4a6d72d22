"""Streams cut into parts: which row is in which, whatever else a stream does."""

import math
import pickle
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.streaming import source
from ragmask.streaming.plan import DRAWS, Portion, count_in, cut_at, rows_in
from tests.reference import part_of
from tests.streams import (
    DATA,
    FILTER,
    SMALL,
    WORLDS,
    Rows,
    as_json,
    contents,
    keeps,
    row_ids,
    setups,
    write,
    written,
)

SHARES = {"train": 0.6, "valid": 0.15, "test": 0.25}


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, SMALL)


def rows_of(stream):
    return [row for batch in stream for row in batch.row_ids.tolist()]


# -- which row is where -------------------------------------------------------------------


@given(DATA, st.integers(0, 9))
def test_each_row_is_in_the_part_that_its_number_and_the_seed_say(data, seed):
    with written(data) as folder:
        parts = rm.stream(folder).split(SHARES, seed)
        assert list(parts) == list(SHARES)
        expected = {name: [] for name in SHARES}
        for number in range(len(data.lengths)):
            expected[part_of(number, SHARES, seed)].append(number)
        for name, part in parts.items():
            assert part.num_rows == len(part) == len(expected[name])
            batches = list(part.batch(rows=3))
            assert rows_of(batches) == expected[name]
            assert [n for batch in batches for n in batch["number"].tolist()] == expected[name]
            assert len(part.batch(rows=3)) == len(batches)


@pytest.mark.slow
@given(DATA, setups(), WORLDS, st.integers(0, 3))
def test_parts_are_the_same_whatever_the_stream_does(data, setup, world_size, epoch):
    """Shuffled, sharded, packed, filtered: together all rows once, each in its own part."""
    setup = setup._replace(drop_last=False, part=None)
    with written(data) as folder:
        seen = Counter()
        for name in SHARES:
            for rank in range(world_size):
                part = setup.stream(folder, rank, world_size).split(SHARES, 5)[name]
                part.set_epoch(epoch)
                rows = row_ids(part)
                assert {part_of(row, SHARES, 5) for row in rows} <= {name}
                seen += rows
        if setup.pack is None:
            assert seen == setup.row_ids(data)
        else:
            assert set(seen) == set(setup.row_ids(data))


def test_a_filter_does_not_move_rows_and_neither_do_columns_or_row_groups(tmp_path):
    write(tmp_path, Rows((("parquet", ((1,) * 40, (2,) * 30)), ("arrow", ((3,) * 30,)))))
    all_rows = rows_of(rm.stream(tmp_path).split(SHARES, 1)["test"].batch())
    some = rm.stream(tmp_path, ["ids"], filter=FILTER).split(SHARES, 1)["test"].batch()
    assert rows_of(some) == [row for row in all_rows if row >= 2 and keeps(row)]
    assert 10 < len(all_rows) < 40

    table = pa.concat_tables(
        batch.to_arrow() for batch in rm.stream(tmp_path).batch()
    ).combine_chunks()
    pq.write_table(table, tmp_path / "again.parquet", row_group_size=7)
    again = rm.stream(tmp_path / "again.parquet").split(SHARES, 1)["test"]
    assert rows_of(again.batch()) == all_rows
    assert rows_of(rm.stream(table).split(SHARES, 1)["test"].batch()) == all_rows


def test_rows_added_behind_do_not_move_those_before(tmp_path):
    write(tmp_path, Rows((("parquet", ((1,) * 50,)),)))
    before = rows_of(rm.stream(tmp_path).split(SHARES, 3)["train"].batch())
    write(tmp_path, Rows((("parquet", ((1,) * 50,)), ("parquet", ((1,) * 50,)))))
    after = rows_of(rm.stream(tmp_path).split(SHARES, 3)["train"].batch())
    assert [row for row in after if row < 50] == before
    assert len(after) > len(before)


def test_parts_have_their_shares_and_seeds_differ():
    portions = [Portion((seed, 0), *draws) for seed in (0, 1) for draws in cut_at([0.9, 0.1])]
    held = [portion.holds(0, 1_000_000) for portion in portions]
    assert [part.mean() for part in held] == pytest.approx([0.9, 0.1, 0.9, 0.1], abs=0.001)
    assert (held[0] ^ held[1]).all()
    # two seeds draw independently: 1% of the rows are in both of the small parts
    assert (held[1] & held[3]).mean() == pytest.approx(0.01, abs=0.001)
    # and so do neighbours
    assert (held[1][1:] & held[1][:-1]).mean() == pytest.approx(0.01, abs=0.001)


def test_what_a_row_group_of_many_rows_holds_is_drawn_piece_by_piece():
    portions = [Portion((7, 0), 0, DRAWS // 3), Portion((7, 1), DRAWS // 2, DRAWS)]
    first, last = 12_345, 12_345 + 700_000
    rows = rows_in(portions, first, last)
    expected = np.flatnonzero(portions[0].holds(first, last) & portions[1].holds(first, last))
    assert rows.tolist() == expected.tolist()
    assert count_in(portions, first, last) == len(expected)
    assert rows_in(portions, 5, 5).tolist() == []


def test_the_draws_are_the_same_on_every_machine():
    assert rows_in([Portion((42, 0), 0, DRAWS // 3)], 0, 40).tolist() == [
        0,
        1,
        2,
        6,
        12,
        17,
        24,
        32,
        36,
        39,
    ]


def test_parts_of_parts_are_drawn_anew():
    parts = rm.stream(JAPANESE_VOWELS).split({"a": 0.5, "b": 0.5}, seed=0)
    halves = parts["a"].split({"a": 0.5, "b": 0.5}, seed=0)  # the same seed draws other numbers
    rows = {name: rows_of(half.batch()) for name, half in halves.items()}
    assert sorted(rows["a"] + rows["b"]) == rows_of(parts["a"].batch())
    assert min(map(len, rows.values())) > 120
    assert "0.5 of the rows, split by seed 0\n  0.5 of" in repr(halves["b"])


# -- parts as streams ---------------------------------------------------------------------


def test_a_part_reads_each_footer_once(folder, monkeypatch):
    read, read_footer = [], source.read_footer
    monkeypatch.setattr(
        source, "read_footer", lambda *args: read.append(args[1]) or read_footer(*args)
    )
    parts = rm.stream(folder).split(SHARES, 0)
    assert sum(part.num_rows for part in parts.values()) == len(SMALL.lengths)
    assert len(read) == 2


def test_a_part_survives_pickle_and_its_state_is_refused_by_another(folder):
    parts = rm.stream(folder).shuffle(0).batch(rows=1).split({"a": 0.5, "b": 0.5}, seed=4)
    again = pickle.loads(pickle.dumps(parts["a"]))
    assert [contents(batch) for batch in again] == [contents(batch) for batch in parts["a"]]
    state = as_json(next(iter(parts["a"])).state)
    with pytest.raises(rm.InvalidInputError, match="of another stream: its split is"):
        parts["b"].load_state_dict(state)
    with pytest.raises(rm.InvalidInputError, match=r"its split is .*, and here it is None"):
        rm.stream(folder).shuffle(0).batch(rows=1).load_state_dict(state)
    other = rm.stream(folder).shuffle(0).batch(rows=1).split({"a": 0.5, "b": 0.5}, seed=5)
    with pytest.raises(rm.InvalidInputError, match="its split is"):
        other["a"].load_state_dict(state)


def test_maps_stay_with_the_parts(folder):
    stream = rm.stream(folder).batch(rows=4).map(lambda batch: {"n": batch["number"] + 100})
    parts = stream.split(SHARES, 2)
    numbers = [n for part in parts.values() for batch in part for n in batch["n"].tolist()]
    assert sorted(numbers) == list(range(100, 100 + len(SMALL.lengths)))


def test_vectors_and_nulls_are_read_in_parts_too(tmp_path):
    table = pa.table({"v": [[[1.0, 2.0]] * (row % 4) for row in range(60)], "n": range(60)})
    pq.write_table(table, tmp_path / "f", row_group_size=9)
    part = rm.stream(tmp_path / "f", items="vectors").split(SHARES, 0)["valid"]
    for batch in part.shuffle(3, 20).batch(4):
        assert batch["v"].item_shape == (2,)
        assert batch["v"].lengths.tolist() == [row % 4 for row in batch.row_ids]
        assert batch["n"].tolist() == batch.row_ids.tolist()


# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({}, "needs a part at least"),
        (0.9, "takes the shares of parts by name"),
        ([("train", 0.9)], "takes the shares of parts by name"),
        (None, "takes the shares of parts by name"),
        ({"train": 0.9, "valid": 0.2}, "'train', 'valid' must sum to 1; they sum to 1.1"),
        ({"train": 0.9}, "must sum to 1; they sum to 0.9"),
        ({"train": 1.0, "valid": 0.0}, "above 0 and at most 1; got 0.0 for 'valid'"),
        ({"train": 1.5, "valid": -0.5}, "got 1.5 for 'train'"),
        ({"train": math.nan, "valid": 1.0}, "got nan for 'train'"),
        ({"train": math.inf}, "got inf"),
        ({"train": "0.9", "valid": 0.1}, "got '0.9' for 'train'"),
        ({"train": True}, "got True for 'train'"),
        ({"train": 90, "valid": 10}, "got 90 for 'train'"),
        ({1: 0.5, 2: 0.5}, "a part's name is a text; got 1"),
        ({"": 1.0}, "a part's name is a text; got ''"),
    ],
)
def test_shares_that_make_no_split_are_refused(folder, shares, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.stream(folder).split(shares, seed=0)


@pytest.mark.parametrize("seed", [-1, 1.5, None, True, "0"])
def test_a_seed_is_a_count(folder, seed):
    with pytest.raises(rm.InvalidInputError, match="seed must be"):
        rm.stream(folder).split(SHARES, seed=seed)


def test_shares_sum_to_one_but_for_rounding(folder):
    tenths = {str(part): 0.1 for part in range(10)}
    parts = rm.stream(folder).split(tenths, seed=2**80)
    assert sum(part.num_rows for part in parts.values()) == len(SMALL.lengths)
    thirds = {name: np.float32(1 / 3) for name in "abc"}
    assert sum(p.num_rows for p in rm.stream(folder).split(thirds, 0).values()) == 12
