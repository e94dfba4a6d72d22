"""Streams that mix others: which row comes from where, on any number of ranks, resumed anywhere."""

import gc
from collections import Counter
from copy import copy
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.streaming.reader import Reader
from ragmask.streaming.state import sealed
from tests.reference import mixed
from tests.streams import as_json, plain

SCHEMA = pa.schema({"number": pa.int64(), "ids": pa.list_(pa.int32()), "name": pa.string()})


def table(first, groups):
    """Rows in record batches of these sizes, numbered from `first`."""
    batches = []
    for size in groups:
        numbers = range(first, first + size)
        rows = [
            {"number": n, "ids": list(range(n % 6)) if n % 7 else None, "name": f"row {n}"}
            for n in numbers
        ]
        batches.append(pa.RecordBatch.from_pylist(rows, SCHEMA))
        first += size
    return pa.Table.from_batches(batches, SCHEMA)


def rows_of(batches):
    """(source, number in it) of each row, in order."""
    return [
        pair
        for batch in batches
        for pair in zip(batch.sources.tolist(), batch.row_ids.tolist(), strict=True)
    ]


def contents(batch):
    columns = {name: plain(column) for name, column in batch.items()}
    return columns, batch.sources.tolist(), batch.row_ids.tolist(), batch.state


def in_batches(stream, kind):
    return {
        "rows": lambda: stream.batch(rows=3),
        "shuffled": lambda: stream.shuffle(5, window_rows=7).batch(rows=3),
        "tokens": lambda: stream.batch(tokens=12, column="ids"),
        "buckets": lambda: stream.shuffle(5, window_rows=9).batch(rows=4, bucket=True),
        "packed": lambda: stream.pack(8, "ids").batch(rows=2),
    }[kind]()


class Setup(NamedTuple):
    groups: dict[str, list[int]]
    weights: dict[str, float]
    until: str
    seed: int
    kind: str
    shuffled: tuple[str, ...] = ()
    prefetch: int = 0

    def sources(self):
        streams = {}
        for position, (name, groups) in enumerate(self.groups.items()):
            stream = rm.stream(table(1000 * position, groups))
            streams[name] = stream.shuffle(position, 10) if name in self.shuffled else stream
        return streams

    def rows(self):
        """The mixture before it is cut into batches."""
        made = rm.mix(self.sources(), self.weights, self.seed, self.until)
        return made.prefetch(self.prefetch)

    def stream(self, rank=0, world_size=1):
        if self.kind == "batches":
            batched = {
                name: stream.batch(rows=2) if position % 2 else stream.batch(tokens=7, column="ids")
                for position, (name, stream) in enumerate(self.sources().items())
            }
            made = rm.mix(batched, self.weights, self.seed, self.until).prefetch(self.prefetch)
            return made.shard(rank, world_size)
        return in_batches(self.rows().shard(rank, world_size), self.kind)


KINDS = ["rows", "shuffled", "tokens", "buckets", "packed", "batches"]


@st.composite
def setups(draw, kinds=tuple(KINDS), untils=("first", "all")):
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    groups = {name: draw(st.lists(st.integers(0, 9), max_size=4)) for name in names}
    weights = {name: draw(st.sampled_from([0, 0.5, 1, 3])) for name in names}
    if not any(weights.values()):
        weights["a"] = 1
    return Setup(
        groups,
        weights,
        draw(st.sampled_from(untils)),
        draw(st.integers(0, 3)),
        draw(st.sampled_from(kinds)),
        tuple(name for name in names if draw(st.booleans())),
        draw(st.integers(0, 3)),
    )


def own_order(stream, epoch):
    """The rows of an un-batched stream, in its own order."""
    batches = stream.batch(rows=4)
    batches.set_epoch(epoch)
    return [number for batch in batches for number in batch.row_ids.tolist()]


# -- which rows ---------------------------------------------------------------------------


