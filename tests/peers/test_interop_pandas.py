"""ragmask's ops on Series of pandas, and as their methods."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import ragmask as rm
import ragmask.interop.pandas
from tests.operations import LSTM, TABLE
from tests.peers.list_columns import METHODS, MODEL, columns

LISTS = pd.ArrowDtype(pa.list_(pa.float64()))


@pytest.fixture(scope="module")
def frame():
    table = columns()
    index = [f"row {row}" for row in range(table.num_rows)]
    return table.to_pandas(types_mapper=pd.ArrowDtype).set_axis(index)


def pylist(series):
    return pa.array(series, from_pandas=True).to_pylist()


@pytest.mark.parametrize("name", METHODS)
def test_methods_keep_rows_index_and_name(frame, name):
    column, method = METHODS[name]
    made = method(frame[column].ragmask)
    assert isinstance(made, pd.Series)
    assert isinstance(made.dtype, pd.ArrowDtype)
    assert made.name == column
    assert made.index.equals(frame.index)
    assert made.isna().tolist() == frame[column].isna().tolist()
    if not name.startswith(("pad, the longest", "split, the longest", "pad of lists")):
        some = method(frame[column].iloc[10:30].ragmask)
        assert repr(pylist(some)) == repr(pylist(made.iloc[10:30]))


def test_the_values_are_those_of_the_ops(frame):
    numbers = frame["numbers"]
    assert pylist(numbers.ragmask.softmax()) == pylist(rm.temporal_softmax(numbers))
    assert (
        pylist(numbers.ragmask.pool("max"))
        == rm.temporal_pool(pa.chunked_array(numbers), "max").to_pylist()
    )


def test_masks_are_series():
    x = pd.Series([[1.0, 2.0], None, [3.0]], dtype=LISTS)
    keep = pd.Series([[True, False], None, [True]], dtype=pd.ArrowDtype(pa.list_(pa.bool_())))
    assert pylist(x.ragmask.softmax(mask=keep)) == [[1, None], None, [1]]
    assert x.ragmask.pool("sum", mask=keep).tolist() == [1, pd.NA, 3]


def test_a_frame_is_assigned_to():
    lists = pd.Series([[1.0, 3.0], [5.0]], index=[3, 1], dtype=LISTS)
    frame = pd.DataFrame({"x": lists, "y": [7, 8]})
    made = frame.assign(mean=frame["x"].ragmask.pool(), soft=lambda f: f["x"].ragmask.softmax())
    assert pylist(made["mean"]) == [2, 5]
    assert pylist(made["soft"])[1] == [1]
    assert list(made.columns) == ["x", "y", "mean", "soft"]


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 2.0], None, [], [3.0]],
        [np.array([1.0, 2.0]), None, np.array([]), np.array([3.0])],
        [(1.0, 2.0), np.nan, (), (3.0,)],
    ],
    ids=["lists", "arrays", "tuples"],
)
def test_series_of_objects(rows):
    series = pd.Series(rows, index=list("abcd"), name="x", dtype=object)
    made = rm.temporal_cumsum(series)
    assert pylist(made) == [[1, 3], None, [], [3]]
    assert (made.name, made.index.tolist()) == ("x", list("abcd"))
    assert pylist(series.ragmask.pool("sum")) == [3, None, 0, 3]
    assert pylist(series.ragmask.pad(3)) == [[1, 2, 0], None, [0, 0, 0], [3, 0, 0]]


def test_rows_picked_from_many_chunks():
    whole = pa.chunked_array([[[1.0]], [], [[2.0, 3.0], None]], pa.list_(pa.float64()))
    series = pd.Series(whole, dtype=LISTS)
    assert pylist(series.ragmask.lengths()) == [1, 2, None]
    assert pylist(series[::-1].ragmask.pool("last")) == [None, 3, 1]
    assert series.iloc[:0].ragmask.softmax().dtype == LISTS


def test_values_are_not_copied():
    values = np.arange(8.0)
    lists = rm.Ragged.from_offsets(values, [0, 3, 8]).to_arrow()
    series = pd.Series(lists, dtype=pd.ArrowDtype(lists.type))
    assert rm.ops.input.Input.of(series).rows.values.ctypes.data == values.ctypes.data
    split = rm.temporal_split(series, 1)[0]
    assert pa.chunked_array(split).chunk(0).values.buffers()[1].address == values.ctypes.data


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda f: f["row"].ragmask.softmax(),
            "one value a row and no list",
        ),
        (lambda f: f["ids"].ragmask.softmax(), "float32.*by a cast of the column"),
        (lambda f: f["ids"].ragmask.embedding(TABLE[:2]), r"id \d is outside the table"),
        (lambda f: f["numbers"].ragmask.lstm(LSTM), r"shape \(\)"),
        (lambda f: f["vectors"].ragmask.apply(MODEL), "input 'ids'"),
        (lambda f: pd.Series([["a"]]).ragmask.pool(), "strings become ids first"),
        (lambda f: pd.Series(["a", None]).ragmask.pool(), "strings become ids first"),
        (lambda f: pd.Series([[1.0], 2.0]).ragmask.pool(), "cannot mix list and non-list"),
        (lambda f: pd.Series([{1}, object()]).ragmask.pool(), "cannot be read"),
        (lambda f: pd.Series([1 + 2j]).ragmask.lengths(), "cannot be read"),
    ],
)
def test_errors(frame, call, message):
    with pytest.raises(rm.RagmaskError, match=rf"ragmask\.\w+ of Series .*{message}"):
        call(frame)
