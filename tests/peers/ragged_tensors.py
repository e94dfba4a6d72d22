"""RaggedTensors for the tests of ragmask.interop.torch, and torch's own functions row by row."""

import itertools

import torch

import ragmask.interop.torch as rt

LENGTHS = [4, 0, 7, 1, 3, 0]


def ragged_of(lengths=LENGTHS, item=(3,), dtype=torch.float64, seed=0, mask=None, grad=True):
    """Random rows; mask: the share of steps that are kept, or None."""
    draws = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    n = int(offsets[-1])
    values = torch.randn((n, *item), generator=draws, dtype=dtype).requires_grad_(grad)
    kept = None if mask is None else torch.rand(n, generator=draws) < mask
    return rt.RaggedTensor(values, offsets, kept)


def rows_of(x, values=None):
    """Each row's kept steps, by torch."""
    values = x.values if values is None else values
    bounds = x.offsets.tolist()
    spans = [slice(*pair) for pair in itertools.pairwise(bounds)]
    return [values[s] if x.mask is None else values[s][x.mask[s]] for s in spans]


def spread(x, rows):
    """Values of all steps, (n_steps, *item), of those of the kept steps; 0 elsewhere."""
    kept = torch.cat(rows)
    if x.mask is None:
        return kept
    zeros = kept.new_zeros((x.n_steps, *kept.shape[1:]))
    return zeros.index_put((x.mask,), kept)


def gradients(outputs, inputs, seed=0):
    """Of random weights on every output, so that no gradient is like another."""
    draws = torch.Generator().manual_seed(seed)
    total = sum(
        (one.double() * torch.randn(one.shape, generator=draws, dtype=torch.float64)).sum()
        for one in outputs
    )
    grads = torch.autograd.grad(total, inputs, allow_unused=True)
    return [
        torch.zeros_like(one) if grad is None else grad
        for one, grad in zip(inputs, grads, strict=True)
    ]


def assert_close(ours, theirs, tolerance=1e-11):
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def assert_same_bits(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