@given(setups(kinds=("rows",)), st.integers(1, 3), st.integers(0, 2))
def test_a_draw_decides_each_rows_source_and_the_sources_keep_their_order(setup, size, epoch):
    for rank in range(size):
        orders = {}
        for name, stream in setup.sources().items():
            orders[name] = own_order(stream.shard(rank, size), epoch)
        stream = setup.stream(rank, size)
        stream.set_epoch(epoch)
        numbers = count(rank, size)
        expected = list(mixed(orders, setup.weights, setup.seed, epoch, setup.until, numbers))
        assert rows_of(stream) == expected


@given(setups(untils=("all",)), st.integers(1, 4))
def test_ranks_together_read_every_row_that_has_weight(setup, size):
    found = Counter()
    for rank in range(size):
        found.update(rows_of(setup.stream(rank, size)))
    pieces = found if setup.kind == "packed" else found.values()
    rows = {
        (name, number)
        for name, groups in setup.groups.items()
        if setup.weights[name]
        for number in range(sum(groups))
    }
    assert set(found) == rows
    assert setup.kind == "packed" or all(times == 1 for times in pieces)


@given(setups())
def test_rows_hold_what_their_sources_hold(setup):
    if setup.kind == "packed":
        return
    tables = {
        name: table(1000 * position, groups).to_pylist()
        for position, (name, groups) in enumerate(setup.groups.items())
    }
    for batch in setup.stream():
        expected = [
            tables[name][number]
            for name, number in zip(batch.sources, batch.row_ids.tolist(), strict=True)
        ]
        assert batch.to_arrow().to_pylist() == expected


@given(setups(), st.integers(1, 3))
def test_a_mixture_knows_how_many_batches_it_has(setup, size):
    for rank in range(size):
        stream = setup.stream(rank, size)
        batches = sum(1 for _ in stream)
        assert stream.count_batches(0) == batches
        stream.set_epoch(0)
        if setup.kind in ("rows", "shuffled"):
            assert len(stream) == batches
            assert stream.num_rows == sum(batch.num_rows for batch in stream)


@pytest.mark.slow
@given(setups(kinds=("rows", "tokens", "packed", "batches")), st.integers(2, 4))
def test_even_ranks_deliver_equally_many_batches(setup, size):
    streams = [setup.stream(rank, size).shard(rank, size, even=True) for rank in range(size)]
    found = [list(stream) for stream in streams]
    assert len({len(batches) for batches in found}) == 1
    for rank, batches in enumerate(found):
        own = [contents(batch)[1:3] for batch in setup.stream(rank, size)]
        given = [contents(batch)[1:3] for batch in batches if not batch.repeated]
        assert given == own


def test_shares_of_rows_follow_the_weights():
    sources = {name: rm.stream(table(0, [20_000])) for name in "abc"}
    stream = rm.mix(sources, {"a": 5, "b": 3, "c": 2}, seed=1).batch(rows=1000)
    found = Counter(name for batch in islice(stream, 20) for name in batch.sources.tolist())
    for name, share in {"a": 0.5, "b": 0.3, "c": 0.2}.items():
        assert abs(found[name] / 20_000 - share) < 4 * (share / 20_000) ** 0.5


def test_without_weights_sources_last_about_equally_long():
    sources = {"a": rm.stream(table(0, [900])), "b": rm.stream(table(0, [100]))}
    rows = rows_of(rm.mix(sources, seed=2).batch(rows=64))
    assert len(rows) > 800


# -- resuming -----------------------------------------------------------------------------


@given(setups(), st.data())
def test_a_mixture_goes_on_after_any_batch(setup, data):
    whole = [contents(batch) for batch in setup.stream()]
    if not whole:
        return
    at = data.draw(st.integers(0, len(whole) - 1))
    stream = setup.stream()
    stream.load_state_dict(as_json(whole[at][-1]))
    assert stream.count_batches() == len(whole) - at - 1
    assert [contents(batch) for batch in stream] == whole[at + 1 :]


