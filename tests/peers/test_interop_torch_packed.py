"""Ragged to torch's PackedSequence, and back: equal to torch's own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
)

import ragmask as rm
from ragmask.interop.torch import from_packed, to_packed, to_padded
from tests import reference
from tests.peers.tensors import RAGGEDS, packed_by_hand
from tests.strategies import rows_of, steps_of

FULL_RAGGEDS = RAGGEDS.map(lambda ragged: ragged[ragged.lengths > 0]).filter(len)


def assert_same_packing(packed, expected):
    """All but the order of equally long rows, which torch leaves open."""
    assert packed.data.dtype == expected.data.dtype
    assert torch.equal(packed.batch_sizes, expected.batch_sizes)
    rows = torch.arange(len(packed.sorted_indices))
    assert torch.equal(packed.sorted_indices[packed.unsorted_indices], rows)
    for ours, theirs in zip(
        pad_packed_sequence(packed), pad_packed_sequence(expected), strict=True
    ):
        assert steps_of(ours.numpy()) == steps_of(theirs.numpy())


@given(FULL_RAGGEDS)
def test_packing_is_torchs(ragged):
    packed = to_packed(ragged)
    values, lengths = to_padded(ragged)[0], torch.from_numpy(ragged.lengths.copy())
    expected = pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
    assert_same_packing(packed, expected)


@given(FULL_RAGGEDS)
def test_packing_is_the_reference(ragged):
    packed = to_packed(ragged)
    order, times = reference.pack(rows_of(ragged)[0])
    assert packed.sorted_indices.tolist() == order
    assert packed.batch_sizes.tolist() == [len(steps) for steps in times]
    assert steps_of(packed.data.numpy()) == [step for steps in times for step in steps]


def test_rows_of_different_lengths_are_packed_bit_for_bit_as_torch_does():
    lengths = np.random.default_rng(0).permutation(np.arange(1, 200))
    steps = np.random.default_rng(1).random((int(lengths.sum()), 5))
    ragged = rm.Ragged(steps, np.cumsum(lengths) - lengths, lengths)
    rows = [torch.from_numpy(row.copy()) for row in ragged]
    for ours, theirs in zip(
        to_packed(ragged), pack_sequence(rows, enforce_sorted=False), strict=True
    ):
        assert torch.equal(ours, theirs)


@given(FULL_RAGGEDS)
def test_packed_and_back(ragged):
    again = from_packed(to_packed(ragged))
    assert rows_of(again) == rows_of(ragged)
    assert (again.dtype, again.item_shape) == (ragged.dtype, ragged.item_shape)
    assert again.is_compact


@given(FULL_RAGGEDS, st.booleans())
def test_from_packed_reads_torchs_own(ragged, in_order):
    if in_order:
        ragged = ragged[np.argsort(-ragged.lengths)]
    rows = [torch.from_numpy(row.copy()) for row in ragged]
    packed = pack_sequence(rows, enforce_sorted=in_order)
    assert (packed.unsorted_indices is None) == in_order
    assert rows_of(from_packed(packed)) == rows_of(ragged)


def test_an_lstm_takes_what_we_pack():
    torch.manual_seed(0)
    ragged = rm.Ragged(np.random.default_rng(0).random((12, 3)), [0, 7, 2], [2, 5, 5])
    module = torch.nn.LSTM(3, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        outputs, _ = module(to_packed(ragged))
    ours = rm.lstm(ragged, rm.LSTMWeights.from_torch(module.state_dict())).outputs
    for row, expected in zip(from_packed(outputs), ours, strict=True):
        np.testing.assert_allclose(row, expected, 1e-12, 1e-12)


def test_packing_steps_without_features():
    packed = to_packed(rm.Ragged(np.zeros((3, 0)), [0, 1], [1, 2]))
    assert packed.data.shape == (3, 0)
    assert from_packed(packed).lengths.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1], [], [2], []], r"row 1 is empty, .* r\[r.lengths > 0\]"),
        ([[]], "row 0 is empty"),
        ([], "one row at least; the batch has none"),
    ],
)
def test_what_cannot_be_packed_is_named(rows, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        to_packed(rm.Ragged.from_rows(rows))


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (packed_by_hand([2, 3, 1]), "batch_sizes grow after step 0, from 2 to 3"),
        (packed_by_hand([9, 9]), "batch_sizes count 18 steps, and packed.data has 6"),
        (packed_by_hand([3, 2]), "batch_sizes count 5 steps, and packed.data has 6"),
        (packed_by_hand([6, 0]), "batch_sizes must be 1 or more; got 0"),
        (packed_by_hand([7, -1]), "batch_sizes must be 1 or more; got -1"),
        (packed_by_hand([2**62] * 4), r"more than 2\*\*63 steps"),
        (packed_by_hand([[3, 3]]), "batch_sizes must have one dimension"),
        (packed_by_hand([3.0, 3.0]), "batch_sizes must be integers"),
        (packed_by_hand([3, 3], [0, 1]), "unsorted_indices must name each of 3 rows once"),
        (packed_by_hand([3, 3], [0, 1, 1]), "unsorted_indices must name each of 3 rows once"),
        (packed_by_hand([3, 3], [0, 1, 2**40]), "unsorted_indices must name each of 3 rows"),
        (packed_by_hand([3, 3], [0, 1, -1]), "unsorted_indices must name each of 3 rows"),
        (packed_by_hand([1], data=torch.tensor(5)), "packed.data is a single value"),
    ],
)
def test_a_hostile_packed_sequence_is_refused(packed, message):
    with pytest.raises(rm.RagmaskError, match=message):
        from_packed(packed)


def test_a_packed_sequence_of_nothing():
    nothing = PackedSequence(torch.empty(0, 2), torch.empty(0, dtype=torch.int64))
    assert len(from_packed(nothing)) == 0


@pytest.mark.parametrize("other", [torch.zeros(2, 3), (torch.zeros(2), torch.tensor([2])), None])
def test_only_a_packed_sequence_is_one(other):
    with pytest.raises(rm.UnsupportedTypeError, match="from_packed takes a PackedSequence; got"):
        from_packed(other)
