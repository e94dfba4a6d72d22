"""Losses against torch on the kept steps, end to end; and the same bits however rows come."""

import functools

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask import InvalidInputError, UnsupportedTypeError
from tests.peers.ragged_tensors import LENGTHS, assert_close, ragged_of

REDUCTIONS, OVERS, MASKS = ["mean", "sum", "none"], ["steps", "rows"], [None, 0.6, 0.0]
CLASSES = 5


def reduced(losses, shares, counts, x, reduction, over):
    """losses (n_steps,), their shares in a mean, and which count, by torch alone."""
    losses, shares = torch.where(counts, losses, 0), torch.where(counts, shares, 0)
    if over == "rows":
        spans = list(zip(x.offsets.tolist(), x.offsets.tolist()[1:], strict=False))
        sums = torch.stack([losses[a:b].sum() for a, b in spans])
        parts = torch.stack([shares[a:b].sum() for a, b in spans])
        losses = torch.where(parts > 0, sums / parts.clamp(min=1e-300), 0)
        shares = (parts > 0).double()
    if reduction == "none":
        return losses
    total = losses.sum()
    return total / shares.sum().clamp(min=1e-300) if reduction == "mean" else total


def assert_like(ours, theirs, inputs):
    ours = ours.values if isinstance(ours, rt.RaggedTensor) else ours
    assert_close([ours], [theirs])
    weights = torch.arange(1.0, ours.numel() + 1, dtype=ours.dtype).view(ours.shape)
    both = [torch.autograd.grad(one, inputs, weights, retain_graph=True) for one in (ours, theirs)]
    assert_close(*both)


@pytest.mark.parametrize("over", OVERS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ignore_index": 2},
        {"label_smoothing": 0.3},
        {"weight": torch.linspace(0.5, 2, CLASSES, dtype=torch.float64)},
        {
            "weight": torch.linspace(0, 2, CLASSES, dtype=torch.float64),
            "label_smoothing": 0.3,
            "ignore_index": 1,
        },
    ],
    ids=["plain", "ignore", "smoothing", "weight", "all"],
)
def test_cross_entropy(options, mask, reduction, over):
    x = ragged_of(item=(CLASSES,), mask=mask)
    targets = torch.randint(0, CLASSES, (x.n_steps,), generator=torch.Generator().manual_seed(1))
    targets[3] = options.get("ignore_index", -100)
    counts = targets != targets[3]
    counts = counts if mask is None else counts & x.mask
    weight = options.get("weight")
    shares = torch.ones(x.n_steps).double() if weight is None else weight[targets.clamp(min=0)]
    losses = F.cross_entropy(x.values, targets, reduction="none", **options)
    theirs = reduced(losses, shares, counts, x, reduction, over)
    for given in (targets, rt.RaggedTensor(targets, x.offsets), targets.int()):
        ours = rt.cross_entropy(x, given, reduction=reduction, over=over, **options)
        assert_like(ours, theirs, [x.values])
    if (mask, over, options.get("label_smoothing"), weight) == (None, "steps", None, None):
        theirs = F.cross_entropy(x.values, targets, reduction=reduction, **options)
        assert_like(ours, theirs, [x.values])


def test_torchs_mean_divides_by_the_weights_that_count():
    x = ragged_of(item=(CLASSES,))
    targets = torch.arange(x.n_steps) % CLASSES
    weight = torch.linspace(0.5, 2, CLASSES, dtype=torch.float64)
    for smoothing in (0.0, 0.3):
        options = {"weight": weight, "label_smoothing": smoothing, "ignore_index": 2}
        ours, theirs = (
            rt.cross_entropy(x, targets, **options),
            F.cross_entropy(x.values, targets, **options),
        )
        assert_like(ours, theirs, [x.values])


