"""Windows arranged into rows, batches by a budget and packed sequences."""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.kernels import cpu
from ragmask.streaming.arrange import Buckets, Budget, Packing, Rounding, Rows, padded_steps
from tests import reference
from tests.streams import plain

GLOSSES = Path(__file__).parents[1] / "examples" / "data" / "wordnet_glosses.parquet"
LENGTHS = st.lists(st.integers(0, 12), max_size=40)
KEYS = st.none() | st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))


def window_of(lengths):
    """Columns of rows of these lengths, and row ids; all that is in a row follows from its id."""
    row_ids = np.arange(len(lengths)) + 100
    steps = [(row, step) for row, length in enumerate(lengths) for step in range(length)]
    numbers = np.array([1000 * row + step for row, step in steps], np.int64)
    mask = np.array([step % 3 != 1 for _, step in steps], bool)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    words = [[f"{row}-{step}" for step in range(length)] for row, length in enumerate(lengths)]
    columns = {
        "ids": rm.Ragged.from_offsets(numbers, offsets, mask),
        "pairs": rm.Ragged.from_offsets(np.stack([numbers, -numbers], 1), offsets),
        "spans": {
            "begin": rm.Ragged.from_offsets(numbers, offsets, mask),
            "word": pa.array(words, pa.list_(pa.string())),
        },
        "words": pa.array([["x"], *words], pa.large_list(pa.string()))[1:],
        "label": row_ids * 2,
        "vector": np.stack([row_ids, row_ids + 1], 1),
        "score": np.ma.masked_array(row_ids / 2, row_ids % 3 == 0),
        "name": pa.array([f"row {number}" if number % 4 else None for number in row_ids]),
    }
    return columns, row_ids


def parts_of(arranged):
    return [arranged.take(item, item + 1) for item in range(arranged.items)]


def assert_rows_kept_together(part, whole, row_ids):
    """Each column of a part holds the rows that its row ids name."""
    for name, column in whole.items():
        rows, names = plain(column), plain(part.columns[name])
        if isinstance(column, dict):
            rows, names = rows["begin"], names["begin"]
        assert names == [rows[row] for row in np.searchsorted(row_ids, part.row_ids)], name


# -- rows ---------------------------------------------------------------------------------


@given(LENGTHS, KEYS)
def test_rows_are_each_there_once(lengths, key):
    columns, row_ids = window_of(lengths)
    arranged = Rows().arrange(columns, row_ids, key)
    assert arranged.items == len(lengths)
    whole = arranged.take(0, arranged.items)
    assert sorted(whole.row_ids) == row_ids.tolist()
    assert key is not None or whole.row_ids.tolist() == row_ids.tolist()
    for part in [whole, *parts_of(arranged)]:
        assert_rows_kept_together(part, columns, row_ids)


# -- batches by a budget ------------------------------------------------------------------


@given(LENGTHS, KEYS, st.integers(1, 60), st.booleans())
def test_batches_hold_each_row_once_and_keep_to_their_budget(lengths, key, tokens, bucket):
    columns, row_ids = window_of(lengths)
    budget = Budget(tokens, "ids", bucket)
    arranged = budget.arrange(columns, row_ids, key)
    parts = parts_of(arranged)
    assert budget.count(np.array(lengths, np.int64), key) == len(parts)
    assert Counter(row for part in parts for row in part.row_ids) == Counter(row_ids)
    for part in parts:
        assert_rows_kept_together(part, columns, row_ids)
        longest = max(1, part.columns["ids"].max_length)
        assert len(part.row_ids) * longest <= tokens or len(part.row_ids) == 1


