"""pad_sequences against keras.utils.pad_sequences itself: results and errors."""

import datetime
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.utils import pad_sequences as keras_pad_sequences

import ragmask as rm

INTS = st.integers(-(2**31), 2**31 - 1)
FLOATS = st.floats(-1e6, 1e6)
MIXED = st.one_of(INTS, FLOATS, st.booleans(), st.integers(0, 9).map(str))


def rows_of(items):
    """Lists, tuples and arrays of steps."""
    lists = st.lists(items, max_size=5)
    return lists | lists.map(tuple) | lists.map(np.array)


def batches_of(rows, least=1):
    return st.lists(rows, min_size=least, max_size=5)


PAIRS = st.lists(st.integers(-9, 9), min_size=2, max_size=2)
NUMBERS = batches_of(rows_of(INTS)) | batches_of(rows_of(FLOATS)) | batches_of(rows_of(MIXED))
NESTED = batches_of(rows_of(PAIRS)) | batches_of(st.lists(PAIRS | st.just([1]), max_size=3))
WORDS = batches_of(rows_of(st.text("abc", max_size=3)))
BATCHES = (
    NUMBERS
    | NESTED
    | WORDS
    | st.just([])
    | batches_of(rows_of(INTS)).map(tuple)
    | st.integers(0, 3).map(lambda rows: np.arange(rows * 4).reshape(rows, 4))
    | batches_of(st.just([]) | rows_of(INTS))
)
MAXLENS = st.none() | st.integers(-2, 7) | st.integers(0, 4).map(np.int64)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "maxlen": MAXLENS,
        "dtype": st.sampled_from(
            [
                "int32",
                "int64",
                "uint8",
                "float32",
                "float64",
                "complex64",
                "bool",
                object,
                "U2",
                "S3",
            ]
        ),
        "padding": st.sampled_from(["pre", "post"]),
        "truncating": st.sampled_from(["pre", "post"]),
        "value": st.sampled_from([0.0, 7, -1, 0.5, True, np.float32(2), "pad", [3, 4], 300]),
    },
)


def built_in(error):
    """ValueError for our InvalidInputError, and Keras's own errors as they are."""
    return next(base for base in error.__mro__ if not base.__module__.startswith("ragmask"))