@given(setups(untils=("all",)), st.integers(1, 3), st.integers(1, 3), st.data())
def test_other_ranks_go_on_with_what_is_left(setup, size, other, data):
    found, states = [], []
    for rank in range(size):
        stream = setup.stream(rank, size)
        batches = list(islice(stream, data.draw(st.integers(0, 3))))
        found += rows_of(batches)
        last = batches[-1].state if batches else setup.stream(rank, size).state_dict()
        states.append(as_json(last))
    for rank in range(other):
        stream = setup.stream(rank, other)
        stream.load_state_dict(states)
        rest = list(stream)
        found += rows_of(rest)
        if rest:  # and so does one that goes on from there
            stream.load_state_dict(as_json(rest[0].state))
            assert [contents(batch) for batch in stream] == [contents(b) for b in rest[1:]]
    once = [row for rank in range(size) for row in rows_of(setup.stream(rank, size))]
    if setup.kind == "packed":
        assert set(found) == set(once)
    else:
        assert Counter(found) == Counter(once)


@pytest.mark.slow
@given(setups(untils=("all",)), st.integers(1, 3), st.integers(0, 3))
def test_one_state_is_enough_in_lockstep(setup, size, delivered):
    found = []
    state = None
    for rank in range(size):
        batches = list(islice(setup.stream(rank, size), delivered))
        found += rows_of(batches)
        if len(batches) == delivered and batches:
            state = batches[-1].state
    if state is None:
        return
    stream = setup.stream()
    stream.load_state_dict(as_json(state), lockstep=True)
    found += rows_of(stream)
    once = [row for rank in range(size) for row in rows_of(setup.stream(rank, size))]
    assert set(found) == set(once)
    assert setup.kind == "packed" or Counter(found) == Counter(once)


def big(weights, until="first"):
    sources = {"a": rm.stream(table(0, [300] * 3)), "b": rm.stream(table(0, [200] * 2))}
    return rm.mix(sources, weights, seed=1, until=until)


def test_weights_may_change_where_a_mixture_goes_on():
    state = next(iter(big({"a": 1, "b": 1}).batch(rows=10))).state
    stream = big({"a": 0, "b": 1}).batch(rows=10)
    stream.load_state_dict(as_json(state))
    rows = rows_of(stream)
    assert {name for name, _ in rows} == {"b"}
    done = sum(name == "b" for name, _ in rows_of(islice(big({"a": 1, "b": 1}).batch(rows=10), 1)))
    assert [number for _, number in rows] == list(range(done, 400))


def test_a_curriculum_follows_the_share_that_is_done():
    shares = []

    def weights(share):
        shares.append(share)
        return {"a": 1 - share, "b": share}

    rows = rows_of(big(weights, until="all").batch(rows=10))
    assert len(rows) == 1300
    assert shares == sorted(shares)
    assert 0.7 < shares[-1] <= 1
    assert all(name == "a" for name, _ in rows[:200])
    early, late = (sum(name == "b" for name, _ in part) for part in (rows[:500], rows[500:]))
    assert early < late / 2


@pytest.mark.parametrize("until", ["first", "all"])
@pytest.mark.parametrize("kind", ["rows", "shuffled", "batches"])
def test_a_curriculum_goes_on_after_any_batch(until, kind):
    def weights(share):
        return {"a": 1 - share / 2, "b": 0.1 + share}

    def make():
        if kind == "batches":
            sources = {
                "a": rm.stream(table(0, [300] * 3)).batch(rows=16),
                "b": rm.stream(table(0, [200] * 2)).batch(rows=8),
            }
            return rm.mix(sources, weights, 1, until)
        made = big(weights, until)
        made = made.shuffle(3, window_rows=100) if kind == "shuffled" else made
        return made.batch(rows=16)

    whole = [contents(batch) for batch in make()]
    for at in range(0, len(whole), 7):
        stream = make()
        stream.load_state_dict(as_json(whole[at][-1]))
        assert [contents(batch) for batch in stream] == whole[at + 1 :]


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=3),
    st.sampled_from(["first", "all"]),
    st.sampled_from(["rows", "shuffled", "tokens", "buckets", "packed"]),
    st.integers(1, 2),
)
def test_a_curriculum_goes_on_where_sources_end_inside_a_window(sizes, until, kind, epochs):
    names = "abc"[: len(sizes)]

    def weights(share):
        return {name: abs(at % 2 - share) for at, name in enumerate(names)}

    def make():
        sources = {
            name: rm.stream(table(1000 * at, [size])).repeat(epochs if at else 1)
            for at, (name, size) in enumerate(zip(names, sizes, strict=True))
        }
        return in_batches(rm.mix(sources, weights, 1, until), kind)

    whole = [contents(batch) for batch in make()]
    if until == "all" and kind != "packed":
        rows = [pair for batch in whole for pair in zip(*batch[1:3], strict=True)]
        assert len(rows) == sizes[0] + epochs * sum(sizes[1:])
    for at in range(0, len(whole), 3):
        stream = make()
        stream.load_state_dict(as_json(whole[at][-1]))
        assert stream.count_batches() == len(whole) - at - 1
        assert [contents(batch) for batch in stream] == whole[at + 1 :]


