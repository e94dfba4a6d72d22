"""Tensors of torch for the tests of ragmask.interop.torch, and the batches that become some."""

import torch
from torch.nn.utils.rnn import PackedSequence

from tests.strategies import FLOATS, INTEGERS, raggeds

KNOWN = (*INTEGERS, *FLOATS, "complex64", "complex128", "bool")
RAGGEDS = raggeds(dtypes=KNOWN, masked=[False])


def jagged_of(values, offsets, lengths=None, **options):
    offsets = torch.tensor(offsets, device=values.device)
    lengths = None if lengths is None else torch.tensor(lengths)
    return torch.nested.nested_tensor_from_jagged(values, offsets, lengths, **options)


def packed_by_hand(sizes, unsorted=None, data=None):
    """A PackedSequence that torch has not looked at."""
    data = torch.arange(6) if data is None else data
    unsorted = None if unsorted is None else torch.tensor(unsorted)
    return PackedSequence(data, torch.tensor([1]))._replace(
        batch_sizes=torch.tensor(sizes), unsorted_indices=unsorted
    )
