"""States and settings that are refused."""

import json
import pickle
from copy import deepcopy
from itertools import islice
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.streaming.state import sealed
from tests.streams import (
    SMALL,
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


# -- states that are refused --------------------------------------------------------------


def state_of(folder, batches=2, **how):
    setup = Setup(**{"rows": 2, "seed": 1, "window_rows": 6} | how)
    return setup, [batch.state for batch in islice(setup.stream(folder), batches)][-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop_last": True}, "its drop_last is False, and here it is True"),
        ({"seed": 2}, "its seed is 1, and here it is 2"),
        ({"seed": None}, "its seed is 1, and here it is None"),
        ({"window_rows": 7}, "its window_rows is 6, and here it is 7"),
        ({"tokens": 9}, "its rows is 2, and here it is 1"),
        ({"pack": 9}, "its pack is None, and here it is 9"),
        ({"filtered": True}, "its filter is None, and here it is .*number"),
        ({"part": "few"}, r"its split is None, and here it is \[\[1, 0, "),
        ({"bucketed": True}, "its bucket is None, and here it is True"),
    ],
)
def test_a_state_of_other_settings_is_refused_by_name(folder, change, message):
    setup, state = state_of(folder)
    with pytest.raises(rm.InvalidInputError, match=message):
        setup._replace(**change).stream(folder).load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 8}, r"its tokens is 9, and here it is 8\. Batches by tokens .* set_epoch"),
        ({"bucket": False}, "its bucket is True, and here it is False"),
        ({"rounding": (4, 1)}, "its multiple_of is None, and here it is 4"),
        ({"rounding": (1, 2)}, "its rows_multiple is None, and here it is 2"),
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
    with pytest.raises(rm.InvalidInputError, match="of version 1, and this ragmask reads 3"):
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
    "in buckets": ({"rows": 2, "bucketed": True, "seed": 3}, 2),
    "rounded": ({"tokens": 9, "rounding": (4, 2)}, 1),
    "part of a split": ({"rows": 1, "part": "most"}, 2),
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
    with pytest.raises(rm.InvalidInputError, match="of another stream: its seed is 99"):
        stream.load_state_dict(state | {"settings": state["settings"] | {"seed": 99}})
    for rows in (99, 2.0, True, 0, -1):
        with pytest.raises(rm.InvalidInputError, match=r"damaged or was altered|its rows is"):
            stream.load_state_dict(state | {"settings": state["settings"] | {"rows": rows}})


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": [9, 0, 0]}, "stands at item 0 of window 9, and its rank has 1 windows"),
        ({"place": [0, 77, 0]}, "77 items of a window are done, which has"),
        ({"place": [0, 1, 0]}, r"stands at .*item=1.*, where no batch of 2 ends"),
        ({"place": [0, 0, 1]}, "damaged"),
        ({"world_size": 10**15}, "world_size must be at most"),
        ({"world_size": 9, "place": [1, 1, 0]}, "damaged"),
    ],
)
def test_damage_is_named_in_lockstep(folder, change, message):
    setup, state = state_of(folder)
    with pytest.raises(rm.InvalidInputError, match=message):
        setup.stream(folder, 1, 2).load_state_dict(
            sealed(state | {"world_size": 2} | change), lockstep=True
        )


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
    stream.load_state_dict(sealed(last.state | {"even": [2, 0, [9, 0, 0]]}))
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
    larger = setup._replace(rows=3)
    with pytest.raises(
        rm.InvalidInputError,
        match="rank 1 of 3, in batches of 3 rows, and the states are of world_size 3, in batches "
        "of 1 rows, without rank 0: pass the states of all 3 ranks, or lockstep=True",
    ):
        larger.stream(folder, 1, 3).load_state_dict(states[1])
    other = larger.stream(folder, 2, 3).state_dict()
    refused([*states[:2], other], "of batches of 1 and of 3 rows: pass states of the same moment")
    list(islice(streams[1], 2))
    with pytest.raises(rm.InvalidInputError, match="rank 1 has not delivered as many batches as"):
        new.load_state_dict([states[0], streams[1].state_dict()], lockstep=True)
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
        (lambda s: s.batch(2, column="ids"), "column= needs tokens=, or bucket=True"),
        (lambda s: s.batch(2, bucket=True), r"one of ids, words: column="),
        (lambda s: s.batch(2, column="score", bucket=True), "'score' has no lengths to count"),
        (lambda s: s.batch(5, column="ids", bucket=True).shuffle(0, 4), "is smaller than a batch"),
        (lambda s: s.batch(2, multiple_of=0), "multiple_of must be at least 1; got 0"),
        (lambda s: s.batch(2, rows_multiple=2.5), "rows_multiple must be an integer; got 2.5"),
        (lambda s: s.batch(tokens=9, column="ids", multiple_of=-8), "multiple_of must be at least"),
        (lambda s: s.batch(2, column="ids", bucket=True).pack(8, "ids"), "batch them with rows="),
        (lambda s: s.pack(8, "ids").batch(2, column="ids", bucket=True), "batch them with rows="),
        (lambda s: s.count_batches(), "choose the batches first"),
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
