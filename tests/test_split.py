"""Cutting rows in time, and joining them again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import padded_rows_of, raggeds, rows_of


def width_for(ragged, sections, spare):
    return (-(-ragged.max_length // sections) + spare) * sections


def bytes_of(batch):
    if isinstance(batch, rm.Ragged):
        return rows_of(batch)
    return padded_rows_of(batch if isinstance(batch, rm.Padded) else rm.Padded(batch))


# -- split --------------------------------------------------------------------------------


@given(raggeds(), st.integers(1, 4), st.integers(0, 2))
def test_split_of_ragged_is_the_reference(ragged, sections, spare):
    width = width_for(ragged, sections, spare)
    parts = rm.temporal_split(ragged, sections, width=width)
    rows, masks = rows_of(ragged)
    expected = zip(
        reference.temporal_split(rows, sections, width),
        reference.temporal_split(masks, sections, width),
        strict=True,
    )
    assert [rows_of(part) for part in parts] == list(expected)
    for part in parts:
        assert part._rows.values is ragged._rows.values
        assert part._rows.mask is ragged._rows.mask
        rm.Ragged(part.values, part.starts, part.lengths, part.mask)  # which checks every row


@given(raggeds(), st.sampled_from(["padded", "dense"]), st.integers(1, 4))
def test_split_of_arrays_is_the_reference(ragged, kind, sections):
    padded = ragged.to_padded(multiple_of=sections)
    parts = rm.temporal_split(padded if kind == "padded" else padded.values, sections)
    rows, masks = padded_rows_of(padded)
    expected = reference.temporal_split(rows, sections, padded.shape[1])
    assert [bytes_of(part)[0] for part in parts] == expected
    if kind == "padded":
        expected = reference.temporal_split(masks, sections, padded.shape[1])
        assert [bytes_of(part)[1] for part in parts] == expected
    for part in parts:
        assert type(part) is (rm.Padded if kind == "padded" else np.ndarray)
        values = part.values if kind == "padded" else part
        assert values.size == 0 or np.shares_memory(values, padded.values)


def test_two_sections_are_the_default():
    first, second = rm.temporal_split(rm.Ragged.from_rows([[1, 2, 3], [1, 2, 3, 4, 5, 6]]))
    assert [row.tolist() for row in first] == [[1, 2, 3], [1, 2, 3]]
    assert [row.tolist() for row in second] == [[], [4, 5, 6]]


@pytest.mark.parametrize(
    ("batch", "arguments", "message"),
    [
        (rm.Ragged.from_rows([[1], [2, 3, 4, 5, 6]]), {}, r"5 steps \(the longest row\) .* into 2"),
        (rm.Ragged.from_rows([[1], [2, 3]]), {"sections": 3}, "pass width=3, or pad to it"),
        (np.zeros((2, 7)), {"sections": 3}, r"7 steps \(the array's width\) .* pass width=9"),
        (rm.Padded(np.zeros((2, 7))), {"sections": 2}, "7 steps"),
        (rm.Ragged.from_rows([[1, 2]]), {"width": 5}, r"5 steps \(width\) cannot .* into 2"),
        (rm.Ragged.from_rows([[1, 2]]), {"width": 1}, "width 1 is less than the longest row, 2"),
        (np.zeros((2, 4)), {"width": 2}, "width 2 is not the array's width, 4"),
        (rm.Ragged.from_rows([[1, 2]]), {"width": -2}, "width must be at least 0"),
        (rm.Ragged.from_rows([[1, 2]]), {"width": 2.0}, "width must be an integer"),
        (rm.Ragged.from_rows([[1, 2]]), {"sections": 0}, "sections must be at least 1; got 0"),
        (rm.Ragged.from_rows([[1, 2]]), {"sections": -1}, "sections must be at least 1; got -1"),
        (rm.Ragged.from_rows([[1, 2]]), {"sections": "2"}, "sections must be an integer"),
        (np.zeros(4), {}, r"x must have rows and steps; got shape \(4,\)"),
    ],
)
def test_what_cannot_be_split_is_refused(batch, arguments, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.temporal_split(batch, **arguments)


@pytest.mark.parametrize("rows", [[], [[], []]])
def test_nothing_splits_into_nothings(rows):
    for width in (None, 6):
        parts = rm.temporal_split(rm.Ragged.from_rows(rows), 3, width=width)
        assert [(len(part), part.n_steps) for part in parts] == [(len(rows), 0)] * 3
    assert rm.temporal_concat(parts).n_steps == 0


# -- concat -------------------------------------------------------------------------------


@given(raggeds(), st.integers(1, 4), st.integers(0, 2))
def test_concat_undoes_split_of_ragged_without_a_copy(ragged, sections, spare):
    parts = rm.temporal_split(ragged, sections, width=width_for(ragged, sections, spare))
    joined = rm.temporal_concat(parts)
    assert rows_of(joined) == rows_of(ragged)
    assert joined._rows.values is ragged._rows.values
    assert joined._rows.mask is ragged._rows.mask
    rm.Ragged(joined.values, joined.starts, joined.lengths, joined.mask)


@given(raggeds(), st.integers(1, 4))
def test_concat_undoes_split_of_arrays(ragged, sections):
    padded = ragged.to_padded(multiple_of=sections)
    joined = rm.temporal_concat(rm.temporal_split(padded, sections))
    assert padded_rows_of(joined) == padded_rows_of(padded)
    dense = rm.temporal_concat(rm.temporal_split(padded.values, sections))
    assert dense.tobytes() == padded.values.tobytes()


@st.composite
def parts_of_equal_rows(draw):
    """Raggeds of one dtype and item shape, with equally many rows."""
    dtype, item_shape = (
        draw(st.sampled_from(["int16", "float64"])),
        draw(st.sampled_from([(), (3,)])),
    )
    parts = draw(
        st.lists(raggeds(dtypes=[dtype], item_shapes=[item_shape]), min_size=1, max_size=4)
    )
    rows = min(len(part) for part in parts)
    return [part[:rows] for part in parts]


@given(parts_of_equal_rows())
def test_concat_is_the_reference(parts):
    rows, masks = zip(*(rows_of(part) for part in parts), strict=True)
    joined = rm.temporal_concat(parts)
    expected = reference.temporal_concat(rows), reference.temporal_concat(masks)
    assert rows_of(joined) == expected
    assert (joined.mask is None) == all(part.mask is None for part in parts)
    rm.Ragged(joined.values, joined.starts, joined.lengths, joined.mask)


@given(parts_of_equal_rows(), st.booleans())
def test_concat_of_arrays_is_the_reference(parts, masked):
    padded = [part.to_padded() for part in parts]
    padded[0] = rm.Padded(padded[0].values)
    if not masked:
        padded = [rm.Padded(part.values) for part in padded]
    rows, masks = zip(*(padded_rows_of(part) for part in padded), strict=True)
    joined = rm.temporal_concat(padded)
    assert padded_rows_of(joined)[0] == reference.temporal_concat(rows)
    assert padded_rows_of(joined)[1] == reference.temporal_concat(masks)
    assert (joined.mask is None) == (not masked or len(padded) == 1)
    dense = rm.temporal_concat([part.values for part in padded])
    np.testing.assert_array_equal(dense.view(np.uint8), joined.values.view(np.uint8))


def test_a_part_without_a_mask_counts_as_kept():
    joined = rm.temporal_concat(
        [rm.Ragged([1, 2], [0], [2]), rm.Ragged([3, 4], [0], [2], [False, True])]
    )
    assert joined[0].tolist() == [1, 2, None, 4]


def test_dtypes_become_the_common_one():
    joined = rm.temporal_concat([rm.Ragged.from_rows([[1]]), rm.Ragged.from_rows([[0.5]])])
    assert (joined.dtype, joined[0].tolist()) == (np.float64, [1.0, 0.5])
    dense = rm.temporal_concat([np.ones((1, 1), np.int8), np.ones((1, 2), np.float32)])
    assert dense.dtype == np.float32


def test_parts_out_of_order_are_copied():
    ragged = rm.Ragged([1, 2, 3, 4], [0], [4])
    first, second = rm.temporal_split(ragged)
    assert rm.temporal_concat([second, first])[0].tolist() == [3, 4, 1, 2]
    assert rm.temporal_concat([first, first])[0].tolist() == [1, 2, 1, 2]
    other = rm.Ragged(ragged.values, second.starts, second.lengths, [True] * 3 + [False])
    assert rm.temporal_concat([first, other])[0].tolist() == [1, 2, 3, None]


ONE_ROW, TWO_ROWS = rm.Ragged.from_rows([[1]]), rm.Ragged.from_rows([[1], [2]])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "at least one part"),
        ([ONE_ROW, TWO_ROWS], r"part 1 has 2 rows of steps of shape \(\), and part 0 1"),
        ([ONE_ROW, rm.Ragged.from_rows([[[1]]])], r"part 1 has 1 rows of steps of shape \(1,\)"),
        ([ONE_ROW, ONE_ROW.to_padded()], "parts must be of one kind; got Padded, Ragged"),
        ([np.zeros((1, 1)), rm.Padded(np.zeros((1, 1)))], "of one kind; got Padded, ndarray"),
        ([np.zeros((1, 1)), np.zeros((2, 1))], r"part 1 has shape \(2, 1\), and part 0 \(1, 1\)"),
        ([np.zeros((1, 1)), np.zeros((1, 1, 1))], "part 1 has shape"),
        ([np.zeros(3)], r"part 0 must be .* got an array of shape \(3,\)"),
        (TWO_ROWS, "takes a list of parts; got one Ragged"),
        (TWO_ROWS.to_padded(), "takes a list of parts; got one Padded"),
        (
            [ONE_ROW, rm.Ragged(np.zeros(1, "M8[s]"), [0], [1])],
            r"no dtype in common: datetime64\[s\], int64",
        ),
        ([np.zeros((1, 1)), np.zeros((1, 1), "M8[s]")], "no dtype in common"),
    ],
)
def test_parts_that_disagree_are_refused(parts, message):
    with pytest.raises(rm.RagmaskError, match=message):
        rm.temporal_concat(parts)


@pytest.mark.parametrize("parts", [1, 2])
def test_arrays_whose_rows_are_spaced_wider_are_joined_by_copy(parts):
    values = np.arange(48.0).reshape(3, 8, 2)[:, 1:7]
    mask = np.random.default_rng(0).random((3, 8))[:, 1:7] < 0.5
    joined = rm.temporal_concat([values] * parts)
    np.testing.assert_array_equal(joined, np.concatenate([values] * parts, axis=1))
    padded = rm.temporal_concat([rm.Padded(values, mask)] * parts)
    np.testing.assert_array_equal(padded.values, joined)
    np.testing.assert_array_equal(padded.mask, np.concatenate([mask] * parts, axis=1))
    assert joined.flags.writeable
    assert not np.shares_memory(joined, values)