def test_a_window_ends_where_its_weights_draw_from_a_source_that_has_ended():
    def weights(share):
        return {"a": 1, "b": 0} if share < 1 else {"a": 0, "b": 1}

    sources = {"a": rm.stream(table(0, [20])), "b": rm.stream(table(0, [500]))}
    for stream in (rm.mix(sources, weights), rm.mix(sources, weights).shuffle(1, 50)):
        assert Counter(name for name, _ in rows_of(stream.batch(rows=5))) == {"a": 20}


# -- sources of all kinds -----------------------------------------------------------------


def test_a_source_that_is_repeated_lasts_as_long_as_the_others():
    sources = {
        "long": rm.stream(table(0, [50] * 4)),
        "short": rm.stream(table(0, [4, 3])).shuffle(1).repeat(),
    }
    stream = rm.mix(sources, {"long": 1, "short": 1}, seed=0).batch(rows=8)
    whole = [contents(batch) for batch in stream]
    rows = [pair for batch in whole for pair in zip(*batch[1:3], strict=True)]
    assert [number for name, number in rows if name == "long"] == list(range(200))
    short = [number for name, number in rows if name == "short"]
    for first in range(0, len(short) - 6, 7):
        assert sorted(short[first : first + 7]) == list(range(7))
    assert short[:7] != short[7:14]
    stream = rm.mix(sources, {"long": 1, "short": 1}, seed=0).batch(rows=8)
    stream.load_state_dict(as_json(whole[20][-1]))
    assert [contents(batch) for batch in stream] == whole[21:]


@pytest.mark.parametrize("kind", ["rows", "batches"])
def test_a_source_that_is_repeated_lets_go_of_what_read_its_last_epochs(kind):
    short = rm.stream(table(0, [2, 1]))
    if kind == "rows":
        stream = rm.mix({"a": short.repeat()}).batch(rows=3)
    else:
        stream = rm.mix({"a": short.batch(rows=3).repeat()})

    def readers():
        gc.collect()
        return sum(type(one) is Reader for one in gc.get_objects())

    before, batches = readers(), iter(stream)
    for _ in islice(batches, 100):
        pass
    assert readers() - before < 20
    batches.close()


def test_ranks_of_a_repeated_source_share_each_of_its_epochs_again():
    def make(rank, size):
        sources = {
            "long": rm.stream(table(0, [50] * 4)),
            "short": rm.stream(table(0, [4, 3])).repeat(9),
        }
        return (
            rm.mix(sources, {"long": 1, "short": 1}, seed=0, until="all")
            .shard(rank, size)
            .batch(rows=8)
        )

    found, states = Counter(), []
    for rank in range(3):
        batches = list(islice(make(rank, 3), 2 + rank))
        found.update(rows_of(batches))
        states.append(as_json(batches[-1].state))
    for rank in range(2):
        stream = make(rank, 2)
        stream.load_state_dict(states)
        found.update(rows_of(stream))
    assert all(found["long", number] == 1 for number in range(200))
    assert all(found["short", number] == 9 for number in range(7))


def test_an_empty_source_ends_the_first_and_is_passed_over_by_all():
    sources = {"a": rm.stream(table(0, [5])), "none": rm.stream(table(0, []))}
    weights = {"a": 1, "none": 1}
    assert list(rm.mix(sources, weights).batch(rows=2)) == []
    assert len(rows_of(rm.mix(sources, weights, until="all").batch(rows=2))) == 5
    assert len(rows_of(rm.mix(sources, weights | {"none": 0}).batch(rows=2))) == 5
    for_ever = {name: stream.repeat() for name, stream in sources.items()}
    assert list(rm.mix({"none": for_ever["none"]}, until="all").batch(rows=2)) == []


