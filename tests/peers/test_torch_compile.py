"""The custom ops by torch's own checks, and compiled: forward, backward, and with other shapes."""

from typing import get_args

import pytest
import torch

import ragmask.interop.torch as rt
from ragmask.interop.torch import custom
from ragmask.kernels.cells import CELLS
from ragmask.ops.pool import NUMBERED, How
from tests.peers.ragged_tensors import assert_close, gradients, ragged_of

# -- opcheck --------------------------------------------------------------------------------------


def samples(masked):
    """(op, arguments) for each op and each op of a gradient."""
    x = ragged_of([3, 0, 2, 1], (2,), mask=0.6 if masked else None)
    values, offsets, mask = x.values, x.offsets, x.mask
    plain, ids = values.detach(), torch.tensor([1, 0, 2, 0, 1, 2])
    rows, table = torch.randn(4, 2, dtype=torch.float64), torch.randn(3, 2, requires_grad=True)
    starts, lengths = torch.tensor([2, 0, 1, 1]), torch.tensor([3, 0, 4, 1])
    yield custom.temporal_softmax, (values, offsets, mask)
    yield torch.ops.ragmask.temporal_softmax_gradient.default, (plain, offsets, mask, plain)
    for how in get_args(How):
        yield custom.temporal_pool, (plain if how in NUMBERED else values, offsets, mask, how)
        if how not in NUMBERED:
            given = plain, offsets, mask, rows, how
            yield torch.ops.ragmask.temporal_pool_gradient.default, given
        for dtype in (torch.int32, torch.bool, torch.uint8):
            yield custom.temporal_pool, (plain.to(dtype), offsets, mask, how)
    kernel = torch.randn(3, 2, dtype=torch.float64).requires_grad_()
    for bias, causal in (None, True), (table.double().detach()[0].requires_grad_(), False):
        yield custom.temporal_conv, (values, offsets, mask, kernel, bias, causal, 2)
        given = plain, offsets, mask, kernel.detach(), plain, causal, 2
        yield torch.ops.ragmask.temporal_conv_gradient.default, (*given, bias is None)
    for one in (torch.randn(4, 2, requires_grad=True), torch.ones(4).bfloat16(), rows.bool()):
        yield custom.temporal_repeat, (one, offsets, mask, 6)
    for zero in (False, True):
        yield custom.embedding, (ids, offsets, mask, table, zero)
        yield custom.embedding, (ids.int(), offsets, mask, table.detach().bfloat16(), zero)
        yield torch.ops.ragmask.embedding_gradient.default, (ids, offsets, mask, plain, 3, zero)
    yield custom.masking, (values, offsets, mask, 0.0)
    yield custom.masking, (plain.long(), offsets, mask, 0.0)
    full = torch.tensor([0, 6]), torch.tensor([0, 3, 6])
    for kind in (values, plain.bfloat16(), plain.bool()):
        yield custom.take_rows, (kind, starts, lengths)
        yield custom.take_rows, (kind, torch.tensor([0]), torch.tensor([6]))  # all of it
        yield custom.take_rows, (kind, torch.tensor([2]), torch.tensor([3]))  # could be a view
        for bounds in (offsets, *full):
            yield custom.to_padded, (kind, bounds, 6, 0.0)
    for kind in (torch.randn(8, 2, requires_grad=True), torch.ones(8).bfloat16()):
        yield torch.ops.ragmask.add_rows.default, (kind, starts, lengths, 6)
        yield torch.ops.ragmask.add_rows.default, (kind, torch.tensor([0]), torch.tensor([8]), 8)
    for cell in CELLS:
        op, width = custom.RECURRENT[cell.name], cell.gates * 3
        shapes = [(2, width), (3, width), (2, width) if cell.apart else (width,)]
        weights = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
        weights.append(torch.randn(cell.states, 4, 3, dtype=torch.float64))
        gradient = getattr(torch.ops.ragmask, f"{cell.name.lower()}_gradient").default
        outputs, last, kept = op(plain, offsets, mask, *weights, False, True)
        for wants in (True, False):
            given = (outputs, kept, outputs, last) if wants else (outputs, kept, None, None)
            yield gradient, (plain, offsets, mask, *weights, *given, False, wants)
        for one in weights:
            one.requires_grad_()
        for keep in (True, False):
            tensors = (values, *weights) if keep else (plain, *(one.detach() for one in weights))
            yield op, (tensors[0], offsets, mask, *tensors[1:], True, keep)


@pytest.mark.parametrize("masked", [False, True])
def test_opcheck(masked):
    """Schemas, what may not alias, fakes' shapes and dtypes, and autograd's registration."""
    checks = "test_schema", "test_autograd_registration", "test_faketensor"
    for op, arguments in samples(masked):
        torch.library.opcheck(op, arguments, test_utils=checks)


def test_opcheck_under_aot_autograd_with_dynamic_shapes():
    for op, arguments in samples(False):
        if any(isinstance(one, torch.Tensor) and one.requires_grad for one in arguments):
            torch.library.opcheck(op, arguments, test_utils="test_aot_dispatch_dynamic")


# -- torch.compile --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function, backend="aot_eager", **options):
    return torch.compile(function, fullgraph=True, backend=backend, **options)


