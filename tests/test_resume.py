"""Streams that stop and go on: every row once, in the same order, whoever reads it."""

import json
import pickle
from collections import Counter
from copy import deepcopy
from itertools import islice
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.streaming.epoch import Epoch
from ragmask.streaming.state import sealed
from tests.streams import (
    DATA,
    Rows,
    Setup,
    as_json,
    contents,
    row_ids,
    setups,
    write,
    written,
)

WORLDS = st.integers(1, 5)
SMALL = Rows((("parquet", ((1, 2, None), (), (5, 0, 3, 1))), ("arrow", ((9, 1), (2, 2, 2)))))


# -- every row once, in an order that the settings decide ---------------------------------


@given(DATA, setups(), WORLDS)
def test_shards_together_read_every_row_once(data, setup, world_size):
    with written(data) as folder:
        batches = [list(setup.stream(folder, rank, world_size)) for rank in range(world_size)]
    delivered = row_ids(batch for own in batches for batch in own)
    expected = setup.row_ids(data)
    if not setup.drop_last:
        assert delivered == expected
        return
    assert delivered <= expected
    assert all(batch.num_rows == setup.rows for own in batches for batch in own)
    if not setup.pack:
        assert (expected - delivered).total() <= world_size * (setup.rows - 1)


@given(DATA, setups())
def test_rows_come_with_what_the_files_hold(data, setup):
    rows = setup.rows or min(2, setup.window_rows)
    setup = setup._replace(pack=None, rows=rows, tokens=None)
    with written(data) as folder:
        for batch in setup.stream(folder):
            numbers = batch.row_ids.tolist()
            assert batch["number"].tolist() == numbers
            assert batch["ids"].lengths.tolist() == [data.lengths[number] for number in numbers]
            assert batch["words"].to_pylist() == [
                [f"{number}-{step}" for step in range(data.lengths[number])] for number in numbers
            ]


@given(DATA, setups())
def test_files_in_order_give_rows_in_order(data, setup):
    setup = setup._replace(seed=None, pack=None, bucket=False)
    with written(data) as folder:
        rows = [number for batch in setup.stream(folder) for number in batch.row_ids.tolist()]
    assert rows == sorted(rows)


@given(DATA, setups(), st.integers(0, 3))
def test_the_order_depends_on_no_thread_and_no_prefetching(data, setup, epoch):
    before = rm.get_num_threads()
    with written(data) as folder:
        orders = []
        for prefetch, threads in [(0, 1), (1, 1), (2, 2), (3, 4)]:
            rm.set_num_threads(threads)
            stream = setup._replace(prefetch=prefetch).stream(folder)
            stream.set_epoch(epoch)
            orders.append([contents(batch) for batch in stream])
    rm.set_num_threads(before)
    assert orders[0] == orders[1] == orders[2] == orders[3]


@pytest.mark.parametrize("how", [{"rows": 4}, {"tokens": 20}, {"pack": 12, "rows": 2}])
def test_each_epoch_and_each_seed_has_its_own_order(tmp_path, how):
    write(tmp_path, Rows((("parquet", ((3, 1, 4, 1, 5),) * 8),)))
    orders = set()
    for seed in range(3):
        stream = Setup(seed=seed, window_rows=10, **how).stream(tmp_path)
        for epoch in range(4):
            assert stream.state_dict()["epoch"] == epoch
            orders.add(tuple(number for batch in stream for number in batch.row_ids.tolist()))
    assert len(orders) == 12


