"""Convolution over time against torch's own, row by row: values and gradients."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv1d, pad

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask.interop.torch import custom
from tests.peers.ragged_tensors import assert_close, assert_same_bits, gradients, ragged_of, rows_of

MASKS = [None, 0.6, 0.0]


def weights_of(taps, item, dtype=torch.float64):
    draws = torch.Generator().manual_seed(taps)
    shapes = (taps, *item), item
    return [torch.randn(shape, generator=draws, dtype=dtype).requires_grad_() for shape in shapes]


def convolved_by_torch(x, kernel, bias, causal, dilation):
    """Each row alone, its masked steps as zeros; they get zeros."""
    features = max(kernel[0].numel(), 1)
    weight = kernel.reshape(len(kernel), features).T[:, None]
    kept = torch.ones(x.n_steps, 1, dtype=torch.bool) if x.mask is None else x.mask[:, None]
    steps = torch.where(kept, x.values.reshape(-1, features), 0)
    span = (len(kernel) - 1) * dilation
    before = span if causal else span // 2
    rows = []
    for row in rows_of(rt.RaggedTensor(steps, x.offsets)):
        if len(row):
            sides = pad(row.T, (before, span - before))
            given = None if bias is None else bias.reshape(-1)
            row = conv1d(sides[None], weight, given, dilation=dilation, groups=features)[0].T
        rows.append(row)
    return torch.where(kept, torch.cat(rows), 0).reshape(x.values.shape)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("item", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("taps", [1, 2, 3, 9])
@pytest.mark.parametrize("causal", [True, False])
def test_values_and_gradients(causal, taps, item, mask):
    x, (kernel, bias) = ragged_of(item=item, mask=mask), weights_of(taps, item)
    for dilation, given in ((1, bias), (2, None)):
        ours = rt.temporal_conv(x, kernel, given, causal=causal, dilation=dilation)
        theirs = convolved_by_torch(x, kernel, given, causal, dilation)
        assert ours.mask is x.mask
        assert_close([ours.values], [theirs])
        inputs = [x.values, kernel, *([] if given is None else [bias])]
        assert_close(gradients([ours.values], inputs), gradients([theirs], inputs))


def test_it_is_the_op_on_arrays():
    x, (kernel, bias) = ragged_of(mask=0.6, grad=False), weights_of(3, (3,))
    arrays = kernel.detach().numpy(), bias.detach().numpy()
    ragged = rm.Ragged.from_offsets(x.values.numpy(), x.offsets.numpy(), x.mask.numpy())
    expected = rm.temporal_conv(ragged, *arrays)
    np.testing.assert_array_equal(
        rt.temporal_conv(x, kernel, bias).values.detach(), expected.values
    )


def test_a_depthwise_layer_of_torchs():
    module = torch.nn.Conv1d(3, 3, 4, groups=3, dtype=torch.float64)
    x = ragged_of()
    ours = rt.temporal_conv(x, module.weight[:, 0].T, module.bias)
    for row, out in zip(rows_of(x), rows_of(ours), strict=True):
        if len(row):
            assert_close([out], [module(pad(row.T[None], (3, 0)))[0].T])


@pytest.mark.parametrize("mask", [None, 0.6])
def test_gradcheck(mask):
    x, (kernel, bias) = ragged_of([3, 0, 2, 1], (2,), mask=mask), weights_of(3, (2,))
    for causal in (True, False):

        def run(values, kernel, bias, causal=causal):
            return custom.temporal_conv(values, x.offsets, x.mask, kernel, bias, causal, 1)

        assert torch.autograd.gradcheck(run, (x.values, kernel, bias))


def test_only_what_requires_grad_gets_one():
    x, (kernel, bias) = ragged_of(grad=False), weights_of(2, (3,))
    rt.temporal_conv(x, kernel.detach(), bias).values.sum().backward()
    assert kernel.grad is None
    assert bias.grad.tolist() == [x.n_steps] * 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_float32(dtype):
    x = ragged_of(dtype=dtype)
    kernel, bias = weights_of(3, (3,), dtype)
    ours = rt.temporal_conv(x, kernel, bias)
    single = rt.temporal_conv(x.with_values(x.values.float()), kernel.float(), bias.float())
    assert_same_bits([ours.values], [single.values.to(dtype)])
    grads = gradients([ours.values], [x.values, kernel, bias])
    assert [grad.dtype for grad in grads] == [dtype] * 3


def test_compiled():
    """With other numbers of steps, and a kernel that is trained."""
    kernel, bias = weights_of(3, (3,))
    fast = torch.compile(
        lambda x: rt.temporal_conv(x, kernel, bias),
        fullgraph=True,
        dynamic=True,
        backend="aot_eager",
    )
    for lengths in ([4, 0, 2], [1, 3, 0, 5], [2]):
        x = ragged_of(lengths, mask=0.8)
        ours, theirs = fast(x), rt.temporal_conv(x, kernel, bias)
        inputs = [x.values, kernel, bias]
        assert_close([ours.values], [theirs.values])
        assert_close(gradients([ours.values], inputs), gradients([theirs.values], inputs))
    torch._dynamo.reset()


X = ragged_of(grad=False)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((torch.ones(3),), {}, rm.InvalidInputError, r"kernel must be \(taps, 3\).*got \(3,\)"),
        ((torch.ones(0, 3),), {}, rm.InvalidInputError, "no taps"),
        ((torch.ones(2, 3), torch.ones(2)), {}, rm.InvalidInputError, r"bias must be \(3,\)"),
        ((torch.ones(2, 3).float(),), {}, rm.UnsupportedTypeError, "both the same"),
        ((np.ones((2, 3)),), {}, rm.UnsupportedTypeError, "kernel must be a tensor; got ndarray"),
        ((torch.ones(2, 3), 1.0), {}, rm.UnsupportedTypeError, "bias must be a tensor; got float"),
        ((torch.ones(2, 3),), {"dilation": 0}, rm.InvalidInputError, "dilation must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, error, message):
    given = [
        one.double() if isinstance(one, torch.Tensor) and "same" not in message else one
        for one in arguments
    ]
    with pytest.raises(error, match=message):
        rt.temporal_conv(X, *given, **options)


def test_a_gradient_that_does_not_fit_is_refused():
    given = X.values, X.offsets, None, torch.ones(2, 3).double()
    for wrong in (X.values[:3], X.values.float()):
        with pytest.raises(rm.InvalidInputError, match=r"the gradient must be torch\.float64"):
            torch.ops.ragmask.temporal_conv_gradient(*given, wrong, True, 1, True)


def test_integers_are_refused():
    whole = X.with_values(X.values.long())
    with pytest.raises(rm.UnsupportedTypeError, match="float32 or float64"):
        rt.temporal_conv(whole, torch.ones(2, 3).long())