FUNCTIONS = {
    "softmax": lambda x: rt.temporal_softmax(x.with_values(x.values * 2)),
    "picked": lambda x: rt.temporal_softmax(x[torch.tensor([3, 0, 2])]),
    "convolved": lambda x: rt.temporal_conv(x, torch.ones(3, 3).double(), causal=False),
    "sliced": lambda x: x[1:],
    "truncated": lambda x: rt.temporal_softmax(x.truncate(2, "pre")),
    "split and joined": lambda x: rt.temporal_concat(rt.temporal_split(x, 2, width=8)),
    "padded": lambda x: rt.RaggedTensor.from_padded(x.to_padded(width=9)[0], lengths=x.lengths),
    "from a mask": lambda x: rt.temporal_softmax(
        rt.RaggedTensor.from_padded(*x.to_padded(width=9))
    ),
    "centred": lambda x: x.with_values(
        x.values - rt.temporal_repeat(rt.temporal_pool(x), x).values
    ),
    "concatenated": lambda x: rt.concatenate([x, rt.temporal_softmax(x)]),
    "masked": lambda x: rt.masking(rt.temporal_softmax(x), 0.5),
    "new": lambda x: rt.RaggedTensor(x.values.sin(), x.offsets, x.mask),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_ragged_tensors(name, masked):
    function, x = FUNCTIONS[name], ragged_of(mask=0.6 if masked else None)
    fast = compiled(function, dynamic=True)
    for lengths in (None, [2, 0, 5, 3, 1], [8, 1, 0, 2, 2, 4, 6]):
        if lengths is not None:
            x = ragged_of(lengths, mask=0.6 if masked else None)
        ours, theirs = fast(x), function(x)
        assert isinstance(ours, rt.RaggedTensor)
        assert ours.offsets.equal(theirs.offsets)
        assert_close([ours.values], [theirs.values])
        assert_close(gradients([ours.values], [x.values]), gradients([theirs.values], [x.values]))
        if masked and name != "from a mask":
            assert (ours.mask is None) == (theirs.mask is None)
            if ours.mask is not None:
                assert ours.mask.equal(theirs.mask)


class Classifier(torch.nn.Module):
    def __init__(self, kind="LSTM"):
        super().__init__()
        self.embedding = rt.nn.Embedding(20, 6, mask_zero=True)
        self.recurrent = getattr(rt.nn, kind)(6, 5, 2, bidirectional=True)
        self.out = torch.nn.Linear(10, 4)

    def forward(self, ids, targets):
        x, _ = self.recurrent(self.embedding(ids))
        logits = x.with_values(self.out(x.values))
        return rt.cross_entropy(logits, targets) + rt.temporal_pool(logits, "max").mean()


def ids_of(lengths, seed=0):
    draws = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    ids = torch.randint(0, 20, (int(offsets[-1]),), generator=draws)
    targets = torch.randint(0, 4, ids.shape, generator=draws)
    return rt.RaggedTensor(ids, offsets), targets


SIZES = [[3, 0, 5, 2], [7, 1, 1, 4, 0, 6], [2, 2], [9, 3, 1], [1, 1, 1, 1, 8]]


def check_training(model, backend):
    fast = compiled(model, backend)
    for number, lengths in enumerate(SIZES):
        batch = ids_of(lengths, number)
        losses, grads = [], []
        for run in (fast, model):
            loss = run(*batch)
            losses.append(loss)
            grads.append(gradients([loss], [*model.parameters()]))
        assert_close(losses[:1], losses[1:], 1e-5)
        assert_close(*grads, 1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_classifiers_train_with_other_numbers_of_rows_and_steps(kind):
    """At most one recompilation for shapes that change; never an error."""
    torch._dynamo.utils.counters.clear()
    check_training(Classifier(kind), "aot_eager")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_classifiers_train_by_inductor():
    check_training(Classifier(), "inductor")


def test_losses_compiled():
    x, other = ragged_of(item=(4,), mask=0.6), ragged_of(item=(4,), seed=1, grad=False)
    targets = torch.arange(x.n_steps) % 4

    def losses(x, other, targets):
        return (
            rt.cross_entropy(x, targets, over="rows", label_smoothing=0.1),
            rt.cross_entropy(x, targets, reduction="none").values,
            rt.mean_squared_error(x, other.values),
            rt.binary_cross_entropy(x, other.values.sigmoid(), from_logits=True, over="rows"),
        )

    ours, theirs = compiled(losses)(x, other, targets), losses(x, other, targets)
    assert_close(ours, theirs)
    assert_close(gradients(ours, [x.values]), gradients(theirs, [x.values]))


def test_what_is_wrong_is_found_when_the_graph_runs():
    x = ragged_of()
    fast = compiled(lambda values, offsets: rt.temporal_pool(rt.RaggedTensor(values, offsets)))
    assert fast(x.values, x.offsets).equal(rt.temporal_pool(x))
    bad = x.offsets.clone()
    bad[-1] += 1
    with pytest.raises(ValueError, match="run past the values in row 5"):
        fast(x.values, bad)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.to_padded(width=5)[0],
        lambda x: rt.temporal_split(x, 2, width=6)[0].values,
        lambda x: torch.ops.ragmask.to_padded(x.values, x.offsets, 5, 0.0),
    ],
)
def test_a_width_that_cuts_rows_off_is_found_when_the_graph_runs(function):
    fast = compiled(function)
    assert fast(ragged_of([3, 0, 2])).equal(function(ragged_of([3, 0, 2])))
    with pytest.raises((RuntimeError, ValueError), match=r"longer than the width|less than"):
        fast(ragged_of([3, 7, 2]))


def test_exported():
    model = Classifier()
    batch = ids_of([3, 0, 5, 2])
    program = torch.export.export(model, batch, strict=False)
    assert_close([program.module()(*batch)], [model(*batch)], 1e-6)
