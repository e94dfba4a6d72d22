"""Where a number lies changes nothing: its place among others, a width, and what compiles it."""

from shutil import which

import pytest
import torch

import ragmask as rm
import ragmask.interop.torch as rt


def ragged_of(lengths, *item, masked=False):
    """Rows of normal numbers, which require grad."""
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    draw = torch.Generator().manual_seed(len(lengths))
    values = torch.randn(int(offsets[-1]), *item, generator=draw)
    mask = torch.rand(len(values), generator=draw) > 0.3 if masked else None
    return rt.RaggedTensor(values.requires_grad_(), offsets, mask)


def loss_and_gradient(loss, values):
    values = values.detach().clone().requires_grad_()
    given = loss(rt.RaggedTensor(values, torch.tensor([0, len(values)])))
    given.values.sum().backward()
    return given.values.detach(), values.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("item", [(), (3,)])
@pytest.mark.parametrize("from_logits", [False, True])
def test_a_steps_loss_has_the_same_bits_at_any_place(from_logits, item, dtype):
    """torch's kernels take the last numbers of a tensor, or of a thread's share, one by one."""
    values = torch.randn(400, *item, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 4
    if not from_logits:
        values = (values / 20).abs().clamp(max=1)

    def loss(x):
        target = torch.full_like(x.values, 0.3)
        return rt.binary_cross_entropy(x, target, from_logits=from_logits, reduction="none")

    losses, gradient = loss_and_gradient(loss, values)
    for first, last in [(0, size) for size in range(1, 40)] + [(3, 67), (1, 400)]:
        part, of_part = loss_and_gradient(loss, values[first:last])
        assert torch.equal(part, losses[first:last])
        assert torch.equal(of_part, gradient[first:last])


def test_the_loss_of_logits_is_torchs_and_so_is_its_gradient():
    """At 0 too, where each branch has half of it, and far out."""
    logits = torch.tensor([0.0, -0.0, 1e-30, 3.0, -3.0, 80.0, -80.0, 800.0, -800.0]).double()
    target = torch.tensor([0.0, 1.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.3, 0.3]).double()
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    x = rt.RaggedTensor(ours, torch.tensor([0, len(logits)]))
    losses = rt.binary_cross_entropy(x, target, from_logits=True, reduction="none").values
    losses.sum().backward()
    of_torch = torch.nn.functional.binary_cross_entropy_with_logits
    expected = of_torch(theirs, target, reduction="none")
    expected.sum().backward()
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-15)
    weighted = rt.binary_cross_entropy(x, target, from_logits=True, weight=torch.tensor(3.0))
    torch.testing.assert_close(weighted, 3 * expected.mean(), rtol=1e-12, atol=0)


CUTS = {
    "split": lambda x: rt.temporal_split(x, 2, width=6)[1].values,
    "pad": lambda x: x.to_padded(width=6)[0],
    "from_padded": lambda x: (
        rt.RaggedTensor.from_padded(
            torch.ones(len(x), 6) * x.values.sum(), lengths=x.lengths
        ).values
    ),
    "row": lambda x: x[2],
    "rows": lambda x: x[1:].values,
    "truncate": lambda x: x.truncate(2, side="pre").values,
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CUTS)
def test_cuts_compile(name, masked):
    """Once for batches of any number of rows and steps; too long a row is noticed as it runs."""
    torch._dynamo.reset()
    cut = CUTS[name]
    compiled = torch.compile(cut, fullgraph=True, backend="aot_eager")
    for lengths in ([3, 0, 6], [2, 1, 5, 6], [6, 6, 0, 0, 1]):
        results = []
        for function in (cut, compiled):
            x = ragged_of(lengths, 2, masked=masked)
            steps = function(x)
            steps.square().sum().backward()
            results.append((steps.detach(), x.values.grad))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    if name in ("split", "pad", "from_padded"):
        too_long = ragged_of([1, 7, 2], 2, masked=masked)
        with pytest.raises(rm.InvalidInputError, match="7"):
            cut(too_long)
        with pytest.raises(RuntimeError, match="a row is longer than the"):
            compiled(too_long)


@pytest.mark.slow
@pytest.mark.skipif(which("c++") is None, reason="torch compiles C++")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", CUTS)
def test_cuts_compile_to_machine_code(name):
    torch._dynamo.reset()
    compiled = torch.compile(CUTS[name], fullgraph=True)
    for lengths in ([3, 0, 6], [2, 1, 5, 6]):
        x = ragged_of(lengths, 2)
        steps = compiled(x)
        torch.testing.assert_close(steps, CUTS[name](x))
        steps.sum().backward()  # a gradient without memory of its own


def test_the_gradient_of_padding_is_an_op_of_its_own():
    x = ragged_of([2, 0, 3], 2)
    gradient = torch.ops.ragmask.to_padded_gradient
    padded = torch.arange(18.0).view(3, 3, 2).requires_grad_()
    steps = gradient(padded, x.offsets, 5)
    assert steps[:, 0].tolist() == [0, 2, 12, 14, 16]
    torch.library.opcheck(gradient.default, (padded, x.offsets, 5))
    for arguments, message in [
        ((padded, x.offsets, 4), "are of 5 steps; got n=4"),
        ((padded[:2], x.offsets, 5), "3 lengths were given for 2 rows"),
        ((padded[:, :2], x.offsets, 5), "row 2 cannot have 3 steps of 2"),
    ]:
        with pytest.raises(rm.InvalidInputError, match=message):
            gradient(*arguments)


def test_a_simple_layer_takes_what_torchs_takes():
    """Whose fourth argument is the nonlinearity, where the others have bias."""
    layer = rt.nn.RNN(2, 3, 1, "tanh", False)
    layer.load_state_dict(torch.nn.RNN(2, 3, 1, "tanh", False).state_dict())
    with pytest.raises(rm.UnsupportedTypeError, match=r"RNN computes tanh.*'relu'"):
        rt.nn.RNN(2, 3, nonlinearity="relu")