def test_shuffling_moves_row_groups_and_rows_inside_them(tmp_path):
    write(tmp_path, Rows((("parquet", ((1,) * 10,) * 10),)))
    (batch,) = rm.stream(tmp_path).shuffle(0).batch(1000)
    assert batch.row_ids.tolist() != sorted(batch.row_ids.tolist())
    groups = [
        (batch.row_ids // 10).tolist()
        for batch in rm.stream(tmp_path).shuffle(0, window_rows=10).batch(10)
    ]
    assert all(len(set(group)) == 1 for group in groups)
    assert [group[0] for group in groups] != list(range(10))


def test_packed_rows_have_other_neighbours_each_epoch(tmp_path):
    write(tmp_path, Rows((("parquet", ((4,) * 60,)),)))
    stream = rm.stream(tmp_path).shuffle(0).pack(8, "ids").batch(1)
    one, two = ({frozenset(batch.row_ids.tolist()) for batch in stream} for _ in range(2))
    assert len(one & two) < 10


# -- going on from a state ----------------------------------------------------------------


def resumed(setup, folder, state, rank=0, world_size=1, *, even=False):
    stream = setup.stream(folder, rank, world_size, even=even)
    stream.load_state_dict(as_json(state))
    return stream


@given(DATA, setups(), WORLDS, st.data())
def test_every_state_yields_what_was_left(data, setup, world_size, draw):
    rank = draw.draw(st.integers(0, world_size - 1))
    epoch = draw.draw(st.integers(0, 2))
    with written(data) as folder:
        stream = setup.stream(folder, rank, world_size)
        stream.set_epoch(epoch)
        states, batches = [as_json(stream.state_dict())], []
        for batch in stream:
            assert stream.state_dict() == batch.state
            batches.append(contents(batch))
            states.append(as_json(batch.state))
        after = as_json(stream.state_dict())
        assert after["epoch"] == epoch + 1
        for done, state in enumerate(states):
            other = resumed(setup, folder, state, rank, world_size)
            assert as_json(other.state_dict()) == state
            assert [contents(batch) for batch in other] == batches[done:]
            assert as_json(other.state_dict()) == after


@given(DATA, setups(), st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_stopping_again_and_again_loses_and_repeats_nothing(data, setup, stops):
    """Each stop takes so many batches and goes on in a new stream, across the epochs' ends."""
    with written(data) as folder:
        state = setup.stream(folder).state_dict()
        delivered = []
        for stop in stops:
            stream = resumed(setup, folder, state)
            batches = list(islice(stream, stop))
            delivered += map(contents, batches)
            if len(batches) < stop:
                delivered.append("end")  # exhausted: the next epoch's turn has come
            state = stream.state_dict()

        expected, stream = [], setup.stream(folder)
        while len(expected) < len(delivered):
            expected += [*map(contents, stream), "end"]
        assert delivered == expected[: len(delivered)]


@given(DATA, setups())
def test_the_next_epoch_follows_a_resumed_one(data, setup):
    with written(data) as folder:
        stream = setup.stream(folder)
        first = list(stream)
        second = [contents(batch) for batch in stream]
        for batch in first[-2:]:
            other = resumed(setup, folder, batch.state)
            list(other)
            assert [contents(batch) for batch in other] == second


def test_a_state_is_as_small_for_many_rows_as_for_few(tmp_path):
    sizes = []
    for rows in (100, 100_000):
        path = tmp_path / f"{rows}"
        pq.write_table(pa.table({"ids": [[1, 2]] * rows}), path, row_group_size=rows // 10)
        stream = rm.stream(path).shuffle(0, rows // 5).batch(rows // 50)
        sizes.append(max(len(json.dumps(batch.state)) for batch in stream))
    assert sizes[1] - sizes[0] < 20
    assert sizes[1] < 500


# -- another number of ranks --------------------------------------------------------------


@given(DATA, setups(), st.lists(WORLDS, min_size=2, max_size=4), st.booleans(), st.data())
def test_another_number_of_ranks_reads_what_is_left_once(data, setup, worlds, even, draw):
    states, delivered = [], Counter()
    with written(data) as folder:
        for position, world_size in enumerate(worlds):
            ranks = [
                setup.stream(folder, rank, world_size, even=even) for rank in range(world_size)
            ]
            if states:
                given_states = draw.draw(st.permutations(states))
                alone = len(states) == 1 and draw.draw(st.booleans())
                for stream in ranks:
                    stream.load_state_dict(states[0] if alone else given_states)
            for stream in ranks:
                if stream.state_dict()["epoch"] == 1:
                    continue  # it was done, and is the same rank of as many as before
                # one past the last batch is the next epoch's start
                last = position == len(worlds) - 1
                stop = None if last else draw.draw(st.integers(0, 6) | st.none())
                own = [batch for batch in islice(stream, stop) if not batch.repeated]
                delivered += row_ids(own)
            states = [as_json(stream.state_dict()) for stream in ranks]
            if all(state["epoch"] == 1 for state in states):
                break
    expected = setup.row_ids(data)
    assert delivered <= expected if setup.drop_last else delivered == expected


def test_when_all_ranks_are_done_another_number_begins_the_next_epoch(tmp_path):
    setup = Setup(rows=2, seed=0, window_rows=4)
    write(tmp_path, SMALL)
    old = [setup.stream(tmp_path, rank, 2) for rank in range(2)]
    for stream in old:
        list(stream)
    states = [stream.state_dict() for stream in old]
    new = [setup.stream(tmp_path, rank, 3) for rank in range(3)]
    for stream in new:
        stream.load_state_dict(states)
        assert stream.state_dict()["epoch"] == 1
    plain = setup.stream(tmp_path)
    plain.set_epoch(1)
    assert row_ids(batch for stream in new for batch in stream) == row_ids(plain)


def test_windows_left_are_shared_out_evenly(tmp_path):
    write(tmp_path, Rows((("parquet", ((1,) * 10,) * 60),)))
    old = [rm.stream(tmp_path).shard(rank, 2).batch(10) for rank in range(2)]
    for stream in old:
        list(islice(stream, 6))
    states = [stream.state_dict() for stream in old]
    rows = []
    for rank in range(4):
        stream = rm.stream(tmp_path).shard(rank, 4).batch(10)
        stream.load_state_dict(states)
        assert len(stream) == 12
        rows.append(row_ids(stream).total())
    assert rows == [120] * 4


# -- equally many batches on every rank ---------------------------------------------------


@given(DATA, setups(), WORLDS)
def test_even_ranks_deliver_equally_many_batches_and_resume_amid_repeats(data, setup, world_size):
    with written(data) as folder:
        plain = [list(setup.stream(folder, rank, world_size)) for rank in range(world_size)]
        most = max(map(len, plain))
        for rank in range(world_size):
            stream = setup.stream(folder, rank, world_size, even=True)
            start, batches = stream.state_dict(), list(stream)
            assert len(batches) == most
            own = len(plain[rank])
            assert [batch.repeated for batch in batches] == [False] * own + [True] * (most - own)
            for batch, alone in zip(batches, plain[rank], strict=False):
                assert contents(batch)[:2] == contents(alone)[:2]
            for batch in batches[own:]:
                again = batches[own - 1] if own else batches[0]
                assert contents(batch)[:2] == contents(again)[:2]
            expected = [contents(batch) for batch in batches]
            for done, state in enumerate([start, *(batch.state for batch in batches)]):
                other = resumed(setup, folder, state, rank, world_size, even=True)
                assert [contents(batch) for batch in other] == expected[done:]
                assert other.state_dict()["epoch"] == 1
            if setup.tokens is None and setup.pack is None and not setup.filtered:
                assert len(stream) == most


def test_ranks_without_a_row_repeat_anothers_batch(tmp_path):
    write(tmp_path, Rows((("parquet", ((2, 3),)),)))
    batches = {
        rank: list(rm.stream(tmp_path).shard(rank, 5, even=True).batch(4)) for rank in range(5)
    }
    assert [len(own) for own in batches.values()] == [1] * 5
    once = [batch for own in batches.values() for batch in own if not batch.repeated]
    assert row_ids(once) == {0: 1, 1: 1}
    assert sum(batch.repeated for own in batches.values() for batch in own) == 3


FILTERS = {
    "some": [("number", "in", [1, 5, 6, 11])],
    "half": [("keep", "==", True), ("number", "<", 9)],
    "none of the first ranks'": [("number", ">=", 10)],
    "none of the last ranks'": [("name", "in", ["row 1", "row 2", "row 3"])],
    "one": [("number", "==", 7)],
    "of scores, some null": [("score", ">", 1.0)],
    "none": [("number", "<", 0)],
    "none, though statistics allow it": [("number", "in", [0]), ("keep", "==", False)],
}
WAYS = {
    "rows": lambda stream: stream.batch(2),
    "whole": lambda stream: stream.batch(2, drop_last=True),
    "shuffled": lambda stream: stream.shuffle(5, 7).batch(3),
    "tokens": lambda stream: stream.batch(tokens=6, column="ids"),
    "shuffled tokens": lambda stream: stream.shuffle(5, 4).batch(tokens=6, column="ids"),
    "packed": lambda stream: stream.shuffle(2, 6).pack(5, "ids").batch(1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("columns", [None, ["ids"]])
def test_a_filter_leaves_ranks_even(folder, name, way, columns):
    def of(rank, world_size, filter_=FILTERS[name], even=True):
        stream = rm.stream(folder, columns, filter=filter_)
        return WAYS[way](stream.shard(rank, world_size, even=even))

    for world_size in (1, 2, 3, 5):
        batches = [list(of(rank, world_size)) for rank in range(world_size)]
        assert len({len(own) for own in batches}) == 1
        alone = [list(of(rank, world_size, even=False)) for rank in range(world_size)]
        assert len(batches[0]) == max(map(len, alone))
        for own, before in zip(batches, alone, strict=True):
            once = [batch.row_ids.tolist() for batch in own if not batch.repeated]
            assert once == [batch.row_ids.tolist() for batch in before]
            assert [batch.repeated for batch in own] == sorted(batch.repeated for batch in own)
    if name.startswith("none,") or name == "none":
        assert batches == [[]] * 5


def test_a_resumed_stream_does_not_count_again(folder, monkeypatch):
    stream = rm.stream(folder, filter=FILTERS["half"]).shard(0, 2, even=True).batch(1)
    batches = list(stream)
    assert len(batches) > 2
    monkeypatch.setattr(Epoch, "batches_of_ranks", None)
    for done, batch in enumerate(batches, 1):
        stream.load_state_dict(as_json(batch.state))
        assert [contents(one) for one in stream] == [contents(one) for one in batches[done:]]


def test_a_filter_on_folders_alone_is_counted(tmp_path):
    for year in (2023, 2024, 2025):
        (tmp_path / f"year={year}").mkdir()
        table = pa.table({"ids": [[year]] * (year - 2020)})
        pq.write_table(table, tmp_path / f"year={year}" / "part.parquet", row_group_size=2)
    for years, rows in [([2024], 4), ([2023, 2025], 8), ([1999], 0)]:
        stream = rm.stream(tmp_path, ["ids"], filter=[("year", "in", years)])
        ranks = [list(stream.shard(rank, 3, even=True).batch(1)) for rank in range(3)]
        assert {len(own) for own in ranks} == {-(-rows // 3)}
        once = [batch for own in ranks for batch in own if not batch.repeated]
        assert len(once) == rows


@pytest.mark.parametrize("even_before", [False, True])
def test_a_state_goes_on_whether_or_not_ranks_were_even_before(tmp_path, even_before):
    write(tmp_path, Rows((("parquet", ((1,) * 9,)),)))
    for rank in range(2):
        stream = rm.stream(tmp_path).shard(rank, 2, even=even_before).batch(2)
        for batch in stream:
            other = rm.stream(tmp_path).shard(rank, 2, even=not even_before).batch(2)
            other.load_state_dict(batch.state)
            left = [number for batch in other for number in batch.row_ids if not batch.repeated]
            assert not set(left) & set(batch.row_ids.tolist())


def test_even_refuses_a_map_that_changes_the_number_of_rows(tmp_path):
    write(tmp_path, SMALL)
    stream = rm.stream(tmp_path, columns=["ids"]).shard(0, 2, even=True).batch(3)
    with pytest.raises(rm.InvalidInputError, match="changes the number of rows: it made 2 of 3"):
        list(stream.map(lambda batch: {"ids": batch["ids"][:2]}))


# -- len ----------------------------------------------------------------------------------


@given(DATA, setups(), WORLDS, st.data())
def test_len_counts_the_batches_or_says_why_it_cannot(data, setup, world_size, draw):
    rank = draw.draw(st.integers(0, world_size - 1))
    with written(data) as folder:
        stream = setup.stream(folder, rank, world_size)
        if setup.filtered or setup.tokens or setup.pack:
            with pytest.raises(
                TypeError, match=r"len\(\) of this stream is unknown: .*(filter|lengths)"
            ):
                len(stream)
            list(stream)
        else:
            assert len(stream) == len(list(stream))
            assert (
                stream.num_rows
                == row_ids(setup._replace(drop_last=False).stream(folder, rank, world_size)).total()
            )


# -- epochs -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, SMALL)


def epochs(batches):
    return {batch.state["epoch"] for batch in batches}


def test_each_for_is_the_next_epoch(folder):
    stream = Setup(rows=2, seed=0).stream(folder)
    assert [epochs(stream) for _ in range(3)] == [{0}, {1}, {2}]


def test_breaking_off_begins_the_epoch_again(folder):
    stream = Setup(rows=2, seed=0).stream(folder)
    list(stream)
    first = [contents(batch) for batch in islice(stream, 3)]
    again = [contents(batch) for batch in stream]
    assert again[:3] == first
    assert again[0][3]["epoch"] == 1
    assert epochs(stream) == {2}


def test_a_loaded_state_is_used_once(folder):
    stream = Setup(rows=2).stream(folder)
    whole = [contents(batch) for batch in stream]
    stream.load_state_dict(whole[2][3])
    assert [contents(batch) for batch in islice(stream, 2)] == whole[3:5]
    assert [contents(batch) for batch in stream] == whole


def test_set_epoch_keeps_a_loaded_place_of_that_epoch_only(folder):
    setup = Setup(rows=2, seed=3)
    stream = setup.stream(folder)
    stream.set_epoch(4)
    whole = [contents(batch) for batch in stream]
    for epoch, done in [(4, 2), (5, 0)]:
        stream.load_state_dict(whole[1][3])
        stream.set_epoch(epoch)
        batches = list(stream)
        assert epochs(batches) == {epoch}
        assert len(batches) == len(whole) - done
    stream.load_state_dict(whole[1][3])
    stream.set_epoch(5)
    stream.set_epoch(4)
    assert [contents(batch) for batch in stream] == whole


def test_set_epoch_takes_numpys_integers_and_no_other_things(folder):
    stream = Setup(rows=2, seed=3).stream(folder)
    stream.set_epoch(np.int64(2))
    assert as_json(stream.state_dict())["epoch"] == 2
    for epoch in (-1, 1.5, "1", True):
        with pytest.raises(rm.InvalidInputError, match="epoch must be"):
            stream.set_epoch(epoch)


def test_state_dict_is_of_the_last_batch_delivered(folder):
    stream = Setup(rows=2, prefetch=3).stream(folder)
    start = stream.state_dict()
    batches = iter(stream)
    assert stream.state_dict() == start
    assert next(batches).state == stream.state_dict() != start
    batches.close()
    iter(stream)
    assert stream.state_dict() == start


def test_a_derived_stream_begins_at_its_start(folder):
    stream = Setup(rows=2).stream(folder)
    whole = [contents(batch)[:2] for batch in stream]
    stream.load_state_dict(stream.state_dict())
    next(iter(stream))
    for other in (stream.map(lambda batch: batch), stream.batch(2), stream.prefetch(0)):
        assert other.state_dict()["epoch"] == 0
        assert [contents(batch)[:2] for batch in other] == whole
    assert stream.state_dict()["place"] == [0, 2, 0]


# -- states that are refused --------------------------------------------------------------


def state_of(folder, batches=2, **how):
    setup = Setup(**{"rows": 2, "seed": 1, "window_rows": 6} | how)
    return setup, [batch.state for batch in islice(setup.stream(folder), batches)][-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 3}, "its rows is 2, and here it is 3"),
        ({"drop_last": True}, "its drop_last is False, and here it is True"),
        ({"seed": 2}, "its seed is 1, and here it is 2"),
        ({"seed": None}, "its seed is 1, and here it is None"),
        ({"window_rows": 7}, "its window_rows is 6, and here it is 7"),
        ({"tokens": 9}, "its rows is 2, and here it is 1"),
        ({"pack": 9}, "its pack is None, and here it is 9"),
        ({"filtered": True}, "its filter is None, and here it is .*number"),
    ],
)
def test_a_state_of_other_settings_is_refused_by_name(folder, change, message):
    setup, state = state_of(folder)
    with pytest.raises(rm.InvalidInputError, match=message):
        setup._replace(**change).stream(folder).load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 8}, "its tokens is 9, and here it is 8"),
        ({"bucket": False}, "its bucket is True, and here it is False"),
    ],
)
def test_a_state_of_another_budget_is_refused_by_name(folder, change, message):
    setup, state = state_of(folder, rows=None, tokens=9)
    with pytest.raises(rm.InvalidInputError, match=message):
        setup._replace(**change).stream(folder).load_state_dict(state)
    other = rm.stream(folder).shuffle(1, 6).batch(tokens=9, column="words")
    with pytest.raises(rm.InvalidInputError, match="its column is 'ids', and here it is 'words'"):
        other.load_state_dict(state)


def test_a_state_of_other_files_is_refused(folder):
    setup, state = state_of(folder)
    first, second = sorted(folder.iterdir())

    def refused(message):
        with pytest.raises(rm.InvalidInputError, match=f"of another data set: its {message}"):
            setup.stream(folder).load_state_dict(state)

    second.rename(folder / "2.arrow")
    refused("digest")
    (folder / "2.arrow").rename(second)
    setup.stream(folder).load_state_dict(state)
    whole = second.read_bytes()
    pq.write_table(pq.read_table(first), first, row_group_size=2)
    refused("digest")
    second.unlink()
    refused("files is 2, and here it is 1")
    second.write_bytes(whole)
    table = pq.read_table(first)
    pq.write_table(table.slice(1), first)
    refused("rows is 12, and here it is 11")


def test_a_data_set_that_moved_whole_is_the_same(folder, tmp_path):
    setup, state = state_of(folder)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in list(folder.iterdir()):
        if path.is_file():
            path.rename(moved / path.name)
    setup.stream(moved).load_state_dict(state)


@pytest.mark.parametrize("given", [None, 3, "state", b"state", [], {}, [{}], [1], [[]], iter([])])
def test_what_is_no_state_is_refused(folder, given):
    with pytest.raises(rm.InvalidInputError, match=r"takes a state|is not the state of a stream"):
        Setup(rows=2).stream(folder).load_state_dict(given)


def test_another_version_is_refused(folder):
    setup, state = state_of(folder)
    with pytest.raises(rm.InvalidInputError, match="of version 1, and this ragmask reads 2"):
        setup.stream(folder).load_state_dict(state | {"version": 1})


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 99) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
KEYS = ["data", "settings", "epoch", "rank", "world_size", "place", "deals", "even"]