def outcome(function, *arguments, **options):
    """What it returns, and the warnings; or the built-in error it raises, and its message."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(*arguments, **options)
        except Exception as error:
            return built_in(type(error)), str(error)
    said = {str(warning.message) for warning in caught}
    return result.dtype, result.shape, result.tolist(), said


def assert_same(sequences, **options):
    ours = outcome(rm.pad_sequences, sequences, **options)
    theirs = outcome(keras_pad_sequences, sequences, **options)
    np.testing.assert_equal(ours, theirs)


@given(NUMBERS)
def test_the_defaults(sequences):
    assert_same(sequences)


@given(BATCHES, OPTIONS)
def test_results_and_errors(sequences, options):
    assert_same(sequences, **options)


@given(NESTED, OPTIONS.filter(lambda options: options.get("dtype") in ("int64", "float32", None)))
def test_steps_of_a_shape(sequences, options):
    assert_same(sequences, **options)


@pytest.mark.parametrize(
    ("sequences", "options"),
    [
        (5, {}),
        (iter([[1]]), {}),
        ([1, 2], {}),
        ([[1], None], {}),
        ("abc", {}),
        (np.arange(3), {}),
        ([[1], [2, 3]], {"padding": "left"}),
        ([[1], [2, 3]], {"truncating": "left"}),
        ([[]], {"padding": "left", "truncating": "left"}),
        ([[1]], {"value": "pad"}),
        ([[1]], {"value": None}),
        ([[1]], {"value": [1, 2]}),
        ([[2**40]], {}),
        ([[1.5, np.nan]], {}),
        ([[1 + 2j]], {}),
        ([[1, [2]]], {}),
        ([[[1], [2, 3]]], {}),
        ([["a"]], {}),
        ([[None]], {}),
        ([[None, "a"], [{}]], {"dtype": object}),
        ([[1, 2, 3]], {"maxlen": 0}),
        ([[1, 2, 3]], {"maxlen": 0, "truncating": "post"}),
        ([[[1, 2]]], {"maxlen": 0, "truncating": "post"}),
        ([[], []], {"maxlen": 0}),
        ([[1, 2, 3]], {"maxlen": -2}),
        ([[1]], {"maxlen": 2.5}),
        ([[1]], {"dtype": "nonsense"}),
        ([range(3), range(1)], {}),
        ([np.array([[1, 2]]), np.zeros((0, 2))], {}),
        ([np.array([[1, 2]]), np.array([[1, 2, 3]])], {}),
        ([np.array(["2020-01-01"], "M8[D]")], {"dtype": "M8[D]", "value": 0}),
        ([[np.int8(1), np.float32(2.5)]], {"dtype": "float32"}),
        ([b"ab", b"c"], {"dtype": "uint8"}),
        ({1: "a"}, {}),
        ({"ab": 1, "c": 2}, {"dtype": object}),
    ],
)
def test_corners(sequences, options):
    assert_same(sequences, **options)


# -- Arrow --------------------------------------------------------------------------------

LAYOUTS = {
    "list": pa.list_,
    "large list": pa.large_list,
    "list view": pa.list_view,
    "large list view": pa.large_list_view,
}
ITEMS = st.sampled_from(
    [pa.int8(), pa.int64(), pa.uint16(), pa.float32(), pa.float64(), pa.bool_()]
)


@st.composite
def arrow_lists(draw):
    """An Arrow list array, some of whose rows are null, and Python's lists of the same."""
    item = draw(ITEMS)
    if pa.types.is_boolean(item):
        numbers = st.booleans()
    elif pa.types.is_floating(item):
        numbers = st.sampled_from([0.0, 1.5, -2.25, 1e9, 3e9, float("nan")])
    else:
        numbers = st.sampled_from([0, 1, 2, 100, 127])
    if item == pa.int64():
        numbers |= st.sampled_from([-1, 2**31, -(2**40)])
    if draw(st.booleans()):
        item, numbers = pa.list_(item, 2), st.lists(numbers, min_size=2, max_size=2)
    type_ = LAYOUTS[draw(st.sampled_from([*LAYOUTS]))](item)
    rows = draw(st.lists(st.none() | st.lists(numbers, max_size=5), max_size=6))
    first = draw(st.integers(0, len(rows)))
    cut = draw(st.integers(0, len(rows)))
    array = pa.array(rows, type_)
    if draw(st.booleans()):
        array = pa.chunked_array([array.slice(0, cut), array.slice(cut)], type_)
    return array.slice(first), [row or [] for row in array.slice(first).to_pylist()]


@given(arrow_lists(), OPTIONS)
def test_arrow_lists_are_their_python_lists(given, options):
    array, lists = given
    ours = outcome(rm.pad_sequences, array, **options)
    theirs = outcome(keras_pad_sequences, lists, **options)
    np.testing.assert_equal(ours, theirs)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([["a"], ["b", "c"], []]),
        pa.array([[[1], [2, 3]], [[4]]]),
        pa.array([[datetime.date(2024, 1, 1)], []]),
        pa.array([1, 2]),
        pa.array(["ab", "c"]),
        pa.array([[{"a": 1}]]),
        pa.array([], pa.list_(pa.int8())),
        pa.chunked_array([], pa.list_(pa.int8())),
        pa.array([[], []]),
    ],
)
@pytest.mark.parametrize("options", [{}, {"dtype": object}, {"dtype": object, "maxlen": 1}])
def test_other_arrow_arrays_too(array, options):
    theirs = outcome(keras_pad_sequences, array.to_pylist(), **options)
    np.testing.assert_equal(outcome(rm.pad_sequences, array, **options), theirs)


@pytest.mark.parametrize(
    "make",
    [
        pl.Series,
        pd.Series,
        lambda rows: pl.DataFrame({"a": rows})["a"],
        lambda rows: pd.Series(rows, dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    ],
)
@pytest.mark.parametrize("options", [{}, {"maxlen": 2}, {"maxlen": 4, "padding": "post"}])
def test_series_too(make, options):
    for rows in ([[1, 2, 3], [4]], [[1], [], [2, 3]], [[5] * 9]):
        theirs = outcome(keras_pad_sequences, rows, **options)
        np.testing.assert_equal(outcome(rm.pad_sequences, make(rows), **options), theirs)