@given(LENGTHS, st.integers(1, 60), st.booleans())
def test_a_batch_ends_only_where_the_next_row_does_not_fit(lengths, tokens, bucket):
    columns, row_ids = window_of(lengths)
    parts = parts_of(Budget(tokens, "ids", bucket).arrange(columns, row_ids, None))
    for part, after in pairwise(parts):
        longest = max(1, part.columns["ids"].max_length, after.columns["ids"].lengths[0])
        assert (len(part.row_ids) + 1) * longest > tokens
    rows = [row for part in parts for row in part.row_ids.tolist()]
    in_order = sorted(row_ids.tolist(), key=lambda row: lengths[row - 100]) if bucket else row_ids
    assert rows == list(in_order)


@given(LENGTHS, KEYS.filter(bool), st.integers(1, 60))
def test_bucketed_batches_never_interleave_in_length(lengths, key, tokens):
    columns, row_ids = window_of(lengths)
    parts = parts_of(Budget(tokens, "ids", True).arrange(columns, row_ids, key))
    spans = sorted(
        (min(part.columns["ids"].lengths), max(part.columns["ids"].lengths)) for part in parts
    )
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_shuffled_batches_come_in_any_order_of_length():
    columns, row_ids = window_of(list(range(40)))
    parts = parts_of(Budget(40, "ids", True).arrange(columns, row_ids, (0, 0, 0)))
    longest = [part.columns["ids"].max_length for part in parts]
    assert longest != sorted(longest)


def test_rows_longer_than_sixteen_bits_are_sorted_too():
    lengths = np.array([70_000, 3, 65_536, 65_535, 3])
    order, ends = Budget(10, "ids", True).cut(lengths, None)
    assert order.tolist() == [1, 4, 3, 2, 0]
    assert ends.tolist() == [0, 2, 3, 4, 5]


@given(LENGTHS, KEYS, st.integers(1, 60), st.integers(1, 8), st.integers(1, 5))
def test_a_budget_counts_rounded_widths_and_takes_whole_multiples_of_rows(
    lengths, key, tokens, multiple_of, rows_multiple
):
    columns, row_ids = window_of(lengths)
    rounding = Rounding(multiple_of, rows_multiple)
    parts = parts_of(Budget(tokens, "ids", True, rounding).arrange(columns, row_ids, key))
    assert Counter(row for part in parts for row in part.row_ids) == Counter(row_ids)
    by_width = Counter()
    for part in parts:
        rows, width = len(part.row_ids), rounding.shape(1, part.columns["ids"].max_length)[1]
        assert width % multiple_of == 0 < width
        assert rows * width <= tokens or rows == 1
        affordable = tokens // width
        if affordable >= rows_multiple:  # then rounded rows keep to the budget too
            assert math.prod(rounding.shape(rows, width)) <= tokens
            by_width[width] += rows % rows_multiple > 0
    # rows are short of a multiple only where the next width begins, or the window ends
    assert all(short <= 1 for short in by_width.values())


def test_the_padded_width_of_rows_without_a_step_is_not_0():
    assert Rounding(1, 1).widths(np.array([0, 1, 5])).tolist() == [1, 1, 5]
    assert Rounding(4, 1).widths(np.array([0, 1, 4, 5])).tolist() == [4, 4, 4, 8]
    shapes = [Rounding(4, 3).shape(*shape) for shape in [(0, 0), (1, 1), (3, 4), (4, 5)]]
    assert shapes == [(0, 4), (3, 4), (3, 4), (6, 8)]


