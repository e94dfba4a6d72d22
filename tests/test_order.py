"""Every row once, in an order that the settings decide, epoch after epoch."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests.streams import (
    DATA,
    SMALL,
    WORLDS,
    Rows,
    Setup,
    as_json,
    contents,
    row_ids,
    setups,
    write,
    written,
)

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
    if not setup.pack and not setup.bucketed:  # buckets leave out the rest of each window
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
    setup = setup._replace(seed=None, pack=None, bucket=False, bucketed=False)
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
