"""`pad_sequences` of Arrow's lists: what the same call gives for Python's lists, errors too."""

import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm

LAYOUTS = [
    pa.list_,
    pa.large_list,
    pa.list_view,
    pa.large_list_view,
    lambda item: pa.list_(item, 3),
]
NUMBERS = {
    pa.int8(): st.integers(-128, 127),
    pa.uint64(): st.integers(0, 2**64 - 1) | st.integers(0, 9),
    pa.int64(): st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
    pa.float32(): st.floats(width=32) | st.sampled_from([1.5, -2.5, 3.0]),
    pa.float64(): st.floats() | st.sampled_from([1.5, -2.5, 3.0]),
    pa.bool_(): st.booleans(),
    pa.string(): st.text("ab", max_size=3),
    pa.list_(pa.int32(), 2): st.lists(st.integers(0, 9), min_size=2, max_size=2),
    pa.list_(pa.int32()): st.lists(st.integers(0, 9), min_size=2, max_size=2),
}


@st.composite
def arrays(draw):
    """Lists of every layout and kind of item, with null lists, sliced and in chunks."""
    item = draw(st.sampled_from(list(NUMBERS)))
    layout = draw(st.sampled_from(LAYOUTS))
    is_fixed = layout is LAYOUTS[-1]
    row = st.lists(NUMBERS[item], min_size=3 * is_fixed, max_size=3 if is_fixed else 5)
    rows = draw(st.lists(st.none() | row, max_size=5))
    array = pa.array(rows, layout(item))
    array = array.slice(draw(st.integers(0, len(array))))
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(array)))
        array = pa.chunked_array([array.slice(0, cut), array.slice(cut)], array.type)
    return array


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "maxlen": st.none() | st.integers(-1, 7),
        "dtype": st.sampled_from(
            ["int32", "int8", "uint8", "float32", "float64", "bool", "complex64", object, "<U4"]
        ),
        "padding": st.sampled_from(["pre", "post", "post", "left"]),
        "truncating": st.sampled_from(["pre", "post", "post", "right"]),
        "value": st.sampled_from([0, 1.0, -1, 2.5, "x", np.nan, None, [1, 2]]),
    },
)


def outcome(sequences, options):
    """The array, or the class of the error and its first words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of numbers that overflow
            padded = rm.pad_sequences(sequences, **options)
    except (ValueError, TypeError, OverflowError) as error:
        return type(error), str(error)
    return padded.dtype, padded.shape, repr(padded.tolist())


@given(array=arrays(), options=OPTIONS)
def test_arrow_is_padded_as_lists_are(array, options):
    lists = [[] if row is None else row for row in array.to_pylist()]
    assert outcome(array, options) == outcome(lists, options)


def test_nulls():
    array = pa.array([[1, None], None, [3]])
    with pytest.raises(rm.InvalidInputError, match=r"row 0 holds a null.*to_padded\(\)"):
        rm.pad_sequences(array)
    assert rm.pad_sequences(array, maxlen=1, truncating="post").tolist() == [[1], [0], [3]]
    assert rm.pad_sequences(array, dtype=object, value="-").tolist() == [
        [1, None],
        ["-", "-"],
        ["-", 3],
    ]


def test_words():
    array = pa.chunked_array([[["a", "b"], ["c"]], [None, ["d"]]], pa.list_(pa.string_view()))
    padded = rm.pad_sequences(array, maxlen=2, dtype=object, value="", padding="post")
    assert padded.tolist() == [["a", "b"], ["c", ""], ["", ""], ["d", ""]]
    with pytest.raises(rm.InvalidInputError, match="dtype=object"):
        rm.pad_sequences(array, value="")
