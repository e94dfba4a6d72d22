"""Steps in another order, and sums so far, against torch's own functions row by row."""

import pytest
import torch

import ragmask.interop.torch as rt
from ragmask import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch import custom
from tests.peers.ragged_tensors import (
    assert_close,
    assert_same_bits,
    gradients,
    ragged_of,
    rows_of,
    spread,
)

MASKS = [None, 0.6, 0.0]
ITEMS = [(), (1,), (3,), (2, 3), (0,)]
shapes = pytest.mark.parametrize("item", ITEMS)
masks = pytest.mark.parametrize("mask", MASKS)


def kept(x, values):
    """The values at kept steps: what lies at the others is no one's."""
    if x.mask is None:
        return values
    return torch.where(x.mask.view(-1, *[1] * (values.ndim - 1)), values, 0)


@masks
@shapes
def test_flip(item, mask):
    x = ragged_of(item=item, mask=mask)
    ours, theirs = rt.temporal_flip(x), spread(x, [row.flip(0) for row in rows_of(x)])
    assert ours.mask is x.mask
    assert_same_bits([ours.values], [theirs])
    assert_same_bits(gradients([ours.values], [x.values]), gradients([theirs], [x.values]))


@masks
@shapes
def test_cumsum(item, mask):
    x = ragged_of(item=item, mask=mask)
    ours, theirs = rt.temporal_cumsum(x), spread(x, [row.cumsum(0) for row in rows_of(x)])
    assert_close([kept(x, ours.values)], [theirs])
    assert_close(gradients([ours.values], [x.values]), gradients([theirs], [x.values]))


@pytest.mark.parametrize("descending", [False, True])
@masks
@shapes
def test_sort(item, mask, descending):
    """Of numbers many of which are equal."""
    x = ragged_of(item=item, mask=mask)
    x = x.with_values(x.values.detach().round().requires_grad_())
    ours, steps = (op(x, descending=descending) for op in (rt.temporal_sort, rt.temporal_argsort))
    found = [row.sort(dim=0, stable=True, descending=descending) for row in rows_of(x)]
    places = rows_of(x, torch.arange(x.n_steps) - x.offsets[:-1].repeat_interleave(x.lengths))
    sizes = [len(row) for row in places]
    at_front = torch.cat(
        [torch.arange(n) < size for n, size in zip(x.lengths.tolist(), sizes, strict=True)]
    )
    front = rt.RaggedTensor(x.values, x.offsets, None if mask is None else at_front)
    theirs = spread(front, [one.values for one in found])
    numbers = [place[one.indices] for place, one in zip(places, found, strict=True)]
    assert (ours.mask is None) if mask is None else ours.mask.equal(at_front)
    assert_same_bits([ours.values, steps.values], [theirs, spread(front, numbers)])
    assert_close(gradients([ours.values], [x.values]), gradients([theirs], [x.values]))


@pytest.mark.parametrize("k", [0, 1, 3, 50])
@masks
@shapes
def test_topk(item, mask, k):
    x = ragged_of(item=item, mask=mask)
    values, steps = rt.temporal_topk(x, k)
    rows = rows_of(x)
    places = rows_of(x, torch.arange(x.n_steps) - x.offsets[:-1].repeat_interleave(x.lengths))
    found = [row.topk(min(k, len(row)), 0) for row in rows]
    assert values.lengths.tolist() == [min(k, len(row)) for row in rows]
    theirs = torch.cat([one.values for one in found])
    numbers = [place[one.indices] for place, one in zip(places, found, strict=True)]
    assert_same_bits([values.values, steps.values], [theirs, torch.cat(numbers)])
    assert_close(gradients([values.values], [x.values]), gradients([theirs], [x.values]))


def test_a_nan_is_the_largest_as_in_torch():
    row = torch.tensor([1.0, torch.nan, 3.0, torch.inf, torch.nan])
    x = rt.RaggedTensor(row, torch.tensor([0, 5]))
    values, steps = rt.temporal_topk(x, 3)
    theirs = row.topk(3)
    assert_same_bits([values.values], [theirs.values])
    assert steps.values.tolist() == [1, 4, 3]
    for descending in (False, True):
        ours = rt.temporal_sort(x, descending=descending).values
        assert_same_bits([ours], [row.sort(descending=descending, stable=True).values])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int16, torch.bool])
