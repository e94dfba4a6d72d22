"""Batches from other libraries' memory, through the Arrow PyCapsule interface."""

import duckdb
import numpy as np
import pandas
import polars
import pytest

import ragmask as rm

ROWS = [[1, 2, 3], [], [4], [5, 6]]
NULLS = [[1, None, 3], None, [4]]


def to_pylist(ragged):
    return [np.ma.asarray(row).tolist() for row in ragged]


@pytest.mark.parametrize(
    "dtype", [polars.Int8, polars.UInt64, polars.Float32, polars.Int64], ids=str
)
def test_a_polars_series(dtype):
    series = polars.Series("ids", ROWS, dtype=polars.List(dtype))
    ragged = rm.Ragged.from_arrow(series)
    assert to_pylist(ragged) == ROWS
    assert ragged.dtype == series.explode(empty_as_null=False).to_numpy().dtype


def test_nulls_of_polars():
    assert to_pylist(rm.Ragged.from_arrow(polars.Series(NULLS))) == [[1, None, 3], [], [4]]
    with pytest.raises(rm.InvalidInputError, match="row 1 is null"):
        rm.Ragged.from_arrow(polars.Series(NULLS), nulls="error")


def test_a_column_of_a_polars_frame():
    frame = polars.DataFrame({"ids": ROWS, "label": [0, 1, 0, 1]})
    assert to_pylist(rm.Ragged.from_arrow(frame["ids"])) == ROWS
    assert to_pylist(rm.Ragged.from_arrow(frame.select("ids"))) == ROWS
    assert to_pylist(rm.Ragged.from_arrow(frame[1:3]["ids"])) == ROWS[1:3]
    with pytest.raises(rm.UnsupportedTypeError, match="columns ids, label: pass one of them"):
        rm.Ragged.from_arrow(frame)


def test_chunks_of_polars():
    series = polars.concat([polars.Series(ROWS), polars.Series([[7], []])], rechunk=False)
    assert series.n_chunks() == 2
    assert to_pylist(rm.Ragged.from_arrow(series)) == [*ROWS, [7], []]


def test_an_array_of_polars_is_a_row_of_steps():
    vectors = polars.Series([[1.0, 2.0], [3.0, 4.0]], dtype=polars.Array(polars.Float32, 2))
    assert to_pylist(rm.Ragged.from_arrow(vectors)) == [[1.0, 2.0], [3.0, 4.0]]
    lists = polars.Series([[[1, 2], [3, 4]], []], dtype=polars.List(polars.Array(polars.Int16, 2)))
    assert rm.Ragged.from_arrow(lists).item_shape == (2,)


def test_polars_reads_what_we_write():
    ragged = rm.Ragged([1, 2, 3, 4], [2, 0], [2, 2], [True, True, True, False])
    assert polars.Series(ragged.to_arrow()).to_list() == [[3, None], [1, 2]]


@pytest.fixture
def database():
    with duckdb.connect() as connection:
        yield connection


def test_a_duckdb_result(database):
    result = database.sql("select ids from (values ([1, 2, 3]), ([]), ([4, null]), (null)) t(ids)")
    assert to_pylist(rm.Ragged.from_arrow(result)) == [[1, 2, 3], [], [4, None], []]


def test_a_duckdb_result_of_many_chunks(database):
    result = database.sql("select range(i % 7)::int[] as ids from range(10000) t(i)")
    ragged = rm.Ragged.from_arrow(result)
    assert ragged.dtype == np.int32
    assert ragged.lengths.tolist() == [row % 7 for row in range(10_000)]
    assert (ragged.values[ragged.starts[ragged.lengths > 0]] == 0).all()


def test_fixed_arrays_of_duckdb(database):
    result = database.sql("select [1, 2, 3]::float[3] as embedding from range(4)")
    assert to_pylist(rm.Ragged.from_arrow(result)) == [[1.0, 2.0, 3.0]] * 4


def test_duckdb_reads_what_we_write(database):
    import pyarrow as pa

    table = pa.table({"ids": rm.Ragged.from_rows(ROWS).to_arrow()})
    database.register("batch", table)
    assert database.sql("select len(ids) from batch").fetchall() == [(3,), (0,), (1,), (2,)]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (pandas.Series(["no", None, "maybe"]), [3, None, 1]),
        (pandas.Series(["no", "yes"], dtype=object), [3, 2]),
        (pandas.Series(["no", "yes"]).astype("category"), [3, 2]),
        (polars.Series(["no", None]), [3, None]),
        (pandas.Series([["no"], [], None]), [[3], [], []]),
        (polars.Series([["no", "yes"], None]), [[3, 2], []]),
    ],
)
def test_words_of_series(words, ids):
    encoded = rm.Vocabulary(["yes", "no"]).encode(words)
    told = encoded.to_arrow().to_pylist() if isinstance(encoded, rm.Ragged) else encoded.tolist()
    assert told == ids
    assert set(rm.Vocabulary.build(words).words) <= {"no", "yes", "maybe"}