@pytest.mark.parametrize("over", OVERS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("item", [(), (1,), (3,), (2, 2)])
def test_the_others(item, mask, reduction, over):
    x, other = ragged_of(item=item, mask=mask), ragged_of(item=item, seed=1)
    counts = torch.ones(x.n_steps, dtype=torch.bool) if mask is None else x.mask
    options = {"reduction": reduction, "over": over}

    def by_torch(function, *arguments, **others):
        losses = function(*arguments, reduction="none", **others).reshape(x.n_steps, -1).mean(1)
        return reduced(losses, torch.ones(x.n_steps).double(), counts, x, reduction, over)

    inputs = [x.values, other.values]
    ours = rt.mean_squared_error(x, other, **options)
    assert_like(ours, by_torch(F.mse_loss, *inputs), inputs)
    likely, goal = x.with_values(x.values.sigmoid()), other.values.detach().sigmoid()
    ours = rt.binary_cross_entropy(likely, goal, **options)
    assert_like(ours, by_torch(F.binary_cross_entropy, likely.values, goal), [x.values])
    weight = torch.linspace(1, 2, item[-1] if item else 1, dtype=torch.float64)
    ours = rt.binary_cross_entropy(x, goal, from_logits=True, weight=weight, **options)
    theirs = by_torch(F.binary_cross_entropy_with_logits, x.values, goal, weight)
    assert_like(ours, theirs, [x.values])


LOSSES = {
    "cross_entropy": lambda x, **o: rt.cross_entropy(x, torch.zeros(x.n_steps).long(), **o),
    "squared": lambda x, **o: rt.mean_squared_error(x, torch.zeros_like(x.values), **o),
    "binary": lambda x, **o: rt.binary_cross_entropy(
        x, torch.zeros_like(x.values), from_logits=True, **o
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("over", OVERS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("lengths", [[], [0, 0], LENGTHS])
def test_nothing_that_counts_gives_0_with_gradient_0(lengths, reduction, over, name):
    x = ragged_of(lengths, mask=0.0)
    x = x.with_values((x.values * torch.nan).detach().requires_grad_())
    loss = LOSSES[name](x, reduction=reduction, over=over)
    loss.backward()
    assert loss == 0
    assert (x.values.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_nan_counts_where_it_is_kept_and_nowhere_else(name):
    x = ragged_of(mask=0.6)
    values = torch.where(x.mask[:, None], x.values.detach(), torch.nan).requires_grad_()
    loss = LOSSES[name](x.with_values(values))
    assert loss == LOSSES[name](x)
    loss.backward()
    assert values.grad.isfinite().all()
    assert (values.grad[~x.mask] == 0).all()
    values = torch.where(x.mask[:, None], torch.nan, 0.0).requires_grad_()
    assert LOSSES[name](x.with_values(values)).isnan()
    is_first = (torch.arange(x.n_steps) < 4)[:, None]
    spoiled = ragged_of().with_values(torch.where(is_first, torch.nan, x.values))
    rows = LOSSES[name](spoiled, reduction="none", over="rows")
    assert rows.isnan().tolist() == [True, *[False] * 5]


# -- the same bits ------------------------------------------------------------------------


def many(dtype=torch.float32, item=(7,)):
    """Thousands of steps, among them long rows."""
    draws = torch.Generator().manual_seed(0)
    lengths = [*torch.randint(0, 40, (200,), generator=draws).tolist(), 3000, 0, 1, 500]
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    n = int(offsets[-1])
    values = torch.randn((n, *item), generator=draws).to(dtype) * 5
    mask = torch.rand(n, generator=draws) < 0.9
    for row in offsets[:-1].tolist():  # rows begin and end with a kept step, so padding keeps them
        mask[row : row + 1] = True
    mask[offsets[1:][offsets.diff() > 0] - 1] = True
    targets = torch.randint(0, 7, (n,), generator=draws)
    goals = torch.rand((n, *item), generator=draws).to(dtype)
    return rt.RaggedTensor(values, offsets, mask), targets, goals


def ways(x):
    """The rows' own numbers of steps, in the order in which they come then, and who is which."""
    steps = torch.arange(x.n_steps)
    rows = torch.arange(len(x))
    shuffled = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    yield "as they are", x.with_values(steps)
    yield "shuffled", x.with_values(steps)[shuffled]
    yield "reversed", x.with_values(steps)[rows.flip(0)]
    for width, shift in ((3000, 0), (3100, 0), (3100, 100)):
        numbers, mask = x.with_values(steps).to_padded(width=width)
        numbers, mask = numbers.roll(shift, 1), mask.roll(shift, 1)
        yield f"padded {width} {shift}", rt.RaggedTensor.from_padded(numbers, mask)


def all_losses(dtype, item):
    for over in OVERS:
        for reduction in REDUCTIONS:
            options = {"over": over, "reduction": reduction}
            if item == (7,):
                weight = torch.linspace(0.5, 2, 7, dtype=dtype)
                for extra in (
                    {},
                    {"weight": weight},
                    {"label_smoothing": 0.1, "ignore_index": 3, "weight": weight},
                ):
                    yield (
                        functools.partial(rt.cross_entropy, **extra, **options),
                        "targets",
                        reduction,
                        over,
                    )
            yield functools.partial(rt.mean_squared_error, **options), "goals", reduction, over
            binary = functools.partial(rt.binary_cross_entropy, from_logits=True, **options)
            yield binary, "goals", reduction, over
            yield (
                (
                    lambda x, y, options=options: rt.binary_cross_entropy(
                        x.with_values(x.values.sigmoid()), y, **options
                    )
                ),
                "goals",
                reduction,
                over,
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("item", [(7,), (1,), ()])
def test_bits_do_not_depend_on_width_side_order_or_threads(item, dtype):
    x, targets, goals = many(dtype, item)
    threads = rm.get_num_threads(), torch.get_num_threads()
    expected = {}
    try:
        for way, numbers in ways(x):
            for count in (1, 2, 5) if way == "as they are" else (2,):
                rm.set_num_threads(count)
                torch.set_num_threads(count)
                at = numbers.values
                for number, (loss, what, reduction, over) in enumerate(all_losses(dtype, item)):
                    values = x.values[at].requires_grad_()
                    goal = (targets if what == "targets" else goals)[at]
                    given = loss(numbers.with_values(values), goal)
                    if reduction == "none" and over == "steps":
                        given = given.values
                        result = torch.zeros_like(given).index_put((at,), given.detach())
                        total = given.sum()
                    elif reduction == "none":
                        result, total = given.detach().sort().values, given.sum()
                    else:
                        result = total = given
                    (grad,) = torch.autograd.grad(total, values)
                    grad = torch.zeros_like(grad).index_put((at,), grad)
                    first = expected.setdefault(number, (result.detach(), grad))
                    assert first[0].equal(result.detach()), (way, count, number)
                    assert first[1].equal(grad), (way, count, number)
    finally:
        rm.set_num_threads(threads[0])
        torch.set_num_threads(threads[1])


def test_bits_of_one_step_of_many_classes():
    """torch adds up a single step's classes on all threads, where it adds them up."""
    logits = torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0))
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            values = logits.clone().requires_grad_()
            x = rt.RaggedTensor(values, torch.tensor([0, 1]))
            loss = rt.cross_entropy(x, torch.tensor([7]), label_smoothing=0.1)
            loss.backward()
            results.append((loss.detach(), values.grad))
    finally:
        torch.set_num_threads(threads)
    for loss, grad in results[1:]:
        assert loss.equal(results[0][0])
        assert grad.equal(results[0][1])


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan")])
def test_a_label_smoothing_that_is_no_share(smoothing):
    x = rt.RaggedTensor(torch.zeros(1, 3), torch.tensor([0, 1]))
    with pytest.raises(rm.InvalidInputError, match="label_smoothing must be from 0 to 1"):
        rt.cross_entropy(x, torch.tensor([0]), label_smoothing=smoothing)


def test_counts_are_exact():
    """More steps than float16 or float32 count: 2 ** 24 + 1 of them, each of loss 1."""
    n = 2**24 + 1
    ones = rt.RaggedTensor(torch.ones(()).expand(n), torch.tensor([0, n]))
    assert (
        rt.mean_squared_error(ones, torch.zeros(()).expand(n), reduction="sum") == n - 1
    )  # rounded
    assert rt.mean_squared_error(ones, torch.zeros(()).expand(n)) == 1
    few = rt.RaggedTensor(torch.ones(3001).bfloat16(), torch.tensor([0, 3000, 3001]))
    assert rt.mean_squared_error(few, torch.zeros(3001)) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_halves_are_float32(dtype):
    x = ragged_of(item=(CLASSES,), dtype=dtype)
    single = x.with_values(x.values.detach().float())
    weight = torch.linspace(0.5, 2, CLASSES, dtype=torch.float64)
    targets = torch.arange(x.n_steps) % CLASSES
    for loss in (
        lambda x: rt.cross_entropy(x, targets, weight=weight),
        lambda x: rt.mean_squared_error(x, x.values.detach() * 0),
        lambda x: rt.binary_cross_entropy(x, x.values.detach() * 0, from_logits=True),
    ):
        assert loss(x).equal(loss(single))
        assert loss(x).dtype == torch.float32
        assert torch.autograd.grad(loss(x), x.values)[0].dtype == dtype


# -- hostile input ------------------------------------------------------------------------


def test_what_does_not_fit_says_so():
    x, ids = ragged_of(item=(CLASSES,)), torch.zeros(15, dtype=torch.int64)
    other = ragged_of([1, 14, 0, 0, 0, 0], item=(CLASSES,))
    for bad in (CLASSES, -1, 2**40):
        targets = ids.index_fill(0, torch.tensor([11]), bad)
        with pytest.raises(InvalidInputError, match=rf"row 3, step 0: target {bad} is none of 5"):
            rt.cross_entropy(x, targets)
        with pytest.raises(InvalidInputError, match="row 3"):
            rt.cross_entropy(x, x.with_values(targets))
    for targets in (ids.double(), ids[:, None], ids[:3], ids.bool()[:, None], torch.tensor(3)):
        with pytest.raises(InvalidInputError):
            rt.cross_entropy(x, targets)
    with pytest.raises(InvalidInputError, match="other rows"):
        rt.cross_entropy(x, other.with_values(ids))
    with pytest.raises(InvalidInputError, match="other rows"):
        rt.mean_squared_error(x, other)
    with pytest.raises(InvalidInputError, match="steps of shape"):
        rt.mean_squared_error(x, x.values[:, :1])
    with pytest.raises(InvalidInputError, match="reduction"):
        rt.mean_squared_error(x, x, reduction="median")
    with pytest.raises(InvalidInputError, match="over"):
        rt.mean_squared_error(x, x, over="batch")
    for call in (
        lambda: rt.cross_entropy(x.values, ids),
        lambda: rt.cross_entropy(x, ids.tolist()),
        lambda: rt.mean_squared_error(x.to(torch.int64), x),
        lambda: rt.mean_squared_error(x.to(torch.complex64), x),
    ):
        with pytest.raises(UnsupportedTypeError):
            call()


def test_targets_of_unsigned_bytes_are_not_ignored():
    """-100 would be 156 among them."""
    x = rt.RaggedTensor(torch.zeros(1, 200), torch.tensor([0, 1]))
    assert rt.cross_entropy(x, torch.tensor([156], dtype=torch.uint8)) > 5