def test_other_dtypes(dtype):
    x = rt.RaggedTensor(torch.tensor([1, 0, 2, 1, 1]).to(dtype), torch.tensor([0, 3, 5]))
    assert rt.temporal_flip(x).values.equal(x.values[[2, 1, 0, 4, 3]])
    assert rt.temporal_sort(x).values.equal(x.values[[1, 0, 2, 3, 4]])
    sums = rt.temporal_cumsum(x).values
    assert sums.dtype == (dtype if dtype.is_floating_point else torch.int64)
    assert sums.tolist() == ([1, 1, 3, 1, 2] if dtype != torch.bool else [1, 1, 2, 1, 2])


OPS = {
    "flip": lambda x: (rt.temporal_flip(x).values,),
    "cumsum": lambda x: (rt.temporal_cumsum(x).values,),
    "sort": lambda x: (rt.temporal_sort(x, descending=True).values,),
    "topk": lambda x: (rt.temporal_topk(x, 2)[0].values,),
}


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
@pytest.mark.parametrize("mask", [None, 0.6])
def test_by_finite_differences(op, mask):
    x = ragged_of(mask=mask)
    front = slice(None)
    if op is OPS["cumsum"] and mask is not None:  # a masked step's own gradient is not looked at
        front = x.mask
    torch.autograd.gradcheck(lambda values: op(x.with_values(values))[0][front], [x.values])


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
@pytest.mark.parametrize("mask", [None, 0.6])
def test_compiled(op, mask):
    torch._dynamo.reset()
    x = ragged_of(mask=mask)

    def run(values, offsets, mask):
        return op(rt.RaggedTensor(values, offsets, mask))

    fast = torch.compile(run, fullgraph=True, backend="aot_eager", dynamic=True)
    tensors = x.values, x.offsets, x.mask
    ours, theirs = fast(*tensors), run(*tensors)
    assert_same_bits(ours, theirs)
    assert_same_bits(gradients(ours, [x.values]), gradients(theirs, [x.values]))


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_garbage_at_masked_steps_is_seen_nowhere(op):
    x = ragged_of(mask=0.6)
    spoilt = torch.where(x.mask[:, None], x.values.detach(), torch.nan).requires_grad_()
    clean, other = op(x), op(x.with_values(spoilt))
    assert_same_bits(clean, other)
    of_outputs = [torch.where(torch.isnan(one), 0, one) for one in other]
    assert_same_bits(gradients(clean, [x.values]), gradients(of_outputs, [spoilt]))


def test_a_flip_has_a_second_derivative():
    x = ragged_of(mask=0.6)
    square = lambda values: rt.temporal_flip(x.with_values(values)).values ** 2  # noqa: E731
    torch.autograd.gradgradcheck(square, [x.values])


def test_what_is_wrong_is_refused():
    x = ragged_of()
    for op in (rt.temporal_flip, rt.temporal_cumsum, rt.temporal_sort, rt.temporal_argsort):
        with pytest.raises(UnsupportedTypeError, match="x must be a RaggedTensor"):
            op(x.values)
    for k in (-1, 1.5, None):
        with pytest.raises(InvalidInputError, match="k must be"):
            rt.temporal_topk(x, k)
    with pytest.raises(InvalidInputError, match="descending must be"):
        rt.temporal_sort(x, descending=1)
    with pytest.raises(UnsupportedTypeError, match="takes floats"):
        rt.temporal_sort(x.with_values(x.values.detach().to(torch.complex64)))


@pytest.mark.parametrize("op", [custom.temporal_flip, custom.temporal_cumsum])
def test_offsets_are_checked_whoever_calls(op):
    with pytest.raises(ValueError, match="run past the values"):
        op(torch.ones(3), torch.tensor([0, 4]), None)
    with pytest.raises(ValueError, match="offsets must go from 0"):
        op(torch.ones(3), torch.tensor([0, 2]), None)