@given(st.sampled_from(KEYS), JUNK, st.booleans(), setups(filters=[False]))
def test_a_damaged_state_is_refused_or_means_some_rows_once(key, junk, missing, setup):
    with written(SMALL) as folder:
        state = setup.stream(folder).state_dict()
        if missing:
            del state[key]
        else:
            state[key] = junk
        stream = setup.stream(folder)
        try:
            stream.load_state_dict(sealed(state))
            batches = list(stream)
        except rm.InvalidInputError:
            return
    assert not missing
    assert row_ids(batches) <= setup.row_ids(SMALL)


def others(value):
    """What may stand in a value's place: everything but it, and inside it one thing at a time."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {one: two for one, two in value.items() if one != key}
            yield {(f"{key} " if one == key else one): two for one, two in value.items()}
            for other in others(inner):
                yield value | {key: other}
        yield value | {"more": 1}
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield value[:place] + value[place + 1 :]
            for other in others(inner):
                yield [*value[:place], other, *value[place + 1 :]]
        yield [*value, 0]
        yield [[], *value]
    elif isinstance(value, bool):
        yield from [not value, int(value), str(value)]
    elif isinstance(value, int):
        yield from [value + 1, value - 1, value + 10**12, float(value), str(value), bool(value)]
    elif isinstance(value, str):
        yield from [f"{value} ", value[:-1], value.swapcase() + "x", value[::-1] + "x"]
    yield from [odd for odd in (None, {}, [], "", 0.5, b"0", {1}) if odd != value]


STATES = {
    "in order": ({"rows": 2}, 1),
    "shuffled": ({"rows": 2, "seed": 1, "window_rows": 6}, 2),
    "filtered": ({"rows": 2, "filtered": True}, 1),
    "by tokens": ({"tokens": 9, "seed": 3}, 1),
    "packed": ({"pack": 8, "rows": 1}, 2),
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("kind", ["plain", "even", "dealt anew"])
def test_an_altered_state_is_refused(folder, name, kind):
    how, batches = STATES[name]
    setup = Setup(**how)
    even = kind == "even"
    stream = setup.stream(folder, even=even)
    if kind == "dealt anew":
        ranks = [setup.stream(folder, rank, 3) for rank in range(3)]
        states = [next(iter(rank)).state for rank in ranks]
        stream.load_state_dict(states)
        batches = 0
    list(islice(stream, batches))
    state = as_json(stream.state_dict())
    assert bool(state["even"]) == even
    assert bool(state["deals"]) == (kind == "dealt anew")
    altered = list(others(state))
    assert len(altered) > 200
    for one in altered:
        with pytest.raises(rm.InvalidInputError):
            stream.load_state_dict(one)
    assert as_json(stream.state_dict()) == state


@pytest.mark.parametrize("name", STATES)
def test_a_state_survives_json_pickle_and_another_order_of_keys(folder, name):
    how, batches = STATES[name]
    stream = Setup(**how).stream(folder)
    list(islice(stream, batches))
    state = stream.state_dict()
    left = [contents(batch) for batch in resumed(Setup(**how), folder, state)]

    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return value

    ways = [
        json.loads(json.dumps(state, sort_keys=True, indent=2)),
        pickle.loads(pickle.dumps(state)),
        turned(state),
        MappingProxyType(turned(as_json(state))),
        deepcopy(state) | {"place": tuple(state["place"])},
    ]
    for given_state in ways:
        other = Setup(**how).stream(folder)
        other.load_state_dict(given_state)
        assert [contents(batch) for batch in other] == left


def test_an_altered_state_is_told_from_one_of_another_stream(folder):
    setup, state = state_of(folder)
    stream = setup.stream(folder)
    for change in ({"place": [0, 1, 0]}, {"epoch": 7}, {"checksum": "0" * 16}, {"epoch": 0.0}):
        with pytest.raises(rm.InvalidInputError, match="the state is damaged or was altered"):
            stream.load_state_dict(state | change)
    with pytest.raises(rm.InvalidInputError, match="of another data set: its rows is 99"):
        stream.load_state_dict(state | {"data": state["data"] | {"rows": 99}})
    with pytest.raises(rm.InvalidInputError, match="of another stream: its rows is 99"):
        stream.load_state_dict(state | {"settings": state["settings"] | {"rows": 99}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": [9, 0, 0]}, "stands at item 0 of window 9, and its rank has 3 windows"),
        ({"place": [3, 1, 0]}, "stands at item 1 of window 3"),
        ({"place": [0, 6, 0]}, "6 items of a window are done, which has"),
        ({"place": [0, -1, 0]}, "-1 is not a count"),
        ({"place": [0, 0]}, "damaged"),
        ({"place": [0, 0, 1]}, "damaged"),
        ({"place": None}, "damaged"),
        ({"epoch": -1}, "-1 is not a count"),
        ({"epoch": 1.5}, "1.5 is not a count"),
        ({"epoch": True}, "True is not a count"),
        ({"rank": 1}, "damaged"),
        ({"world_size": 0}, "damaged"),
        ({"world_size": 10**15}, "without rank 1: pass the states of all"),
        ({"even": [1, 1, 0, 0]}, "damaged"),
        ({"even": [1]}, "damaged"),
        ({"deals": [[]]}, "damaged"),
        ({"deals": [[[9, 0, 0]]]}, "item 0 of window 9"),
        ({"deals": [[[0, 77, 0]]]}, "77 items of a window are done"),
        ({"deals": [[3]]}, "damaged"),
        ({"data": 5}, "5 does not name its data set"),
        ({"data": {}}, "its files is None, and here it is 2"),
        ({"settings": [1]}, "does not name its stream"),
    ],
)
def test_damage_is_named(folder, change, message):
    setup, state = state_of(folder)
    assert setup.stream(folder).state_dict().keys() == state.keys()
    with pytest.raises(rm.InvalidInputError, match=message):
        setup.stream(folder).load_state_dict(sealed(state | change))


def test_an_item_that_packing_does_not_reach_is_found_on_the_way(folder):
    setup, state = state_of(folder, pack=8)
    stream = setup.stream(folder)
    stream.load_state_dict(sealed(state | {"place": [0, 77, 0]}))
    with pytest.raises(rm.InvalidInputError, match="77 items of a window are done, which has"):
        list(stream)


def test_a_repeated_batch_that_is_not_there_is_refused(folder):
    setup = Setup(rows=5)
    *_, last = setup.stream(folder, 0, 2, even=True)
    stream = setup.stream(folder, 0, 2, even=True)
    stream.load_state_dict(sealed(last.state | {"even": [2, 0, 9, 0]}))
    with pytest.raises(rm.InvalidInputError, match="repeats a batch that is not there"):
        list(stream)


def test_a_refused_state_changes_nothing(folder):
    setup, state = state_of(folder)
    stream = setup.stream(folder)
    stream.load_state_dict(state)
    with pytest.raises(rm.InvalidInputError):
        stream.load_state_dict(state | {"place": [9, 9, 9]})
    assert stream.state_dict() == state


def test_lists_of_states_must_be_whole_and_of_one_moment(folder):
    setup = Setup(rows=1)
    streams = [setup.stream(folder, rank, 3) for rank in range(3)]
    for stream in streams:
        next(iter(stream))
    states = [stream.state_dict() for stream in streams]
    new = setup.stream(folder, 1, 2)

    def refused(given, message):
        with pytest.raises(rm.InvalidInputError, match=message):
            new.load_state_dict(given)

    refused(states[:2], "this is rank 1 of 2, and the states are of world_size 3 without rank 2")
    refused(states[1], "without rank 0: pass the states of all 3 ranks")
    refused([states[0], states[1], states[1]], "two of the states belong to rank 1")
    refused([*states, setup.stream(folder).state_dict()], "different world sizes: 3 and 1")
    refused([*states[:2], sealed(states[2] | {"epoch": 2})], "pass states of the same moment")
    refused([*states[:2], sealed(states[2] | {"epoch": 1})], "pass states of the same moment")
    refused(
        [*states[:2], sealed(states[2] | {"deals": [[[0, 0, 0]]]})],
        "pass states of the same moment",
    )
    with pytest.raises(rm.InvalidInputError, match=r"this is rank 0 of 3, .* without rank 0"):
        setup.stream(folder, 0, 3).load_state_dict(states[1:])
    new.load_state_dict(tuple(states))
    setup.stream(folder, 2, 3).load_state_dict(states[2:])


# -- settings that are refused ------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: s.shuffle(0, 4).batch(5), "window of 4 rows is smaller than a batch of 5"),
        (lambda s: s.batch(5).shuffle(0, 4), "window of 4 rows is smaller than a batch of 5"),
        (lambda s: s.batch(tokens=0, column="ids"), "tokens must be at least 1"),
        (lambda s: s.batch(tokens=2.5, column="ids"), "tokens must be an integer"),
        (lambda s: s.batch(2, tokens=9, column="ids"), r"rows= or tokens=, not both"),
        (lambda s: s.batch(tokens=9, column="ids", drop_last=True), "drop_last needs rows="),
        (lambda s: s.batch(2, column="ids"), "column= needs tokens="),
        (lambda s: s.batch(tokens=9), r"one of ids, words: column="),
        (lambda s: s.batch(tokens=9, column="name"), "'name' has no lengths to count; ragged are"),
        (lambda s: s.batch(tokens=9, column="no"), "'no' has no lengths to count"),
        (lambda s: s.batch(tokens=9, column="ids").pack(8, "ids"), "batch them with rows="),
        (lambda s: s.pack(8, "ids").batch(tokens=9, column="ids"), "batch them with rows="),
        (lambda s: s.pack(8), r"one of ids, words: column="),
        (lambda s: s.pack(0, "ids"), "length must be at least 1"),
        (lambda s: s.pack(8, "score"), "'score' has no lengths to count"),
        (lambda s: s.shuffle(-1), "seed must be at least 0"),
        (lambda s: s.shuffle(0, 0), "window_rows must be at least 1"),
        (lambda s: s.shard(2, 2), "rank must be less than world_size, 2; got 2"),
        (lambda s: s.shard(0, 0), "world_size must be at least 1"),
        (lambda s: s.prefetch(-1), "n must be at least 0"),
        (lambda s: s.batch(2).measure_padding(), "for batches by tokens="),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder, make, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        make(rm.stream(folder))


def test_packing_needs_names_of_its_own_and_lengths_alike(tmp_path):
    pq.write_table(pa.table({"ids": [[1, 2], [3]], "row_ids": [[1], [2]]}), tmp_path / "f")
    with pytest.raises(rm.InvalidInputError, match="adds a column 'row_ids', and the files have"):
        rm.stream(tmp_path / "f").pack(8, "ids")
    rm.stream(tmp_path / "f", columns=["ids"]).pack(8)
    pq.write_table(pa.table({"ids": [[1, 2], [3]], "tags": [[1, 2], [2, 3]]}), tmp_path / "f")
    with pytest.raises(rm.InvalidInputError, match=r"'ids' and 'tags'.*row 1 has 1 and 2 steps"):
        list(rm.stream(tmp_path / "f").pack(8, "ids").batch(2))


def test_without_a_ragged_column_there_is_nothing_to_count(tmp_path):
    pq.write_table(pa.table({"label": [1, 2]}), tmp_path / "f")
    with pytest.raises(rm.InvalidInputError, match="but none is ragged"):
        rm.stream(tmp_path / "f").pack(8)
