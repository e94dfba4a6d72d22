"""Attention and the layer of a transformer against torch's own, row by row."""

import copy
import pickle

import pytest
import torch

import ragmask.interop.torch as rt
from ragmask import InvalidInputError, UnsupportedTypeError
from tests.peers.ragged_tensors import (
    LENGTHS,
    assert_close,
    assert_same_bits,
    gradients,
    ragged_of,
    rows_of,
    spread,
)

EMBED, HEADS = 6, 2


def attention_pair(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    theirs = torch.nn.MultiheadAttention(EMBED, HEADS, dtype=dtype, **options)
    ours = rt.nn.MultiheadAttention(EMBED, HEADS, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for weight in (ours.in_proj_bias, ours.out_proj.bias) if ours.out_proj.bias is not None else ():
        torch.nn.init.normal_(weight)  # zeros would show nothing
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def attended(module, query, key, value, is_causal=False):
    """torch's module on each row's kept steps alone; a query that sees none has zeros projected."""
    outputs = []
    for q, k, v in zip(*map(rows_of, (query, key, value)), strict=True):
        if not len(k):
            mixed = q.new_zeros(len(q), module.embed_dim)
            outputs.append(module.out_proj(mixed))
            continue
        late = torch.ones(len(q), len(k), dtype=torch.bool).triu(1 + len(k) - len(q))
        options = {"attn_mask": late, "is_causal": True} if is_causal else {}
        outputs.append(module(q, k, v, need_weights=False, **options)[0])
    return spread(query, outputs)


def kept(x, values):
    return values if x.mask is None else torch.where(x.mask[:, None], values, 0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mask", [None, 0.6])
@pytest.mark.parametrize("is_causal", [False, True])
def test_rows_look_at_themselves(bias, mask, is_causal):
    ours, theirs = attention_pair(bias=bias)
    x = ragged_of(item=(EMBED,), mask=mask)
    outputs, weights = ours(x, x, x, is_causal=is_causal)
    assert weights is None
    results = [kept(x, outputs.values)]
    expected = [attended(theirs, x, x, x, is_causal)]
    assert_close(results, expected)
    assert_close(
        gradients(results, [x.values, *ours.parameters()]),
        gradients(expected, [x.values, *theirs.parameters()]),
    )
    assert_same_bits([ours(x, is_causal=is_causal)[0].values], [outputs.values])


@pytest.mark.parametrize(("kdim", "vdim"), [(None, None), (3, None), (3, 4)])
def test_rows_look_at_others_of_other_lengths_and_sizes(kdim, vdim):
    ours, theirs = attention_pair(kdim=kdim, vdim=vdim)
    query = ragged_of(item=(EMBED,))
    lengths = [2, 3, 0, 5, 3, 0]
    key = ragged_of(lengths, (kdim or EMBED,), seed=1)
    value = ragged_of(lengths, (vdim or EMBED,), seed=2)
    results, expected = [ours(query, key, value)[0].values], [attended(theirs, query, key, value)]
    assert_close(results, expected)
    inputs = [query.values, key.values, value.values]
    assert_close(
        gradients(results, [*inputs, *ours.parameters()]),
        gradients(expected, [*inputs, *theirs.parameters()]),
    )


def encoder_pair(seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    theirs = torch.nn.TransformerEncoderLayer(EMBED, HEADS, 10, dtype=dtype, **options)
    ours = rt.nn.TransformerEncoderLayer(EMBED, HEADS, 10, dtype=dtype, **options)
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu", torch.tanh])
@pytest.mark.parametrize(("bias", "is_causal"), [(True, False), (False, True)])
def test_an_encoder_layer(norm_first, activation, bias, is_causal):
    options = {"norm_first": norm_first, "activation": activation, "bias": bias, "dropout": 0.0}
    ours, theirs = encoder_pair(**options)
    x = ragged_of(item=(EMBED,))
    rows = [row for row in rows_of(x) if len(row)]
    expected = []
    for row in rows:
        late = torch.ones(len(row), len(row), dtype=torch.bool).triu(1)
        causal = {"src_mask": late, "is_causal": True} if is_causal else {}
        expected.append(theirs(row, **causal))
    results, expected = [ours(x, is_causal=is_causal).values], [torch.cat(expected)]
    assert_close(results, expected)
    assert_close(
        gradients(results, [x.values, *ours.parameters()]),
        gradients(expected, [x.values, *theirs.parameters()]),
    )


@pytest.mark.parametrize("make", [attention_pair, encoder_pair])
def test_what_lies_at_masked_steps_reaches_no_gradient(make):
    module, _ = make(dtype=torch.float32)
    module.eval()
    x = ragged_of(item=(EMBED,), mask=0.6, dtype=torch.float32)

    def run(values):
        values = values.detach().requires_grad_()
        outputs = module(x.with_values(values))
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        result = kept(x, outputs.values)
        return [result.detach(), *gradients([result], [values, *module.parameters()])]

    spoilt = torch.where(x.mask[:, None], x.values, torch.nan)
    whole, other = run(x.values), run(spoilt)
    assert_same_bits(other, whole)
    assert not other[1][~x.mask].any()


@pytest.mark.parametrize("make", [attention_pair, encoder_pair])
@pytest.mark.parametrize("lengths", [[], [0, 0], [1], LENGTHS])
def test_rows_without_steps(make, lengths):
    module, _ = make()
    module.eval()
    x = ragged_of(lengths, (EMBED,))
    outputs = module(x)
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    assert outputs.offsets.tolist() == x.offsets.tolist()
    grads = gradients([outputs.values], [x.values, *module.parameters()])
    assert all(one.isfinite().all() for one in grads)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 3, "vdim": 4}])
def test_the_same_seed_gives_torchs_first_weights(options):
    kinds = ["MultiheadAttention"] if "kdim" in options else ["MultiheadAttention", "encoder"]
    for kind in kinds:
        name = "TransformerEncoderLayer" if kind == "encoder" else kind
        torch.manual_seed(3)
        theirs = getattr(torch.nn, name)(EMBED, HEADS, **options)
        torch.manual_seed(3)
        ours = getattr(rt.nn, name)(EMBED, HEADS, **options)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        assert_same_bits(ours.state_dict().values(), theirs.state_dict().values())
        theirs.load_state_dict(ours.state_dict(), strict=True)


def test_modules_are_copied_pickled_and_shown():
    module, x = rt.nn.MultiheadAttention(EMBED, HEADS), ragged_of(item=(EMBED,)).to(torch.float32)
    expected = module(x)[0].values
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert other(x)[0].values.equal(expected)
    assert "6, num_heads=2" in repr(module)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: rt.nn.MultiheadAttention(6, 4), InvalidInputError, "6 and 4"),
        (lambda: rt.nn.MultiheadAttention(6, 2, dropout=0.1), UnsupportedTypeError, "dropout"),
        (lambda: rt.nn.MultiheadAttention(6, 2, batch_first=True), UnsupportedTypeError, "batch"),
        (lambda: rt.nn.MultiheadAttention(6, 2, add_bias_kv=True), UnsupportedTypeError, "keys"),
        (lambda: rt.nn.MultiheadAttention(0, 2), InvalidInputError, "embed_dim"),
        (
            lambda: rt.nn.TransformerEncoderLayer(6, 2, batch_first=True),
            UnsupportedTypeError,
            "batch_first",
        ),
        (
            lambda: rt.nn.TransformerEncoderLayer(6, 2, activation="tan"),
            InvalidInputError,
            "'tan'",
        ),
        (
            lambda: rt.nn.MultiheadAttention(6, 2)(ragged_of(item=(5,))),
            InvalidInputError,
            "query has steps of shape",
        ),
        (
            lambda: rt.nn.MultiheadAttention(6, 2)(torch.ones(4, 6)),
            UnsupportedTypeError,
            "RaggedTensor",
        ),
    ],
)
def test_what_does_not_fit_says_so(make, error, words):
    with pytest.raises(error, match=words):
        make()