def test_filtered_sources_are_mixed_by_the_rows_that_they_keep():
    few = rm.stream(table(0, [50] * 2), filter=[("number", "<", 10)])
    stream = rm.mix({"few": few, "all": rm.stream(table(0, [60]))}, until="all").batch(rows=7)
    rows = Counter(rows_of(stream))
    assert rows == Counter([*(("few", n) for n in range(10)), *(("all", n) for n in range(60))])
    with pytest.raises(rm.UnsupportedTypeError, match="filter"):
        len(stream)
    assert stream.count_batches(0) == 10


def test_columns_come_in_the_type_that_holds_those_of_all_sources():
    small = pa.table({"ids": pa.array([[1], [2, 3]], pa.list_(pa.int16())), "x": [1, 2]})
    large = pa.table(
        {"x": pa.array([2**40], pa.int64()), "ids": pa.array([[2**40]], pa.large_list(pa.int64()))}
    )
    sources = {"small": rm.stream(small), "large": rm.stream(large)}
    stream = rm.mix(sources, until="all").batch(rows=3)
    (batch,) = stream
    assert sorted(batch.to_arrow()["ids"].to_pylist()) == [[1], [2, 3], [2**40]]
    assert batch["ids"].dtype == np.int64
    assert stream.schema.field("ids").type == pa.large_list(pa.int64())


def test_mixtures_are_mixed_again():
    inner = rm.mix({"a": rm.stream(table(0, [9])), "b": rm.stream(table(0, [9]))}, until="all")
    outer = rm.mix({"ab": inner, "c": rm.stream(table(0, [9] * 2))}, until="all").batch(rows=5)
    whole = [contents(batch) for batch in outer]
    found = Counter(name for batch in whole for name in batch[1])
    assert found == {"ab": 18, "c": 18}
    outer.load_state_dict(as_json(whole[3][-1]))
    assert [contents(batch) for batch in outer] == whole[4:]


@pytest.mark.parametrize("cut", [lambda s: s, lambda s: s.skip(1), lambda s: s.take(30)])
def test_a_mixture_counts_what_is_left_of_windows_that_its_sources_have_open(cut):
    def make():
        inner = rm.mix({"a": A, "b": rm.stream(table(0, [9] * 3))}, until="all")
        sources = {"ab": cut(inner.shuffle(0, 100)), "c": rm.stream(table(0, [9]))}
        return rm.mix(sources, until="all").batch(rows=2)

    whole = list(make())
    for at, batch in enumerate(whole):
        stream = make()
        stream.load_state_dict(as_json(batch.state))
        assert stream.count_batches() == len(whole) - at - 1


def test_a_repeated_mixture_is_as_long_as_its_epochs_together():
    sources = {"a": rm.stream(table(0, [9])), "b": rm.stream(table(0, [9]))}
    stream = rm.mix(sources, {"a": 1, "b": 1}, until="first")
    rows = []
    for epoch in range(3):
        batches = stream.batch(rows=4)
        batches.set_epoch(epoch)
        rows.append(len(rows_of(batches)))
    assert len(set(rows)) > 1
    assert len(stream.repeat(3)) == sum(rows)


@given(setups(kinds=("rows", "shuffled")), st.integers(2, 5))
def test_even_ranks_without_a_whole_batch_go_on_from_their_repeats(setup, size):
    def make(rank):
        return setup.stream(rank, size).batch(rows=3, drop_last=True).shard(rank, size, even=True)

    for rank in range(size):
        whole = [contents(batch) for batch in make(rank)]
        for at, batch in enumerate(whole):
            stream = make(rank)
            stream.load_state_dict(as_json(batch[-1]))
            assert [contents(batch) for batch in stream] == whole[at + 1 :]


