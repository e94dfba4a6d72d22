"""The differentiable ops: against torch row by row, by finite differences, masked and hostile."""

import itertools
import warnings

import pytest
import torch

import ragmask.interop.torch as rt
from ragmask import InvalidInputError, UnsupportedTypeError
from ragmask.errors import DeviceError
from ragmask.interop.torch import custom
from tests.peers.ragged_tensors import (
    LENGTHS,
    assert_close,
    gradients,
    ragged_of,
    rows_of,
    spread,
)

HOWS = ["mean", "sum", "max", "min", "first", "last", "std", "logsumexp"]
MASKS = [None, 0.6, 0.0]


def pooled_by_torch(row, how):
    if not len(row):
        return row.sum(0) - (torch.inf if how == "logsumexp" else 0)
    if how == "std" and row.numel() == row[0].numel():  # torch warns, or its gradient is NaN
        return 0 * row[0]
    return {
        "mean": lambda: row.mean(0),
        "sum": lambda: row.sum(0),
        "max": lambda: row.max(0).values,
        "min": lambda: row.min(0).values,
        "std": lambda: row.std(0, correction=0),
        "logsumexp": lambda: row.logsumexp(0),
        "first": lambda: row[0],
        "last": lambda: row[-1],
    }[how]()


# -- values and gradients, against torch ------------------------------------------------------


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("item", [(), (1,), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("how", HOWS)
def test_pool(how, item, mask):
    x = ragged_of(item=item, mask=mask)
    ours = rt.temporal_pool(x, how)
    theirs = torch.stack([pooled_by_torch(row, how) for row in rows_of(x)])
    assert_close([ours], [theirs])
    assert_close(gradients([ours], [x.values]), gradients([theirs], [x.values]))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("item", [(), (1,), (3,), (2, 3), (0,)])
def test_softmax(item, mask):
    x = ragged_of(item=item, mask=mask)
    ours = rt.temporal_softmax(x)
    theirs = spread(x, [row.softmax(0) for row in rows_of(x)])
    assert ours.mask is x.mask
    assert_close([ours.values], [theirs])
    assert_close(gradients([ours.values], [x.values]), gradients([theirs], [x.values]))


@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("item", [(), (4,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
@pytest.mark.parametrize("mask", MASKS)
def test_embedding(mask, dtype, item, mask_zero):
    draws = torch.Generator().manual_seed(0)
    table = torch.randn((6, *item), generator=draws, dtype=torch.float64).requires_grad_()
    like = ragged_of(mask=mask)
    ids = torch.randint(0, 6, (like.n_steps,), generator=draws)
    ours = rt.embedding(
        rt.RaggedTensor(ids.to(dtype), like.offsets, like.mask), table, mask_zero=mask_zero
    )
    kept = torch.ones(like.n_steps, dtype=torch.bool) if mask is None else like.mask
    theirs = spread(like, [table[row] for row in rows_of(like, ids)])
    assert_close([ours.values], [theirs])
    if mask_zero:
        kept = kept & (ids != 0)
        assert ours.mask.equal(kept)
    looked_at = torch.where(kept.view(-1, *[1] * len(item)), theirs, 0)
    assert_close(gradients([ours.values], [table]), gradients([looked_at], [table]))


def test_masking():
    x = ragged_of(mask=0.6)
    x = x.with_values(x.values.detach().index_fill(0, torch.tensor([3, 5]), 7).requires_grad_())
    ours = rt.masking(x, 7.0)
    kept = x.mask & (x.values != 7).any(1)
    theirs = torch.where(kept[:, None], x.values, 0)
    assert ours.mask.equal(kept)
    assert_close([ours.values], [theirs])
    assert_close(gradients([ours.values], [x.values]), gradients([theirs], [x.values]))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("item", [(), (3,), (2, 3), (0,)])
def test_repeat(item, mask):
    like = ragged_of(item=(2,), mask=mask, grad=False)
    draws = torch.Generator().manual_seed(1)
    values = torch.randn((len(like), *item), generator=draws, dtype=torch.float64).requires_grad_()
    ours = rt.temporal_repeat(values, like)
    assert ours.mask is like.mask
    assert ours.offsets is like.offsets
    theirs = values.repeat_interleave(like.lengths, 0)
    if mask is not None:
        theirs = torch.where(like.mask.view(-1, *[1] * len(item)), theirs, 0)
    assert_close([ours.values], [theirs])
    assert_close(gradients([ours.values], [values]), gradients([theirs], [values]))
    if values.numel():
        assert torch.autograd.gradgradcheck(lambda v: rt.temporal_repeat(v, like).values, values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int32, torch.bool])
def test_repeat_of_any_dtype(dtype):
    like, values = ragged_of(mask=0.6), torch.arange(len(LENGTHS)).to(dtype)
    values.requires_grad_(dtype.is_floating_point)
    ours = rt.temporal_repeat(values, like).values
    assert ours.equal(torch.where(like.mask, values.repeat_interleave(like.lengths), 0).to(dtype))
    if dtype.is_floating_point:
        (found,) = torch.autograd.grad(ours.sum(), values)
        counts = rt.temporal_pool(like, "count").to(dtype)
        assert found.equal(counts)


def test_centring_has_the_gradient_of_torch():
    x = ragged_of(mask=0.6)
    ours = x.values - rt.temporal_repeat(rt.temporal_pool(x), x).values
    theirs = spread(x, [row - row.mean(0) if len(row) else row for row in rows_of(x)])
    kept = x.mask[:, None]
    ours, theirs = torch.where(kept, ours, 0), torch.where(kept, theirs, 0)
    assert_close([ours], [theirs])
    assert_close(gradients([ours], [x.values]), gradients([theirs], [x.values]))


@pytest.mark.parametrize("masks", [(None, None), (None, 0.5), (0.5, 0.6)])
def test_rows_of_several_batches(masks):
    parts = [ragged_of(mask=masks[0]), ragged_of([2, 0, 5], seed=1, mask=masks[1])]
    joined = rt.concatenate(parts)
    assert joined.lengths.tolist() == [*LENGTHS, 2, 0, 5]
    theirs = torch.cat([part.values for part in parts])
    kept = [torch.ones(part.n_steps, dtype=torch.bool) if part.mask is None else part.mask
            for part in parts]  # fmt: skip
    assert joined.mask is None if masks == (None, None) else joined.mask.equal(torch.cat(kept))
    inputs = [part.values for part in parts]
    assert_close([joined.values], [theirs])
    found, wanted = gradients([joined.values], inputs), gradients([theirs], inputs)
    assert_close(found, [w * keep[:, None] for w, keep in zip(wanted, kept, strict=True)])


def test_what_cannot_be_repeated_or_joined():
    x = ragged_of()
    for call, says in (
        (lambda: rt.temporal_repeat(x.values, x), "one value for each of"),
        (lambda: rt.temporal_repeat(x.values.sum(), x), "one value for each of"),
        (lambda: torch.ops.ragmask.temporal_repeat(x.values[: len(x)], x.offsets, None, 3), "3"),
        (lambda: rt.temporal_repeat([1.0], x), "values must be a tensor; got list"),
        (lambda: rt.temporal_repeat(x.values, x.values), "like"),
        (lambda: rt.concatenate([]), "at least one batch"),
        (lambda: rt.concatenate([x, x.values]), "batch 1"),
        (lambda: rt.concatenate([x, x.to(torch.float32)]), r"batch 1 has torch\.float32"),
        (lambda: rt.concatenate([x, ragged_of(item=())]), r"batch 1 has .* steps of shape \(\)"),
    ):
        with pytest.raises((InvalidInputError, UnsupportedTypeError), match=says):
            call()


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("sections", [1, 2, 4])
def test_split_and_concat(sections, mask):
    x = ragged_of(mask=mask)
    parts = rt.temporal_split(x, sections, width=8)
    span = 8 // sections
    bounds = x.offsets.tolist()
    for number, part in enumerate(parts):
        steps = [
            x.values[begin + number * span : min(begin + (number + 1) * span, end)]
            for begin, end in itertools.pairwise(bounds)
        ]
        assert_close([part.values], [torch.cat([s for s in steps if len(s)] or steps)])
    again = rt.temporal_concat(parts)
    assert_close([again.values], [x.values])
    assert again.offsets.equal(x.offsets)
    assert (again.mask is None) if mask is None else again.mask.equal(x.mask)
    kept = 1 if mask is None else x.mask[:, None]
    assert_close(gradients([again.values], [x.values]), gradients([x.values * kept], [x.values]))


def test_concat_of_other_parts_masked_and_not():
    one, other = ragged_of(mask=0.5), ragged_of([1, 2, 0, 0, 5, 1], seed=1)
    joined = rt.temporal_concat([one, other])
    theirs = torch.cat(
        [rows.values[a:b] for row in range(6) for rows in (one, other)
         for a, b in [rows.offsets[row : row + 2].tolist()]]
    )  # fmt: skip
    assert_close([joined.values], [theirs])
    ours = gradients([joined.values], [one.values, other.values])
    theirs = gradients([theirs], [one.values, other.values])
    assert_close(ours, [theirs[0] * one.mask[:, None], theirs[1]])


# -- the same by finite differences ------------------------------------------------------------


def inputs_of(cell, features=2, units=3, rows=4, seed=0):
    draws = torch.Generator().manual_seed(seed)
    columns = cell.gates * units
    shapes = [(features, columns), (units, columns), (columns,), (cell.states, rows, units)]
    if cell.apart:
        shapes[2] = (2, columns)
    return [
        torch.randn(shape, generator=draws, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]


@pytest.mark.parametrize("mask", [None, 0.6])
def test_gradcheck(mask):
    x = ragged_of([3, 0, 2, 1], (2,), mask=mask)
    offsets, kept, check = x.offsets, x.mask, torch.autograd.gradcheck
    assert check(lambda v: custom.temporal_softmax(v, offsets, kept), x.values)
    for how in HOWS:
        some = custom.temporal_pool(x.values.detach(), offsets, kept, how).isfinite()
        assert check(
            lambda v, h=how, s=some: custom.temporal_pool(v, offsets, kept, h)[s], x.values
        )
    assert check(lambda v: custom.masking(v, offsets, kept, 0.0)[0], x.values)
    assert check(lambda v: custom.to_padded(v, offsets, 5, 2.0), x.values)
    starts, lengths = torch.tensor([2, 0, 1, 1]), torch.tensor([3, 0, 4, 1])
    assert check(lambda v: custom.take_rows(v, starts, lengths), x.values)
    steps = torch.randn(8, 2, dtype=torch.float64, requires_grad=True)
    assert check(lambda v: torch.ops.ragmask.add_rows.default(v, starts, lengths, 6), steps)
    ids, table = torch.tensor([1, 0, 2, 0, 1, 2]), x.values[:3].detach().requires_grad_()
    for zero in (False, True):  # a masked step's vector is given back, and takes no gradient
        where = torch.ones(6, dtype=torch.bool) if kept is None else kept
        where = (where & (ids != 0) if zero else where)[:, None]

        def looked_up(t, zero=zero, where=where):
            return custom.embedding(ids, offsets, kept, t, zero) * where

        assert check(looked_up, table)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_gradcheck_of_recurrent_layers(name, backwards):
    x = ragged_of([3, 0, 2, 1], (2,))
    cell = {"LSTM": rt.nn.LSTM.cell, "GRU": rt.nn.GRU.cell, "RNN": rt.nn.RNN.cell}[name]
    op, tensors = custom.RECURRENT[cell.name], inputs_of(cell)

    def run(values, *tensors):
        return op(values, x.offsets, None, *tensors, backwards, True)[:2]

    assert torch.autograd.gradcheck(run, (x.values, *tensors))


def test_second_derivatives_through_copies_only():
    x = ragged_of()
    check = torch.autograd.gradgradcheck
    assert check(lambda v: x.with_values(v)[[2, 0, 2]].values.pow(2), x.values)
    assert check(lambda v: x.with_values(v).to_padded()[0].pow(3), x.values)


@pytest.mark.parametrize(
    "op",
    [
        lambda x: rt.temporal_softmax(x).values,
        rt.temporal_pool,
        lambda x: rt.temporal_conv(x, x.values[:2]).values,
        lambda x: rt.nn.LSTM(3, 2, dtype=torch.float64)(x)[0].values,
        lambda x: rt.nn.GRU(3, 2, dtype=torch.float64)(x)[1],
        lambda x: rt.mean_squared_error(x, torch.zeros_like(x.values)),
    ],
)
def test_second_derivatives_say_that_they_are_not_there(op):
    x = ragged_of()
    (first,) = torch.autograd.grad(op(x).square().sum(), x.values, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"second derivatives .* create_graph=False"):
        first.sum().backward()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_other_transforms():
    """Forward-mode derivatives and torch.func.grad raise; vmap runs the op for each."""
    x = ragged_of(grad=False)

    def pooled(values):
        return rt.temporal_pool(x.with_values(values))

    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.jvp(pooled, (x.values,), (x.values,))
    with pytest.raises(RuntimeError, match="functorch transforms"):
        torch.func.grad(lambda v: pooled(v).sum())(x.values)
    two = torch.stack([x.values, -x.values])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is slow, which torch says here or on stderr
        mapped = torch.func.vmap(pooled)(two)
    assert mapped.equal(torch.stack([pooled(one) for one in two]))


# -- what is masked, and what is NaN ------------------------------------------------------------

STEPWISE = {
    "softmax": lambda x: rt.temporal_softmax(x).values,
    "masking": lambda x: rt.masking(x).values,
    "conv": lambda x: rt.temporal_conv(x, torch.ones(3, 3, dtype=x.dtype), causal=False).values,
    "to_padded": lambda x: x.to_padded()[0],
    "picked": lambda x: x[[2, 0, 3, 2]].values,
    "truncated": lambda x: x.truncate(2, "pre").values,
    "joined": lambda x: rt.temporal_concat([x, x]).values,
    "split": lambda x: rt.temporal_split(x, 2, width=8)[0].values,
    "row": lambda x: x[2],
    "lstm": lambda x: rt.nn.LSTM(3, 4, 2, bidirectional=True, dtype=x.dtype)(x)[0].values,
    "gru": lambda x: rt.nn.GRU(3, 4, dtype=x.dtype)(x)[0].values,
    "rnn": lambda x: rt.nn.RNN(3, 4, bidirectional=True, dtype=x.dtype)(x)[0].values,
}
POOLS = {how: lambda x, how=how: rt.temporal_pool(x, how) for how in HOWS}


@pytest.mark.parametrize("name", [*STEPWISE, *POOLS])
def test_masked_steps_give_and_get_nothing(name):
    """Whatever lies in masked steps: the kept steps' values and gradients have the same bits."""
    op = (STEPWISE | POOLS)[name]
    x, results = ragged_of(mask=0.6), []
    for fill in (0.0, torch.nan, torch.inf):
        values = torch.where(x.mask[:, None], x.values.detach(), fill).requires_grad_()
        torch.manual_seed(0)
        one = rt.RaggedTensor(values, x.offsets, x.mask)
        given = op(one)
        of_given = torch.randn(given.shape, dtype=given.dtype)
        (of_values,) = torch.autograd.grad(given, values, of_given)
        assert (of_values[~x.mask] == 0).all()
        results.append((given.detach().nan_to_num(0, 0, 0), of_values))
    for given, of_values in results[1:]:
        assert given.equal(results[0][0])
        assert of_values.equal(results[0][1])


@pytest.mark.parametrize(
    "name", ["softmax", "masking", "lstm", "gru", "rnn"]
)  # whose outputs lie like their inputs
def test_nan_that_arrives_at_masked_steps_goes_nowhere(name):
    x = ragged_of(mask=0.6)
    torch.manual_seed(0)
    given = STEPWISE[name](x)
    of_given = torch.randn(given.shape, dtype=given.dtype)
    both = [
        torch.autograd.grad(
            given, x.values, torch.where(x.mask[:, None], of_given, fill), retain_graph=True
        )[0]
        for fill in (0.0, torch.nan)
    ]
    assert both[0].equal(both[1])


def test_nan_that_arrives_in_padding_or_at_masked_vectors_goes_nowhere():
    x = ragged_of(mask=0.6)
    values, mask = x.to_padded()
    (grad,) = torch.autograd.grad(
        values, x.values, torch.where(mask[..., None], 1.0, torch.nan).expand_as(values)
    )
    assert grad.equal(x.mask[:, None].double().expand_as(grad))
    table = torch.eye(3, requires_grad=True)
    ids = rt.RaggedTensor(
        torch.tensor([1, 99, 2]), torch.tensor([0, 3]), torch.tensor([1, 0, 1]) > 0
    )
    vectors = rt.embedding(ids, table).values
    (grad,) = torch.autograd.grad(
        vectors, table, torch.tensor([[1.0], [torch.nan], [2.0]]).expand(3, 3)
    )
    assert grad[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", [*STEPWISE, *POOLS])
def test_nan_in_a_row_stays_there(name):
    """Row 2's values, and what arrives at it, are NaN: the other rows' are the same bits."""
    if name in ("picked", "row"):
        return  # of which row 2 is most
    op, x = (STEPWISE | POOLS)[name], ragged_of()
    steps = torch.zeros(x.n_steps, dtype=torch.bool)
    steps[4:11] = True
    results = []
    for fill in (0.0, torch.nan):
        values = torch.where(steps[:, None], x.values.detach() + fill, x.values.detach())
        values.requires_grad_()
        torch.manual_seed(0)
        given = op(rt.RaggedTensor(values, x.offsets))
        of_given = torch.randn(given.shape, dtype=given.dtype) + torch.where(given.isnan(), fill, 0)
        (of_values,) = torch.autograd.grad(given, values, of_given)
        results.append((given.detach(), of_values))
    (given, of_values), (with_nan, of_nan) = results
    assert of_nan[~steps].equal(of_values[~steps])
    assert not with_nan.isnan().all()
    assert with_nan[~with_nan.isnan()].equal(given[~with_nan.isnan()])
    assert of_nan[~steps].isfinite().all()


# -- changed between forward and backward -------------------------------------------------------


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "max"])
def test_values_changed_before_backward_are_noticed(name):
    leaf = ragged_of()
    x = leaf.with_values(leaf.values * 1)
    given = (STEPWISE | POOLS)[name](x)
    with torch.no_grad():
        x.values.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        given.sum().backward()


@pytest.mark.parametrize("changed", ["output", "offsets", "mask", "ids", "weights"])
def test_what_else_the_gradient_needs_is_noticed(changed):
    x, lstm = ragged_of(mask=0.6), rt.nn.LSTM(3, 2, dtype=torch.float64)
    ids = rt.RaggedTensor(torch.zeros(x.n_steps, dtype=torch.int64), x.offsets, x.mask)
    table = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    soft, run, vectors = rt.temporal_softmax(x), lstm(x)[0], rt.embedding(ids, table)
    {
        "output": lambda: soft.values.detach().zero_(),
        "offsets": lambda: x.offsets.copy_(x.offsets),
        "mask": lambda: x.mask.fill_(True),
        "ids": lambda: ids.values.fill_(1),
        "weights": lambda: lstm.weight_hh_l0.detach().zero_(),
    }[changed]()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        sum(one.values.sum() for one in (soft, run, vectors)).backward()


# -- dtypes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [*STEPWISE, *POOLS])
def test_halves_are_computed_in_float32_and_given_back_as_they_came(name, dtype):
    op, x = (STEPWISE | POOLS)[name], ragged_of(dtype=dtype, mask=0.6)
    single = x.with_values(x.values.detach().float().requires_grad_())
    ours, theirs = [], []
    for one, results in ((x, ours), (single, theirs)):
        torch.manual_seed(0)
        given = op(one)
        results += [given, *gradients([given], [one.values])]
    assert all(one.dtype == dtype for one in ours)
    if name not in ("lstm", "gru", "rnn"):  # whose weights were rounded too
        assert ours[0].equal(theirs[0].to(dtype))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_tables_of_halves(dtype):
    table = torch.randn(3, 4).to(dtype).requires_grad_()
    ids = rt.RaggedTensor(torch.tensor([1, 0, 1, 1]), torch.tensor([0, 3, 4]))
    vectors = rt.embedding(ids, table).values
    assert vectors.equal(table[ids.values])
    (ours,) = gradients([vectors], [table])
    (theirs,) = gradients([table.float()[ids.values]], [table])
    torch.testing.assert_close(ours, theirs)


def test_sums_and_means_of_integers():
    x = ragged_of(item=(), grad=False)
    for dtype in (torch.int32, torch.uint8, torch.bool):
        whole = x.with_values((x.values.abs() * 3).to(dtype))
        assert rt.temporal_pool(whole, "sum").dtype in (torch.int64, torch.uint64)
        assert rt.temporal_pool(whole, "mean").dtype == torch.float64
        assert rt.temporal_pool(whole, "max").dtype == dtype
        assert rt.temporal_pool(whole, "std").dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mask", MASKS)
def test_numbers_of_steps_have_no_gradient(mask, dtype):
    x = ragged_of(mask=mask)
    x = x.with_values(x.values.detach().round().to(dtype).requires_grad_())
    counts, places = (rt.temporal_pool(x, how) for how in ("count", "argmax"))
    assert {(one.dtype, one.requires_grad) for one in (counts, places)} == {(torch.int64, False)}
    kept = torch.ones(x.n_steps, dtype=torch.bool) if mask is None else x.mask
    rows = zip(counts, places, x.values.split(LENGTHS), kept.split(LENGTHS), strict=True)
    for count, place, row, keep in rows:
        assert count == keep.sum()
        shown = torch.where(keep[:, None], row, -torch.inf)
        expected = shown.argmax(0) if keep.any() else torch.full((3,), -1)
        assert place.equal(expected)  # torch on the CPU takes the first of equals


# -- hostile input --------------------------------------------------------------------------------


def test_memory_in_any_order():
    x = ragged_of(grad=False)
    expected = rt.temporal_pool(x)
    for values in (
        x.values.T.contiguous().T,
        torch.stack([x.values, x.values], 1)[:, 1],
        torch.complex(x.values * 0, -x.values).conj().imag,
    ):
        assert rt.temporal_pool(x.with_values(values)).equal(expected)
    one = torch.ones((), dtype=torch.float64, requires_grad=True)
    wide = x.with_values(one.expand(x.n_steps, 3))
    rt.temporal_softmax(wide).values.sum().backward()
    assert one.grad.isfinite()
    offsets = torch.stack([x.offsets, x.offsets], 1)[:, 0]
    mask = torch.ones(x.n_steps, 2, dtype=torch.bool)[:, 0]
    assert rt.temporal_pool(rt.RaggedTensor(x.values, offsets, mask)).equal(expected)


def test_ids_outside_the_table():
    table = torch.ones(3, 2, requires_grad=True)
    for bad in (3, -1, 2**40):
        ids = rt.RaggedTensor(torch.tensor([0, 1, 0, bad]), torch.tensor([0, 2, 4]))
        with pytest.raises(InvalidInputError, match=rf"row 1, step 1: id {bad} is outside"):
            rt.embedding(ids, table)
    with pytest.raises(UnsupportedTypeError, match="integers"):
        rt.embedding(ragged_of(item=()), table)
    with pytest.raises(UnsupportedTypeError, match="integers"):
        rt.embedding(ids.with_values(ids.values[:, None]), table)
    with pytest.raises(UnsupportedTypeError, match="must be a RaggedTensor"):
        rt.embedding(torch.tensor([1]), table)


def test_gradient_ops_trust_nobody():
    """Anyone may call them, by torch.ops.ragmask."""
    x, ops = ragged_of(), torch.ops.ragmask
    values, offsets, few = x.values.detach(), x.offsets, torch.ones(1, 3, dtype=torch.float64)
    ids = torch.zeros(x.n_steps, dtype=torch.int64)
    tensors = [one.detach() for one in inputs_of(rt.nn.LSTM.cell, 3, 2, len(LENGTHS))]
    outputs, last, kept = ops.lstm(values, offsets, None, *tensors, False, True)

    def lstm(outputs=outputs, kept=kept, of_outputs=outputs, of_last=last):
        given = outputs, kept, of_outputs, of_last
        ops.lstm_gradient(values, offsets, None, *tensors, *given, False, True)

    lstm()
    lstm(of_outputs=None, of_last=None)
    for call in (
        lambda: ops.temporal_softmax_gradient(values, offsets, None, few),
        lambda: ops.temporal_pool_gradient(values, offsets, None, few, "sum"),
        lambda: ops.temporal_pool_gradient(values, offsets, None, few.float(), "sum"),
        lambda: ops.embedding_gradient(ids, offsets, None, few, 2, False),
        lambda: ops.add_rows(few, offsets[:-1], offsets.diff(), x.n_steps),
        lambda: lstm(outputs=few),
        lambda: lstm(kept=kept[:-1]),
        lambda: lstm(of_outputs=few),
        lambda: lstm(of_last=few),
        lambda: lstm(of_outputs=outputs.float()),
    ):
        with pytest.raises(InvalidInputError, match=r"must be torch\.float64"):
            call()
    bad = offsets + 3
    for call in (
        lambda: ops.temporal_softmax(values, bad, None),
        lambda: ops.temporal_pool(values, offsets[:-2], None, "sum"),
        lambda: ops.take_rows(values, bad[:-1], bad.diff()),
        lambda: ops.add_rows(values, bad[:-1], bad.diff(), x.n_steps),
        lambda: ops.to_padded(values, offsets, -5, 0.0),
        lambda: ops.embedding_gradient(ids - 1, offsets, None, values, 2, False),
        lambda: ops.temporal_pool(values, offsets, None, "median"),
        lambda: ops.temporal_pool_gradient(values, offsets, None, values[:6], "median"),
        lambda: ops.temporal_pool_gradient(values, offsets, None, values[:6], "argmax"),
        lambda: ops.temporal_softmax(values, offsets, torch.ones(2, dtype=torch.bool)),
        lambda: ops.lstm(values, offsets, None, *tensors[:3], tensors[3][:, :1], False, True),
        lambda: ops.lstm(values[:, :1], offsets, None, *tensors, False, True),
    ):
        with pytest.raises(InvalidInputError):
            call()


def test_kept_is_not_there_for_backward():
    x, tensors = ragged_of([1]), inputs_of(rt.nn.LSTM.cell, 3, 2, 1)
    outputs, *_ = torch.ops.ragmask.lstm(x.values, x.offsets, None, *tensors, False, False)
    with pytest.raises(InvalidInputError, match="what was kept"):
        outputs.sum().backward()


def test_mixed_devices():
    x = ragged_of(grad=False)
    with pytest.raises(DeviceError, match="meta, cpu"):
        rt.RaggedTensor(x.values.to("meta"), x.offsets)
    with pytest.raises((DeviceError, RuntimeError), match="meta"):
        rt.embedding(x.with_values(x.values[:, 0].long()), torch.ones(3, 2, device="meta"))
    with pytest.raises((DeviceError, RuntimeError), match="meta"):
        rt.nn.LSTM(3, 2, device="meta", dtype=torch.float64)(x)


def test_meta_tensors_give_shapes():
    x = ragged_of(grad=False).to("meta")
    outputs, (h, _) = rt.nn.LSTM(3, 2, device="meta", dtype=torch.float64)(x)
    assert (outputs.item_shape, h.shape) == ((2,), (1, len(LENGTHS), 2))
    assert rt.temporal_pool(rt.temporal_softmax(outputs)).shape == (len(LENGTHS), 2)


def test_arguments_that_are_no_ragged_tensors_or_no_tensors():
    x = ragged_of()
    for call in (
        lambda: rt.temporal_pool(x.values),
        lambda: rt.temporal_softmax([[1.0]]),
        lambda: rt.masking(None),
        lambda: rt.temporal_split(x.values),
        lambda: rt.temporal_concat([x, x.values]),
        lambda: rt.lstm(x, x, x, x),
        lambda: rt.nn.LSTM(3, 2)(x.values),
        lambda: rt.mean_squared_error(x.values, x.values),
        lambda: rt.mean_squared_error(x, [1.0]),
    ):
        with pytest.raises(UnsupportedTypeError):
            call()
    for call in (
        lambda: rt.temporal_pool(x, "median"),
        lambda: rt.temporal_split(x, 0),
        lambda: rt.temporal_split(x, 2, width=3),
        lambda: rt.temporal_split(x, 2, width=9),
        lambda: rt.temporal_split(x, 2, width=8.0),
        lambda: rt.temporal_concat([]),
        lambda: rt.temporal_concat([x, x[:2]]),
    ):
        with pytest.raises(InvalidInputError):
            call()
    with pytest.raises((UnsupportedTypeError, RuntimeError)):
        rt.embedding(x.with_values(x.values[:, 0].long()), x)
