"""What the command line counts and advises, against plain loops."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.cli.advice import Advice, advise, code, percent
from ragmask.cli.inspect import bar, batch_sizes
from ragmask.cli.lengths import (
    Batches,
    by_rows,
    by_tokens,
    cut,
    evenly,
    histogram,
    quantile,
    tokens_for,
)
from ragmask.cli.measure import measure_array
from ragmask.data import JAPANESE_VOWELS
from ragmask.streaming.plan import Window
from tests.words import EVENTS, WORDS

LENGTHS = st.lists(st.integers(0, 300), max_size=60).map(lambda rows: np.array(rows, np.int64))

SOME_LENGTHS = st.lists(st.integers(0, 300), min_size=1, max_size=60).map(
    lambda rows: np.array(rows, np.int64)
)


# -- pure functions -----------------------------------------------------------------------


def batches_of(lengths, rows):
    return [lengths[first : first + rows] for first in range(0, len(lengths), rows)]


@given(LENGTHS, st.integers(1, 70), st.integers(1, 9))
def test_padding_against_plain_loops(lengths, rows, multiple_of):
    shapes, steps = [], 0
    for batch in batches_of(lengths.tolist(), rows):
        width = max(batch)
        while width % multiple_of:
            width += 1
        shapes.append([len(batch), width])
        steps += width * len(batch)
    made = by_rows(lengths, rows)
    assert made.shapes(multiple_of).tolist() == shapes
    assert made.padded_steps(multiple_of) == steps
    share = 1 - sum(lengths.tolist()) / steps if steps else 0
    assert made.padding_share(multiple_of) == pytest.approx(share)


@given(LENGTHS, st.integers(1, 500), st.integers(1, 70))
def test_batches_by_tokens_keep_the_limit_and_every_row(lengths, tokens, window):
    firsts = range(0, len(lengths), window)
    windows = [Window(first, min(first + window, len(lengths))) for first in firsts]
    made = by_tokens(lengths, windows, tokens)
    for one in windows:
        inside = slice(one.first, one.last)
        assert made.lengths[inside].tolist() == sorted(lengths[inside].tolist())
        assert one.first in made.ends
    assert all(rows * width <= tokens or rows == 1 for rows, width in made.shapes().tolist())
    assert made.ends[-1] == len(lengths)


@given(SOME_LENGTHS, st.integers(1, 60))
def test_batches_evenly_are_so_many_and_differ_by_one_row(lengths, number):
    number = min(number, len(lengths))
    made = evenly(lengths, number)
    rows = made.shapes()[:, 0]
    assert (made.number, rows.sum()) == (number, len(lengths))
    assert rows.max() - rows.min() <= 1


def test_tokens_count_an_empty_row_as_a_step():
    assert tokens_for(np.zeros(10, np.int64), 64) == 64
    assert tokens_for(np.array([31, 33]), 64) == 2048


def test_truncated_keeps_the_batches():
    made = Batches(np.array([1, 5, 9]), np.array([0, 2, 3])).truncated(4)
    assert made.shapes().tolist() == [[2, 4], [1, 4]]


@given(SOME_LENGTHS, st.floats(0, 1))
def test_quantile_is_the_smallest_length_that_enough_rows_do_not_exceed(lengths, share):
    found = quantile(lengths, share)
    rows = lengths.tolist()
    assert found in rows
    assert sum(length <= found for length in rows) >= share * len(rows) - 1e-9
    shorter = [length for length in rows if length < found]
    assert len(shorter) <= share * len(rows) + 1e-9


@given(SOME_LENGTHS)
def test_histogram_counts_every_row_once(lengths):
    bins = histogram(lengths)
    for one in bins:
        assert one.rows == sum(one.first <= length <= one.last for length in lengths.tolist())
    assert sum(one.rows for one in bins) == len(lengths)
    assert (bins[0].first, bins[-1].last) == (lengths.min(), lengths.max())
    assert len(bins) <= 18


def test_histogram_puts_a_far_tail_into_one_bin():
    bins = histogram(np.array([*range(10)] * 100 + [10_000]))
    assert bins[-1] == (10, 10_000, 1)
    assert [one.rows for one in bins[:-1]] == [100] * 10
    assert histogram(np.empty(0, np.int64)) == []


@given(LENGTHS, st.integers(0, 300))
def test_cut_against_truncate(lengths, maxlen):
    rows = [range(length) for length in lengths.tolist()]
    shorter = [row[:maxlen] for row in rows]
    assert cut(lengths, maxlen) == (
        sum(len(a) != len(b) for a, b in zip(rows, shorter, strict=True)),
        sum(len(a) - len(b) for a, b in zip(rows, shorter, strict=True)),
    )


@given(st.floats(0, 1))
def test_percent_is_near(share):
    text = percent(share)
    if text != "<0.01%":
        assert float(text.removesuffix("%")) == pytest.approx(100 * share, abs=0.51)
    assert percent(0) == "0%"


@pytest.mark.parametrize(("share", "text"), [(1, "####"), (0.5, "##"), (0.001, "#"), (0, "")])
def test_bar(share, text):
    assert bar(share, 4, ascii_only=True) == text
    assert len(bar(share, 4)) == len(text)


def test_batch_sizes_fit_the_rows():
    assert batch_sizes(10) == [10]
    assert batch_sizes(130) == [32, 64, 128]


# -- advice -------------------------------------------------------------------------------


def advise_in_one_window(lengths):
    return advise(lengths, [Window(0, lengths.size)])


def test_equal_rows_need_no_advice():
    advice = advise_in_one_window(np.full(1000, 16))
    assert (advice.tokens, advice.maxlen, advice.multiple_of) == (None, None, None)
    assert "no padding" in advice.reasons[-1][1]


def test_sorted_rows_are_left_in_file_order():
    lengths = np.sort(np.random.default_rng(0).integers(1, 100, 20_000))
    advice = advise_in_one_window(lengths)
    assert (advice.rows, advice.tokens) == (256, None)
    assert advice.reasons[1][0] == "file order"


def test_a_long_tail_is_batched_by_length_and_cut():
    lengths = np.random.default_rng(0).lognormal(3, 1.2, 50_000).astype(np.int64)
    advice = advise_in_one_window(lengths)
    assert (advice.rows, advice.tokens) == (None, 16_384)
    assert advice.maxlen is not None
    assert np.mean(lengths > advice.maxlen) < 0.01
    assert advice.multiple_of is None  # the batches' rows would differ all the same


def test_widths_are_rounded_where_that_leaves_fewer_shapes():
    rng = np.random.default_rng(0)
    lengths = rng.integers(100, 4000, 20_000)
    advice = advise_in_one_window(np.sort(lengths))
    assert (advice.rows, advice.tokens, advice.multiple_of) == (8, None, 64)
    advice = advise_in_one_window(lengths)
    assert (advice.rows, advice.tokens, advice.multiple_of) == (None, 16_384, 64)


def test_shapes_of_batches_by_tokens_are_counted_and_fewer_are_shown():
    lengths = np.random.default_rng(0).integers(1, 60, 20_000)
    reasons = dict(advise_in_one_window(lengths).reasons)
    pattern = r"(\d+) padded shapes in (\d+) batches; batch\(…, multiple_of=(\d+), rows_multiple="
    pattern += r"(\d+)\) leaves (\d+) .* with arrays (\d\.\d\d) times as large"
    many, batches, steps, rows, few = map(int, re.match(pattern, reasons["shapes"]).groups()[:5])

    stream = rm.stream(pa.table({"x": rm.Ragged.from_rows([[0] * n for n in lengths]).to_arrow()}))

    def shapes(**rounding):
        made = stream.batch(tokens=16_384, column="x", **rounding)
        shape = made._settings.rounding.shape
        return [shape(batch.num_rows, batch["x"].max_length) for batch in made]

    assert (len({*shapes()}), len(shapes())) == (many, batches)
    assert len({*shapes(multiple_of=steps, rows_multiple=rows)}) == few < many / 3


def test_batches_that_have_few_shapes_are_only_counted():
    rng = np.random.default_rng(0)
    lengths = rng.choice([4, 400], 20_000)
    assert dict(advise_in_one_window(lengths).reasons)["shapes"] == "4 padded shapes in 254 batches"


@given(SOME_LENGTHS.filter(lambda lengths: lengths.any()))
def test_any_lengths_can_be_advised(lengths):
    advice = advise_in_one_window(lengths)
    assert (advice.rows is None) != (advice.tokens is None)
    assert (advice.rows or advice.tokens) >= 8
    assert all(setting and reason for setting, reason in advice.reasons)


@pytest.mark.parametrize(
    "advice", [Advice(64), Advice(64, maxlen=8), Advice(tokens=512, maxlen=20, multiple_of=8)]
)
def test_the_code_that_is_advised_runs(advice):
    text = code(advice, "path", "frames", 'batch["frames"]')
    for_training = text.replace("# for training: ", "")
    assert (text != for_training) == (advice.tokens is not None)
    for one in (text, for_training):
        names = {"rm": rm, "path": JAPANESE_VOWELS}
        exec(one, names)
        assert isinstance(names["padded"], rm.Padded)
        assert names["padded"].shape[1] <= (29 if advice.maxlen is None else 24)


# -- measuring ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_", [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_view(pa.string())], ids=str
)
def test_measure_strings(type_):
    measured = measure_array(pa.array(WORDS, type_))
    assert measured.lengths.tolist() == [2, 0, 0, 3, 1, 0]
    assert measured.lengths.dtype == np.int64
    assert (measured.null_rows, measured.null_steps) == (1, 1)


def test_measure_honours_slices_and_chunks():
    whole = pa.array(WORDS, pa.list_(pa.string()))
    chunked = pa.chunked_array([whole.slice(3, 2), whole.slice(2, 1), whole.slice(0, 0)])
    measured = measure_array(chunked)
    assert measured.lengths.tolist() == [3, 1, 0]
    assert (measured.null_rows, measured.null_steps) == (1, 1)
    assert measure_array(whole.slice(4)).null_steps == 0
    assert measure_array(pa.chunked_array([], whole.type)).lengths.size == 0


def test_a_struct_step_counts_once_and_is_null_if_a_field_is():
    struct = pa.struct([("name", pa.string()), ("t", pa.int64())])
    measured = measure_array(pa.array(EVENTS, pa.list_(struct)))
    assert measured.lengths.tolist() == [1, 2, 0, 0, 1, 4]
    assert (measured.null_rows, measured.null_steps) == (1, 3)


def test_values_under_a_null_list_are_no_steps():
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 4], pa.int32()), pa.array([1, None, None, 4]), mask=pa.array([False, True])
    )
    measured = measure_array(lists)
    assert measured.lengths.tolist() == [2, 0]
    assert (measured.null_rows, measured.null_steps) == (1, 1)