def test_maps_of_batched_sources_are_applied_to_their_batches():
    def tens(batch):
        return {"number": batch["number"] * 10}

    sources = {
        "a": rm.stream(table(0, [6])).batch(rows=2).map(tens),
        "b": rm.stream(table(100, [6]), ["number"]).batch(rows=3),
    }
    numbers = [
        (name, number)
        for batch in rm.mix(sources, until="all").map(lambda b: {"n": b["number"] + 1})
        for name, number in zip(batch.sources.tolist(), batch["n"].tolist(), strict=True)
    ]
    assert [n for name, n in numbers if name == "a"] == [1, 11, 21, 31, 41, 51]
    assert [n for name, n in numbers if name == "b"] == list(range(101, 107))


def test_a_batch_of_a_mixture_is_pickled_with_its_sources():
    import pickle

    batch = next(iter(big({"a": 1, "b": 1}).batch(rows=9)))
    copy = pickle.loads(pickle.dumps(batch))
    assert copy.sources.tolist() == batch.sources.tolist()
    assert next(iter(rm.stream(table(0, [3])).batch(rows=2))).sources is None


# -- what does not fit --------------------------------------------------------------------


A, B = rm.stream(table(0, [5])), rm.stream(table(0, [5]))


@pytest.mark.parametrize(
    ("streams", "options", "message"),
    [
        ({}, {}, "a stream at least"),
        ([A, B], {}, "streams by name"),
        ({"a": "file.parquet"}, {}, "'a' is no Stream"),
        ({1: A}, {}, "name is a text"),
        ({"a": A, "b": B}, {"weights": {"a": 1}}, "lack 'b'"),
        ({"a": A, "b": B}, {"weights": {"a": 1, "b": 1, "c": 1}}, "name 'c'"),
        ({"a": A, "b": B}, {"weights": {"a": -1, "b": 1}}, "at least 0; got -1"),
        ({"a": A, "b": B}, {"weights": {"a": float("nan"), "b": 1}}, "got nan"),
        ({"a": A, "b": B}, {"weights": {"a": True, "b": 1}}, "got True"),
        ({"a": A, "b": B}, {"weights": {"a": 0, "b": 0}}, "all weights are 0"),
        ({"a": A, "b": B}, {"weights": [1, 2]}, "by name"),
        ({"a": A, "b": B}, {"weights": lambda share: {"a": 1}}, "at a share of 0 lack 'b'"),
        ({"a": A, "b": B}, {"until": "last"}, "until must be"),
        ({"a": A, "b": B}, {"seed": -1}, "seed"),
        ({"a": A, "b": B.batch(rows=2)}, {}, "'b' is cut into batches, and 'a' is not"),
        ({"a": A.shard(0, 2)}, {}, "'a' is sharded"),
        ({"a": A.map(dict)}, {}, "'a' has a map"),
        ({"a": A.pack(4, "ids")}, {}, "'a' is packed"),
        (
            {"a": A, "b": rm.stream(table(0, [5]), ["number", "ids"])},
            {},
            "'b' has no column 'name', which 'a' has",
        ),
        (
            {"a": A, "b": rm.stream(table(0, [2]).drop(["ids"]).append_column("ids", [[1, 2]]))},
            {},
            "column 'ids' is int64 in source 'b'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(streams, options, message):
    with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError), match=message):
        rm.mix(streams, **options)


def test_a_mixture_of_batches_cannot_be_cut_again():
    stream = rm.mix({"a": A.batch(rows=2)})
    for change in (
        lambda: stream.batch(rows=3),
        lambda: stream.pack(3, "ids"),
        lambda: stream.shuffle(1),
        lambda: stream.split({"all": 1.0}, 0),
    ):
        with pytest.raises(rm.InvalidInputError, match="draws whole batches"):
            change()


def test_states_of_other_mixtures_are_refused():
    state = next(iter(big({"a": 1, "b": 1}).batch(rows=10))).state
    others = [
        (rm.mix({"a": A, "b": B}).batch(rows=10), "another data set"),
        (rm.mix({"a": A}).batch(rows=10), "another data set"),
        (big({"a": 1, "b": 1}, "all").batch(rows=10), "its until is"),
        (A.batch(rows=10), "another data set"),
    ]
    for stream, message in others:
        with pytest.raises(rm.InvalidInputError, match=message):
            stream.load_state_dict(state)


def go_on(stream, state):
    stream.load_state_dict(state)
    return list(stream)


@pytest.mark.parametrize(
    "change",
    [
        {"number": 1 << 70},
        {"number": -1},
        {"skip": 5},
        {"left": 3},
        {"stands": []},
        {"weights": [0.0, 0.0]},
        {"is_over": 1},
        {"open": [{}]},
        {"stands": [[[], 0]] * 2},
        {"stands": [[[[7, [0, 0, 0], []]], 0]] * 2},
        {"stands": [[[[0, [99, 0, 0], []]], 0]] * 2},
        {"stands": [[[[0, [0, 10**9, 0], []]], 0]] * 2},
        {"stands": [[[[0, [0, 0, 0], [[[9, 9, 0]]]]], 0]] * 2},
    ],
    ids=str,
)
def test_altered_places_are_refused(change):
    stream = big({"a": 1, "b": 1}).batch(rows=10)
    state = next(iter(stream)).state
    state = sealed({**state, "place": {**state["place"], **change}})
    with pytest.raises(rm.InvalidInputError, match="damaged"):
        go_on(stream, state)


def test_altered_windows_are_refused():
    stream = big({"a": 1, "b": 1}).batch(tokens=99, column="ids")
    state = next(iter(stream)).state
    (one,) = state["place"]["open"]
    for change in ({"rows": 1 << 40}, {"item": 10**6}, {"rank": 3}, {"weights": [0, 0]}):
        place = {**state["place"], "open": [{**one, **change}]}
        with pytest.raises(rm.InvalidInputError, match="damaged"):
            go_on(stream, sealed({**state, "place": place}))


def test_by_default_weights_are_the_rows_that_sources_have_themselves():
    """Of a part or of what was taken, and not of all that its files hold."""
    whole = rm.stream(table(0, [1000]))
    sources = {"some": whole.take(100), "part": whole.split({"a": 0.3, "b": 0.7}, 1)["a"]}
    weights = rm.mix(sources)._source.weights
    assert weights == {name: stream.num_rows for name, stream in sources.items()}


def test_filters_of_sources_are_told():
    few = rm.stream(table(0, [9]), filter=[("number", "<", 4)])
    assert "where few: (number < 4)" in repr(rm.mix({"few": few, "all": A}))
    assert "where (number < 4)" in repr(few.shuffle(1).take(3))


ARRANGED = {
    "packed": lambda stream: stream.pack(64, "ids").batch(rows=1),
    "tokens": lambda stream: stream.batch(tokens=64, column="ids"),
    "bucket": lambda stream: stream.batch(rows=4, bucket=True, column="ids"),
}
DRAWN = {
    "mixture": lambda rows: rm.mix({"a": rows, "b": rows}, seed=0),
    "mixture of mixtures": lambda rows: rm.mix({"a": rm.mix({"b": rows})}, seed=0),
    "taken": lambda rows: rows.take(150),
}


@pytest.mark.parametrize("arranged", ARRANGED)
@pytest.mark.parametrize("drawn", DRAWN)
def test_batches_by_length_come_in_random_order_where_a_source_is_shuffled(drawn, arranged):
    rng = np.random.default_rng(0)
    rows = rm.stream(pa.table({"ids": [[1] * n for n in rng.integers(1, 64, 200)]}))

    def turns(rows):
        """How often the longest row of a batch is shorter than the last, and how often longer."""
        batches = ARRANGED[arranged](DRAWN[drawn](rows))
        if arranged == "packed":
            longest = [np.diff(batch["cu_seqlens"][0]).max() for batch in batches]
        else:
            longest = [batch["ids"].max_length for batch in batches]
        changes = np.diff(longest)
        return (changes < 0).sum(), (changes > 0).sum()

    assert min(turns(rows)) == 0
    assert min(turns(rows.shuffle(seed=0))) > 5


def test_batches_by_length_in_random_order_go_on_after_any():
    rows = rm.stream(pa.table({"ids": [[1] * (n % 40) for n in range(200)]})).shuffle(seed=0)
    stream = rm.mix({"a": rows, "b": rows}, seed=0).batch(tokens=64, column="ids")
    first, second = ([contents(batch) for batch in stream] for _ in range(2))
    assert first != second
    stream.set_epoch(0)
    for number, batch in enumerate(stream):
        if number % 7 == 0:
            again = copy(stream)
            again.load_state_dict(batch.state)
            assert [contents(one) for one in again] == first[number + 1 :]


def test_rows_as_they_come_keep_the_order_of_their_sources():
    a, b = (rm.stream(table(first, [50, 50])) for first in (0, 1000))
    mixed = rm.mix({"a": a.shuffle(seed=0), "b": b}, seed=0)
    batches = mixed.batch(tokens=64, column="ids", bucket=False)
    rows = [n for one in batches for n in one.row_ids[one.sources == "b"]]
    assert rows == sorted(rows)


def test_a_mixture_shows_its_progress():
    heard, told = [], []
    a, b = (rm.stream(table(0, [50, 50]), progress=show) for show in (False, heard.append))
    for _ in rm.mix({"a": a, "b": b}, until="all").batch(rows=40):
        assert heard[-1].batches == len(heard)
        assert heard[-1].total == 200
    assert heard[-1].rows == 200
    before = len(heard)
    list(rm.mix({"a": a, "b": b}, progress=told.append).batch(rows=40))
    list(rm.mix({"a": a, "b": b}, progress=False).batch(rows=40))
    assert told
    assert len(heard) == before
    list(b.shuffle(seed=0).take(30).batch(rows=10))
    assert heard[-1][:3] == (30, 30, 3)
    list(b.batch(rows=40).take(2))  # whole batches, of how many rows nobody knows before
    assert heard[-1][:3] == (80, None, 2)


def test_rows_of_drawn_batches_are_not_guessed():
    batches = rm.stream(table(0, [50, 50])).batch(rows=40)
    for stream in (batches.take(2), rm.mix({"a": batches})):
        with pytest.raises(rm.UnsupportedTypeError, match="draws whole batches"):
            _ = stream.num_rows
    assert len(batches.take(2)) == 2


def on_and_on(a, b, **options):
    return rm.mix({"a": a.repeat(), "b": b}, until="all", **options)


ENDLESS = {
    "rows": lambda a, b: on_and_on(a, b).batch(rows=3),
    "tokens": lambda a, b: on_and_on(a, b).shuffle(0, 20).batch(tokens=9, column="ids"),
    "packed": lambda a, b: on_and_on(a, b).shuffle(0, 20).pack(8, "ids").batch(rows=2),
    "batches": lambda a, b: on_and_on(a.batch(tokens=9, column="ids"), b.batch(rows=2)),
    "one within": lambda a, b: (
        rm.mix({"x": on_and_on(a, b), "b": b.repeat()}, {"x": 1, "b": 1})
        .shuffle(0, 20)
        .batch(tokens=9, column="ids")
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_has_no_end_is_not_counted(kind):
    stream = ENDLESS[kind](rm.stream(table(0, [5, 3])), rm.stream(table(100, [4])))
    with pytest.raises(rm.UnsupportedTypeError, match="no end"):
        stream.count_batches()
    with pytest.raises(rm.UnsupportedTypeError, match="no end"):
        next(iter(stream.shard(0, 2, even=True)))
    assert len(list(islice(stream, 50))) == 50
    assert stream.take(5).count_batches() == len(list(stream.take(5))) == 5


def test_a_mixture_ends_that_has_one_without_end_in_it():
    """It ends with its first source that does; a curriculum over it too, and its share is 1."""
    endless = rm.mix({"a": rm.stream(table(0, [5, 3])).repeat()}, {"a": 1})
    shares = []

    def weights(share):
        shares.append(share)
        return {"x": 1, "b": 1}

    for given_weights in ({"x": 1, "b": 1}, weights):
        sources = {"x": endless, "b": rm.stream(table(100, [300, 300]))}
        stream = rm.mix(sources, given_weights, until="first")
        batches = list(stream.batch(rows=4))
        assert stream.num_rows == sum(batch.num_rows for batch in batches)
    assert 0 < max(shares) <= 1
    with pytest.raises(rm.InvalidInputError, match=r"'x' is a mixture without end.*weights="):
        rm.mix(sources)
