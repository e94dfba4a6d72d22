"""Pools, repeated values, and rows joined, thinned and looked into, as Awkward and torch do."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
import torch

import ragmask as rm

LENGTHS = np.array([3, 0, 7, 1, 40, 0, 12])
VALUES = np.random.default_rng(0).standard_normal(LENGTHS.sum())
ROWS = rm.Ragged.from_offsets(VALUES, [0, *LENGTHS.cumsum()])
MASK = np.random.default_rng(1).random(len(VALUES)) < 0.7
MASKED = rm.Ragged(VALUES, ROWS.starts, LENGTHS, MASK)
BATCHES = pytest.mark.parametrize("batch", [ROWS, MASKED], ids=["whole", "masked"])


def of(ragged):
    """Awkward's array of the same rows, None where a step is masked."""
    return ak.from_arrow(ragged.to_arrow().cast(pa.large_list(pa.float64())))


@BATCHES
@pytest.mark.parametrize(
    ("how", "function", "nothing"),
    [
        ("min", ak.min, 0),
        ("max", ak.max, 0),
        ("std", ak.std, 0),
        ("argmax", ak.argmax, -1),
        ("count", ak.count, 0),
        ("sum", ak.sum, 0),
    ],
)
def test_pools_are_awkwards(batch, how, function, nothing):
    expected = ak.to_numpy(ak.fill_none(ak.nan_to_num(function(of(batch), axis=1)), nothing))
    np.testing.assert_allclose(rm.temporal_pool(batch, how), expected, 1e-12, 1e-12)


@BATCHES
def test_logarithms_are_torchs(batch):
    kept = batch.drop_masked()
    expected = [torch.from_numpy(row.copy()).logsumexp(0).item() for row in kept]
    np.testing.assert_allclose(rm.temporal_pool(batch, "logsumexp"), expected, 1e-12)


def test_minima_are_torchs_segments():
    expected = torch.segment_reduce(
        torch.from_numpy(VALUES), "min", lengths=torch.from_numpy(LENGTHS), initial=np.inf
    )
    found = rm.temporal_pool(ROWS, "min")
    np.testing.assert_array_equal(found, np.where(LENGTHS > 0, expected, 0))


def test_rows_are_dropped_joined_and_picked_as_awkward_does():
    assert MASKED.drop_masked().to_arrow().to_pylist() == ak.drop_none(of(MASKED)).to_list()
    joined = rm.concatenate([MASKED, ROWS])
    assert joined.to_arrow().to_pylist() == ak.concatenate([of(MASKED), of(ROWS)]).to_list()
    rows, steps = [0, 2, 4, 4], [-1, 6, 39, -40]
    assert ROWS[rows, steps].tolist() == ak.to_list(of(ROWS)[rows, steps])


@BATCHES
def test_values_are_repeated_as_awkward_broadcasts_them(batch):
    values = np.arange(len(batch), dtype=float)
    found = rm.temporal_repeat(values, batch)
    expected, _ = ak.broadcast_arrays(values, of(batch))
    kept = np.ones(len(VALUES), bool) if batch.mask is None else batch.mask
    assert found.lengths.tolist() == ak.num(expected).to_list()
    assert (
        found.values[kept].tolist()
        == np.asarray(ak.flatten(ak.fill_none(expected, 0)))[kept].tolist()
    )
