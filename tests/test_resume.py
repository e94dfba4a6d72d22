"""Streams that stop and go on, on as many ranks or others."""

import copy
import json
import pickle
from collections import Counter
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.streaming.epoch import Epoch
from tests.streams import (
    DATA,
    SMALL,
    WORLDS,
    Rows,
    Setup,
    as_json,
    contents,
    resumed,
    row_ids,
    setups,
    write,
    written,
)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, SMALL)


# -- going on from a state ----------------------------------------------------------------


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_copies_amid_an_epoch_go_on_by_themselves(folder, prefetch, taken):
    setup = Setup(rows=2, seed=0, window_rows=4, prefetch=prefetch)
    stream = setup.stream(folder)
    epochs = [[contents(batch) for batch in stream] for _ in range(3)]
    ways = [copy.copy, copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))]
    for way in ways:
        stream.load_state_dict(epochs[0][0][-1])
        batches = iter(stream)
        assert [contents(batch) for batch in islice(batches, taken)] == epochs[0][1 : 1 + taken]
        copied, state = way(stream), stream.state_dict()
        assert copied.state_dict() == state
        # the loop that is open moves its own stream alone, and the copy's loops theirs
        assert [contents(batch) for batch in batches] == epochs[0][1 + taken :]
        assert copied.state_dict() == state
        copied.load_state_dict(state)
        assert [contents(batch) for batch in copied] == epochs[0][1 + taken :]
        assert [contents(batch) for batch in copied] == epochs[1]
        copied.set_epoch(7)
        assert stream.state_dict()["epoch"] == 1
        assert [contents(batch) for batch in stream] == epochs[1]


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


def with_rows(setup):
    """Batches of as many rows, or of others where a stream may be resumed with them."""
    if setup.tokens or setup.bucketed:
        return st.just(setup)
    most = 9 if setup.seed is None else min(9, setup.window_rows)
    return st.just(setup) | st.integers(1, most).map(lambda rows: setup._replace(rows=rows))


@given(DATA, setups(), st.lists(WORLDS, min_size=2, max_size=4), st.booleans(), st.data())
def test_another_number_of_ranks_reads_what_is_left_once(data, setup, worlds, even, draw):
    states, delivered = [], Counter()
    with written(data) as folder:
        for position, world_size in enumerate(worlds):
            setup = draw.draw(with_rows(setup))
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


@pytest.mark.slow
@given(DATA, setups(), st.lists(WORLDS, min_size=2, max_size=3), st.booleans(), st.data())
def test_one_state_is_enough_where_ranks_are_in_lockstep(data, setup, worlds, even, draw):
    state, before, delivered = None, None, Counter()
    with written(data) as folder:
        for world_size in worlds:
            setup = draw.draw(with_rows(setup))
            ranks = [
                setup.stream(folder, rank, world_size, even=even) for rank in range(world_size)
            ]
            for stream in ranks:
                if state:
                    stream.load_state_dict(as_json(state), lockstep=True)
            batches = [list(stream) for stream in ranks]
            if before and before[:2] == (world_size, setup):  # nothing was dealt anew
                assert [[*map(contents, own)] for own in batches] == before[2]
            most = max(map(len, batches))
            steps = draw.draw(st.integers(1, max(1, most - (not even))))
            if steps > most:
                break
            leading = [rank for rank, own in enumerate(batches) if len(own) >= steps]
            state = batches[draw.draw(st.sampled_from(leading))][steps - 1].state
            before = world_size, setup, [[*map(contents, own[steps:])] for own in batches]
            rest = row_ids(one for own in batches for one in own[steps:] if not one.repeated)
            delivered += row_ids(one for own in batches for one in own[:steps] if not one.repeated)
        else:
            delivered += rest
    expected = setup.row_ids(data)
    assert delivered <= expected if setup.drop_last else delivered == expected


def test_a_constant_global_batch_goes_on_with_the_rows_that_are_left(tmp_path):
    write(tmp_path, Rows((("parquet", ((1,) * 16,) * 30),)))
    old = [rm.stream(tmp_path).shuffle(0, 64).shard(rank, 4).batch(8) for rank in range(4)]
    done = [list(islice(stream, 5)) for stream in old]
    new = [rm.stream(tmp_path).shuffle(0, 64).shard(rank, 2).batch(16) for rank in range(2)]
    for stream in new:
        stream.load_state_dict(done[3][-1].state, lockstep=True)
    rest = [list(stream) for stream in new]
    assert [sum(batch.num_rows for batch in own) for own in rest] == [160, 160]
    assert row_ids(batch for own in (*done, *rest) for batch in own) == dict.fromkeys(range(480), 1)


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


@pytest.mark.slow
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


@pytest.mark.slow
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
