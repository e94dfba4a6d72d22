"""Some of a stream's rows or batches, and several epochs in one loop."""

from collections import Counter
from itertools import chain, islice

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests.strategies import fewer
from tests.streams import FILTER, SHARES, SMALL, SPLIT_SEED, as_json, contents, plain, write

FEW = fewer(3)  # of each kind
CUTS = st.lists(
    st.tuples(st.sampled_from(["take", "skip"]), st.integers(0, 14)), min_size=1, max_size=3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("rows"), SMALL)


def cut(stream, cuts):
    for name, number in cuts:
        stream = getattr(stream, name)(number)
    return stream


def sliced(rows, cuts):
    for name, number in cuts:
        rows = rows[:number] if name == "take" else rows[number:]
    return rows


def numbers(stream):
    return [number for batch in stream.batch(rows=3) for number in batch["number"].tolist()]


KINDS = {
    "plain": lambda folder: rm.stream(folder),
    "split": lambda folder: rm.stream(folder).split(SHARES, SPLIT_SEED)["most"],
    "shuffled": lambda folder: rm.stream(folder).shuffle(3, window_rows=5),
    "filtered": lambda folder: rm.stream(folder, filter=FILTER),
    "rank": lambda folder: rm.stream(folder).shard(1, 2),
    "mixed": lambda folder: rm.mix(
        {"a": rm.stream(folder), "b": rm.stream(folder).shuffle(1)}, seed=1, until="all"
    ),
    "repeated": lambda folder: rm.mix({"a": rm.stream(folder).shuffle(1).repeat(3)}, until="all"),
}


QUICK = ("plain", "shuffled")
MANY = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(cuts=CUTS)
def test_take_and_skip_of_rows_are_slices_of_their_order(folder, kind, cuts):
    stream = KINDS[kind](folder)
    expected = sliced(numbers(stream), cuts)
    made = cut(stream, cuts)
    assert numbers(made) == expected
    if kind != "filtered":
        assert made.num_rows == len(expected)
        assert len(made.batch(rows=3)) == -(-len(expected) // 3)


@pytest.mark.parametrize("kind", MANY)
@FEW
@given(cuts=CUTS)
def test_after_batch_they_are_slices_of_its_batches(folder, kind, cuts):
    for stream in (
        KINDS[kind](folder).batch(rows=2),
        KINDS[kind](folder).batch(tokens=5, column="ids"),
    ):
        whole = [{name: plain(column) for name, column in batch.items()} for batch in stream]
        made = cut(stream, cuts)
        found = [{name: plain(column) for name, column in batch.items()} for batch in made]
        assert found == sliced(whole, cuts)
        assert made.count_batches(0) == len(found)


@pytest.mark.parametrize("kind", MANY)
@FEW
@given(cuts=CUTS, at=st.integers(0, 3))
def test_what_was_cut_goes_on_after_any_batch(folder, kind, cuts, at):
    for stream in (
        cut(KINDS[kind](folder), cuts).batch(rows=2),
        cut(KINDS[kind](folder), cuts).batch(tokens=6, column="ids"),
        cut(KINDS[kind](folder).batch(rows=2), cuts),
    ):
        whole = [contents(batch) for batch in stream]
        if at < len(whole):
            stream.load_state_dict(as_json(whole[at][-1]))
            assert [contents(batch) for batch in stream] == whole[at + 1 :]


@pytest.mark.parametrize("kind", ["plain", "split", "filtered", "shuffled", "mixed"])
@FEW
@given(n=st.integers(0, 14), size=st.integers(1, 3), other=st.integers(1, 3))
def test_ranks_share_the_rows_that_are_taken(folder, kind, n, size, other):
    def make(rank, size):
        return KINDS[kind](folder).take(n).shard(rank, size).batch(rows=2)

    whole = len(numbers(KINDS[kind](folder)))
    shares = [list(make(rank, size)) for rank in range(size)]
    if kind != "filtered":  # a rank that has fewer rows than its share cannot know beforehand
        assert sum(batch.num_rows for share in shares for batch in share) == min(n, whole)
    firsts = [share[0] for share in shares if share]
    if len(firsts) < size or kind == "filtered":
        return
    states = [as_json(batch.state) for batch in firsts]
    found = sum(batch.num_rows for batch in firsts)
    for rank in range(other):
        stream = make(rank, other)
        stream.load_state_dict(states)
        found += sum(batch.num_rows for batch in stream)
    assert found == min(n, whole)


def test_taken_rows_of_files_are_the_first_whatever_comes_after(folder):
    first = rm.stream(folder).take(6)
    assert sorted(numbers(first.shuffle(1))) == list(range(6))
    ranks = [numbers(first.shard(rank, 4)) for rank in range(4)]
    assert sorted(chain(*ranks)) == list(range(6))
    parts = first.split({"a": 0.5, "b": 0.5}, 1)
    assert sorted(numbers(parts["a"]) + numbers(parts["b"])) == list(range(6))
    assert first.batch(rows=6).to_arrow()["number"].to_pylist() == list(range(6))


def test_epochs_follow_each_other_in_one_loop(folder):
    stream = rm.stream(folder).shuffle(2).batch(rows=5)
    expected = []
    for epoch in range(3):
        stream.set_epoch(epoch)
        expected += [contents(batch)[0] for batch in stream]
    repeated = rm.stream(folder).shuffle(2).batch(rows=5).repeat(3)
    whole = [contents(batch) for batch in repeated]
    assert [batch[0] for batch in whole] == expected
    assert len(repeated) == repeated.count_batches() == len(whole)
    assert [batch.state["epoch"] for batch in repeated][::3] == [3, 4, 5]
    for at in range(len(whole)):
        repeated.load_state_dict(as_json(whole[at][-1]))
        assert [contents(batch) for batch in repeated] == whole[at + 1 :]


def test_a_loop_without_end_goes_on_and_on(folder):
    stream = rm.stream(folder).shuffle(2).batch(rows=5).repeat()
    found = Counter()
    for batch in islice(stream, 30):
        found.update(batch.row_ids.tolist())
    assert min(found.values()) >= 9
    with pytest.raises(rm.UnsupportedTypeError, match="without end"):
        len(stream)
    with pytest.raises(rm.UnsupportedTypeError, match="without end"):
        stream.count_batches()
    nothing = rm.stream(pa.table({"x": pa.array([], pa.int64())})).batch(rows=2).repeat()
    assert list(nothing) == []


@pytest.mark.parametrize("number", [-1, 1.5, True, "3", None])
def test_what_is_no_count_is_refused(folder, number):
    stream = rm.stream(folder)
    for change in (stream.take, stream.skip, stream.repeat):
        if number is None and change == stream.repeat:
            continue
        with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError)):
            change(number)
