"""Every op on Arrow's lists: what it gives on a Ragged, as lists, with nulls where nulls were."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests.arrow_lists import LISTS, lists_of
from tests.operations import FEATURES, GRU, LSTM, OPERATIONS, RNN, TABLE, marks_of

ITEMS = {"embedding": "ids", "embedding, mask_zero": "ids"}


@st.composite
def list_arrays(draw, items="vectors"):
    """Lists of ids or of vectors in any layout: sliced, chunked, with null lists and items."""
    lengths = draw(st.lists(st.integers(0, 5), max_size=6))
    offsets = np.cumsum([0, *lengths])
    n = int(offsets[-1])
    random = np.random.default_rng(draw(st.integers(0, 99)))
    kept = random.random(n) < draw(st.sampled_from([1, 0.7]))
    if items == "ids":
        whole = pa.array(random.integers(0, len(TABLE) - 1, n), mask=~kept)
    else:
        numbers = pa.array(random.standard_normal(n * FEATURES).astype(np.float32))
        whole = pa.FixedSizeListArray.from_arrays(numbers, FEATURES, mask=pa.array(~kept))
    array = lists_of(whole, offsets, draw(st.sampled_from(LISTS)))
    places = draw(st.lists(st.none() | st.integers(0, max(0, len(lengths) - 1)), max_size=6))
    if pa.types.is_list(array.type) and lengths and places:
        array = array.take(pa.array(places, pa.int64()))  # null lists, and rows twice
    first = draw(st.integers(0, len(array)))
    array = array.slice(first)
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(array)))
        array = pa.chunked_array([array.slice(0, cut), array.slice(cut)], array.type)
    return array


def null_rows(array):
    return [not valid for valid in array.is_valid().to_pylist()]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in OPERATIONS])
@given(data=st.data())
def test_an_op_gives_lists_for_lists(name, data):
    array = data.draw(list_arrays(ITEMS.get(name, "vectors")))
    steps, arrays = OPERATIONS[name].run(array)
    expected, of_rows = OPERATIONS[name].run(rm.Ragged.from_arrow(array))
    nulls = null_rows(array)
    if expected is not None:
        assert isinstance(steps, pa.Array)
        steps.validate(full=True)
        assert repr(steps.to_pylist()) == repr(expected.to_arrow().to_pylist())
        assert null_rows(steps) == nulls
    for got, wanted in zip(arrays, of_rows, strict=True):
        got.validate(full=True)
        rows = [None if null else row for null, row in zip(nulls, wanted.tolist(), strict=True)]
        assert repr(got.to_pylist()) == repr(rows)


@pytest.mark.parametrize("make_type", [*LISTS, lambda items: pa.list_(items, 3)])
def test_the_list_type_stays(make_type):
    array = pa.array([[1.0, 2.0, 3.0], None], make_type(pa.float64()))
    assert rm.temporal_softmax(array).type == array.type
    assert rm.temporal_cumsum(array).to_pylist() == [[1, 3, 6], None]
    assert rm.temporal_conv(array, [1, 1]).to_pylist() == [[1, 3, 5], None]
    assert rm.temporal_pool(array, "max").to_pylist() == [3, None]


@pytest.mark.parametrize(
    "op", [rm.masking, rm.temporal_softmax, rm.temporal_cumsum, rm.temporal_flip, rm.temporal_sort]
)
def test_lists_of_lists_of_one_size_are_lists_of_vectors(op):
    array = pa.array([[[1.0, 2.0], [0.0, 0.0]], None, [], [[3.0, 4.0]]])
    fixed = array.cast(pa.list_(pa.list_(pa.float64(), 2)))
    assert op(array).type == array.type
    assert op(array).to_pylist() == op(fixed).to_pylist()
    last = rm.lstm(array, rm.LSTMWeights(np.ones((2, 4)), np.ones((1, 4)), np.zeros(4)))
    assert last.outputs.type == array.type
    assert last.h.type == pa.list_(pa.float64(), 1)
    assert last.h.is_null().to_pylist() == [False, True, False, False]


def test_lists_that_are_ragged_twice_name_the_row():
    array = pa.array([[[1.0]], [[1.0], [1.0, 2.0]]])
    with pytest.raises(rm.InvalidInputError, match=r"row 1 has a step of 2 .*first has 1"):
        rm.temporal_softmax(array)


@pytest.mark.parametrize("name", ["values", "list"])
def test_values_end_to_end_are_read_where_they_lie(name):
    values = np.arange(6, dtype=np.float64)
    whole = pa.py_buffer(values)
    items = pa.Array.from_buffers(pa.float64(), 6, [None, whole])
    array = lists_of(items, [0, 2, 2, 6])
    if name == "list":  # a slice begins in the middle
        array = array.slice(1)
    seen = rm.ops.input.Input.of(array).rows.values
    assert whole.address <= seen.ctypes.data < whole.address + whole.size
    split = rm.temporal_split(array, 1)[0]
    assert split.values.buffers()[1].address == seen.ctypes.data


def test_states_come_back_as_they_went_out():
    array = pa.array([[[1.0] * FEATURES], None], pa.list_(pa.list_(pa.float32(), FEATURES)))
    for op, weights in ((rm.lstm, LSTM), (rm.gru, GRU), (rm.rnn, RNN)):
        _, *states = op(array, weights)
        again = op(array, weights, initial_state=tuple(states))
        bare = [np.ma.filled(rm.arrow.read_scalars(state), 0) for state in states]
        expected = op(rm.Ragged.from_arrow(array), weights, initial_state=tuple(bare))
        assert again.h[0].as_py() == expected.h[0].tolist()
        assert again.h[1].as_py() is None


def test_masks_may_be_lists_too():
    x = pa.array([[1.0, 2.0], None, [3.0]])
    mask = pa.array([[True, False], None, [True]])
    assert rm.temporal_softmax(x, mask=mask).to_pylist() == [[1, None], None, [1]]
    ragged = rm.Ragged.from_arrow(x)
    assert rm.temporal_softmax(ragged, mask=mask).to_arrow().to_pylist() == [[1, None], None, [1]]
    with pytest.raises(rm.InvalidInputError, match="row"):
        rm.temporal_softmax(x, mask=pa.array([[True], None, [True]]))


def test_parts_are_split_and_joined():
    array = pa.array([[1, 2, 3, 4], None, [5], [6, None, 7]], pa.large_list(pa.int16()))
    parts = rm.temporal_split(array)
    assert [part.to_pylist() for part in parts] == [
        [[1, 2], None, [5], [6, None]],
        [[3, 4], None, [], [7]],
    ]
    assert {part.type for part in parts} == {array.type}
    assert rm.temporal_concat(parts).equals(array)
    other = pa.array([[9], [8], None, []], pa.large_list(pa.int16()))
    joined = rm.temporal_concat([array, other])
    assert joined.to_pylist() == [[1, 2, 3, 4, 9], [8], [5], [6, None, 7]]
    with pytest.raises(rm.UnsupportedTypeError, match="one kind; got Arrow, Ragged"):
        rm.temporal_concat([array, rm.Ragged.from_arrow(array)])


def test_out_is_written_to():
    array = pa.array([[1.0, 1.0], None, [3.0]])
    out = np.empty(3)
    assert rm.temporal_softmax(array, out=out).to_pylist() == [[0.5, 0.5], None, [1]]
    assert out.tolist() == [0.5, 0.5, 1]


class Capsules:
    """What offers an array in one way alone."""

    def __init__(self, array, names):
        for name in names:
            setattr(self, name, getattr(array, name))


@pytest.mark.parametrize("name", ["__arrow_c_array__", "__arrow_c_stream__"])
def test_whatever_offers_arrow_is_taken(name):
    array = pa.array([[1.0, 1.0], None])
    source = array if name.endswith("array__") else pa.chunked_array([array])
    given = Capsules(source, [name])
    assert rm.temporal_softmax(given).to_pylist() == [[0.5, 0.5], None]
    table = pa.table({"x": array})
    assert rm.temporal_pool(table).to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pa.array([1, 2]), "one value a row and no list"),
        (pa.array([["a"]]), "strings become ids first"),
        (pa.array(["a"]), "strings become ids first"),
        (pa.array([[{"a": 1}]]), "several fields"),
        (pa.table({"a": [1], "b": [2]}), "a table of the columns a, b: pass one of them"),
        (pa.array([[b"a"]]), "lists of numbers"),
        (pa.array([[[[1.0]]]]), "ragged 3 times"),
    ],
)
@pytest.mark.parametrize(
    "op",
    [
        rm.temporal_softmax,
        rm.temporal_pool,
        rm.temporal_cumsum,
        lambda x: rm.temporal_conv(x, [1.0]),
        rm.temporal_flip,
        rm.temporal_argsort,
        lambda x: rm.temporal_topk(x, 1),
        rm.temporal_split,
        rm.masking,
        lambda x: rm.embedding(x, TABLE),
        lambda x: rm.lstm(x, LSTM),
        lambda x: rm.temporal_concat([x]),
    ],
)
def test_what_no_op_takes_names_from_arrow(op, array, message):
    with pytest.raises(rm.UnsupportedTypeError, match=rf"Ragged\.from_arrow.*{message}"):
        op(array)


def test_broken_arrays_are_refused():
    items = pa.array([1.0, 2.0])
    broken = pa.Array.from_buffers(
        pa.list_(pa.float64()),
        2,
        [None, pa.py_buffer(np.array([0, 9, 2], np.int32))],
        children=[items],
    )
    with pytest.raises(rm.InvalidInputError, match=r"Ragged\.from_arrow"):
        rm.temporal_softmax(broken)
