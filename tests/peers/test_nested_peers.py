"""Rows of rows as other libraries see them: awkward's arrays, polars' and DuckDB's columns."""

import awkward as ak
import duckdb
import numpy as np
import polars
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.interop import torch as rt
from tests.strategies import nesteds

WHOLE = nesteds(dtypes=("int16", "float64"), item_shapes=[()], masked=(False,), tame=True)


@given(nesteds(dtypes=("int16", "float64", "bool"), item_shapes=[()], tame=True))
def test_awkward_reads_and_writes_the_same(nested):
    theirs = ak.from_arrow(nested.to_arrow())
    assert theirs.to_list() == nested.to_arrow().to_pylist()
    again = rm.Ragged.from_arrow(ak.to_arrow(theirs, extensionarray=False))
    assert again.to_arrow().to_pylist() == theirs.to_list()
    extended = rm.Ragged.from_arrow(ak.to_arrow(theirs, extensionarray=True))
    assert extended.inner.compact().values.tolist() == again.inner.compact().values.tolist()


@given(WHOLE, st.sampled_from(["sum", "mean", "max"]))
def test_pooling_is_awkwards(nested, how):
    theirs = ak.from_arrow(nested.to_arrow())
    reduce = {"sum": ak.sum, "mean": ak.mean, "max": ak.max}[how]
    inner = ak.fill_none(ak.nan_to_num(reduce(theirs, axis=2)), 0)
    pooled = rm.temporal_pool(nested, how)
    np.testing.assert_allclose(pooled.values, ak.to_numpy(ak.flatten(inner)))
    outer = ak.fill_none(ak.nan_to_num(reduce(inner, axis=1)), 0)
    np.testing.assert_allclose(rm.temporal_pool(pooled, how), ak.to_numpy(outer))


@given(WHOLE, st.integers(0, 4), st.integers(0, 4))
def test_truncating_and_padding_are_awkwards(nested, outer, inner):
    theirs = ak.from_arrow(nested.to_arrow())[:, :outer, :inner]
    ours = nested.truncate(outer)
    ours = ours.with_inner(ours.inner.truncate(inner))
    assert ours.to_arrow().to_pylist() == theirs.to_list()
    values, mask = nested.to_padded((outer, inner))
    assert values[mask].tolist() == ak.flatten(theirs, axis=None).to_list()


def test_polars_and_duckdb_read_what_we_write():
    rows = [[[1, 2], None], None, [], [[3, None]]]
    series = polars.Series("x", rows)
    nested = rm.Ragged.from_arrow(series)
    assert type(nested) is rm.NestedRagged
    assert polars.Series(nested.to_arrow()).to_list() == rows
    assert polars.Series("x", nested).to_list() == rows
    relation = duckdb.from_arrow(pa.table({"x": nested}))
    assert relation.fetchall() == [(row,) for row in rows]


@pytest.mark.parametrize(
    "function",
    [
        rt.RaggedTensor.from_ragged,
        rt.to_jagged,
        rt.to_packed,
        rt.to_padded,
        rt.temporal_softmax,
    ],
)
def test_torch_refuses_rows_of_rows(function):
    with pytest.raises(rm.UnsupportedTypeError, match="NestedRagged"):
        function(rm.NestedRagged.from_rows([[[1.0], [2.0]]]))


def test_tensors_of_a_batch_leave_rows_of_rows_as_they_are():
    nested = rm.NestedRagged.from_rows([[[1.0], [2.0]]])
    assert rt.to_tensors({"x": nested})["x"] is nested