@given(LENGTHS, KEYS, st.integers(1, 9), st.booleans())
def test_buckets_hold_as_many_rows_of_similar_lengths(lengths, key, rows, drop_last):
    columns, row_ids = window_of(lengths)
    buckets = Buckets(rows, "ids", drop_last)
    parts = parts_of(buckets.arrange(columns, row_ids, key))
    assert buckets.count(np.array(lengths), key) == len(parts)
    sizes = sorted((len(part.row_ids) for part in parts), reverse=True)
    whole, rest = divmod(len(lengths), rows)
    assert sizes == [rows] * whole + [rest] * (rest > 0 and not drop_last)
    seen = Counter(row for part in parts for row in part.row_ids)
    assert seen <= Counter(row_ids)
    assert max(seen.values(), default=1) == 1
    for part in parts:
        assert_rows_kept_together(part, columns, row_ids)
    spans = sorted(
        (min(part.columns["ids"].lengths), part.columns["ids"].max_length) for part in parts
    )
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_the_rows_that_buckets_drop_are_not_the_longest():
    columns, row_ids = window_of([9, 1, 2, 3, 4])
    parts = parts_of(Buckets(2, "ids", True).arrange(columns, row_ids, None))
    assert [part.row_ids.tolist() for part in parts] == [[101, 102], [103, 100]]
    dropped = set()
    for epoch in range(20):
        parts = parts_of(Buckets(2, "ids", True).arrange(columns, row_ids, (0, epoch, 0)))
        dropped |= {*row_ids.tolist()} - {row for part in parts for row in part.row_ids.tolist()}
    assert dropped == {*row_ids.tolist()}


def test_a_budget_larger_than_everything_is_one_batch():
    lengths = np.array([3, 1, 4])
    assert Budget(2**62, "ids", True).cut(lengths, None)[1].tolist() == [0, 3]


def test_bucketed_glosses_are_nearly_all_real_steps():
    report = rm.stream(GLOSSES).shuffle(0).batch(tokens=16_384, column="tokens").measure_padding()
    assert report.rows == 117_659
    assert report.real / report.padded > 0.95
    assert report.real / (report.batches * 16_384) > 0.94
    assert report.saved > 0.95


@given(LENGTHS, st.integers(1, 60), st.integers(0, 3))
def test_padded_steps_are_those_of_the_padded_batches(lengths, tokens, seed):
    rng = np.random.default_rng(seed)
    most = max(len(lengths) - 1, 0)
    cuts = np.sort(rng.choice(most, rng.integers(0, most + 1), replace=False)) + 1
    ends = np.array([0, *cuts, len(lengths)] if lengths else [0], np.int64)
    expected = sum((last - first) * max(lengths[first:last]) for first, last in pairwise(ends))
    assert padded_steps(np.array(lengths, np.int64), ends) == expected


# -- packed sequences ---------------------------------------------------------------------


