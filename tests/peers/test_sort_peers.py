"""Steps in order, against Awkward Array's sorts of lists."""

import awkward as ak
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests.strategies import raggeds

LAYOUTS = raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=90, masked=(False,), compact=True)


@given(LAYOUTS, st.sampled_from(["float32", "float64", "int64", "int16", "uint64"]), st.booleans())
def test_sorted_lists_are_awkwards(ragged, dtype, descending):
    numbers = np.random.default_rng(0).integers(0, 30, len(ragged.values)).astype(dtype)
    batch = ragged.with_values(numbers)
    theirs = ak.unflatten(numbers, batch.lengths)
    how = {"axis": 1, "ascending": not descending, "stable": True}
    found = rm.temporal_sort(batch, descending=descending).values
    assert found.tolist() == ak.flatten(ak.sort(theirs, **how)).to_list()
    places = rm.temporal_argsort(batch, descending=descending).values
    assert places.tolist() == ak.flatten(ak.argsort(theirs, **how)).to_list()


@pytest.mark.parametrize("descending", [False, True])
def test_lists_with_nulls_keep_their_rows(descending):
    lists = [[3.0, None, 1.0], None, [], [2.0, 2.0, None, None]]
    batch = rm.Ragged.from_arrow(ak.to_arrow(ak.Array(lists), extensionarray=False))
    for row, numbers in zip(rm.temporal_sort(batch, descending=descending), lists, strict=True):
        kept = [number for number in numbers or [] if number is not None]
        theirs = ak.sort(ak.Array([kept]), axis=1, ascending=not descending)[0].to_list()
        assert np.ma.compressed(row).tolist() == theirs