@given(LENGTHS, KEYS, st.integers(1, 30), st.integers(1, 4))
def test_packing_holds_every_step_once_and_in_order(lengths, key, length, at_once):
    columns, row_ids = window_of(lengths)
    packing = Packing(length, "ids")
    arranged = packing.arrange(columns, row_ids, key)
    assert packing.count(np.array(lengths, np.int64), key) == arranged.items
    pieces = Counter()
    steps = []
    for first in range(0, arranged.items, at_once):
        part = arranged.take(first, min(first + at_once, arranged.items))
        packed = {name: plain(column) for name, column in part.columns.items()}
        pieces.update(part.row_ids.tolist())
        sequences = zip(packed["row_ids"], packed["positions"], packed["cu_seqlens"], strict=True)
        piece = iter(part.row_ids.tolist())
        for number, (ids, positions, cumulative) in enumerate(sequences):
            assert len(ids) <= length
            assert packed["ids"][number] == [
                1000 * (row - 100) + step if step % 3 != 1 else None
                for row, step in zip(ids, positions, strict=True)
            ]
            assert packed["spans"]["begin"][number] == packed["ids"][number]
            values = [1000 * (row - 100) + step for row, step in zip(ids, positions, strict=True)]
            assert packed["pairs"][number] == [[value, -value] for value in values]
            words = [f"{row - 100}-{step}" for row, step in zip(ids, positions, strict=True)]
            assert packed["words"][number] == packed["spans"]["word"][number] == words

            assert cumulative[0] == 0
            assert cumulative[-1] == len(ids)
            rows = [next(piece) for _ in cumulative[1:]]
            for row, begin, end in zip(rows, cumulative, cumulative[1:], strict=False):
                assert set(ids[begin:end]) <= {row}
                taken = positions[begin:end]
                assert taken == list(range(taken[0], taken[0] + len(taken))) if taken else True
                assert not taken or taken[0] % length == 0
            assert packed["label"][number] == [2 * row for row in rows]
            assert packed["vector"][number] == [[row, row + 1] for row in rows]
            assert packed["score"][number] == [row / 2 if row % 3 else None for row in rows]
            assert packed["name"][number] == [f"row {row}" if row % 4 else None for row in rows]
            steps += zip(ids, positions, strict=True)
        assert part.columns["cu_seqlens"].dtype == np.int32
    assert Counter(steps) == Counter(
        (row + 100, step) for row, count in enumerate(lengths) for step in range(count)
    )
    assert pieces == Counter(
        {row + 100: max(1, -(-count // length)) for row, count in enumerate(lengths)}
    )


@given(LENGTHS, st.integers(1, 30))
def test_files_in_order_give_the_pieces_of_a_row_in_order(lengths, length):
    arranged = Packing(length, "ids").arrange(*window_of(lengths), None)
    last = {}
    for part in parts_of(arranged):
        for row, position in zip(
            part.columns["row_ids"].compact().values.tolist(),
            part.columns["positions"].compact().values.tolist(),
            strict=True,
        ):
            whole = lengths[row - 100] // length * length  # what is left over goes where it fits
            if position < whole:
                assert position == last.get(row, -1) + 1
                last[row] = position


@given(LENGTHS, st.integers(1, 30))
def test_no_two_sequences_would_fit_into_one(lengths, length):
    arranged = Packing(length, "ids").arrange(*window_of(lengths), None)
    filled = sorted(part.columns["ids"].n_steps for part in parts_of(arranged))
    assert len(filled) < 2 or filled[0] + filled[1] > length


def test_columns_that_differ_in_length_cannot_be_packed_together():
    columns, row_ids = window_of([2, 3])
    columns["tags"] = rm.Ragged.from_rows([[1, 2], [3]])
    with pytest.raises(rm.InvalidInputError, match=r"row 101 has 3 and 1 steps; leave one out"):
        Packing(8, "ids").arrange(columns, row_ids, None)


def test_a_length_beyond_all_steps_takes_no_memory():
    rows, _, sizes, ends = Packing(2**60, "ids").lay(np.array([3, 0, 4]), None)
    assert (rows.tolist(), sizes.tolist(), ends.tolist()) == ([0, 1, 2], [3, 0, 4], [0, 3])


def test_packed_glosses_fill_their_sequences():
    real = sequences = 0
    for batch in rm.stream(GLOSSES).shuffle(0).pack(512, "tokens").batch(256):
        real += batch["positions"].n_steps
        sequences += batch.num_rows
    assert real / (sequences * 512) >= 0.97


# -- kernels ------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40))
def test_shuffle_puts_each_number_in_at_a_random_place(bits):
    order = np.empty(len(bits), np.int64)
    cpu.shuffle(np.array(bits, np.uint32), order)
    assert order.tolist() == reference.shuffle(bits)


@given(LENGTHS, st.integers(1, 60), st.integers(1, 9))
def test_begin_batches_takes_rows_while_they_fit(lengths, most_steps, multiple):
    begins = np.empty(len(lengths), bool)
    cpu.begin_batches(np.array(lengths, np.int64), most_steps, multiple, begins)
    assert begins.tolist() == reference.begin_batches(lengths, most_steps, multiple)


@given(LENGTHS, st.integers(12, 40), st.booleans())
def test_best_fit_takes_the_fullest_bin_with_room(lengths, capacity, decreasing):
    lengths = sorted(lengths, reverse=True) if decreasing else lengths
    chosen = np.empty(len(lengths), np.int64)
    free, below = np.full(capacity + 1, -1), np.empty(len(lengths), np.int64)
    cpu.best_fit(np.array(lengths, np.int64), capacity, free, below, chosen)
    assert chosen.tolist() == reference.best_fit(lengths, capacity)
