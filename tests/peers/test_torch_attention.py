"""Attention on RaggedTensors against torch's own, row by row, and varlen_attn on CPUs."""

import itertools

import pytest
import torch
from torch.nn.attention.varlen import AuxRequest
from torch.nn.functional import scaled_dot_product_attention

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask.interop.torch import custom
from tests.peers.ragged_tensors import assert_close, assert_same_bits, gradients, ragged_of

LENGTHS = [4, 0, 70, 1, 33, 0]
KEYS = [4, 3, 50, 9, 33, 0]


def inputs(heads=4, key_heads=2, keys=LENGTHS, mask=None, dtype=torch.float64, dims=(8, 5)):
    q = ragged_of(LENGTHS, (heads, dims[0]), dtype, 1, mask)
    k = ragged_of(keys, (key_heads, dims[0]), dtype, 2, mask)
    v = rt.RaggedTensor(ragged_of(keys, (key_heads, dims[1]), dtype, 3).values, k.offsets, k.mask)
    return q, k, v


def sides_of(causal, window):
    left, right = window or (None, None)
    left, right = (10**9 if side is None else side for side in (left, right))
    return left, 0 if causal else right


def by_row(q, k, v, causal=False, window=None, scale=None):
    """torch's own attention, with a mask of what each query sees; 0 where it sees nothing."""
    left, right = sides_of(causal, window)
    outputs = []
    spans = (itertools.pairwise(x.offsets.tolist()) for x in (q, k))
    for (begin, end), (first, last) in zip(*spans, strict=True):
        own = torch.arange(end - begin)[:, None] + (last - first) - (end - begin)
        ahead = torch.arange(last - first) - own
        sees = (ahead >= -left) & (ahead <= right)
        if k.mask is not None:
            sees = sees & k.mask[first:last] & q.mask[begin:end, None]
        rows = (q.values[begin:end], k.values[first:last], v.values[first:last])
        row = scaled_dot_product_attention(
            *(x.transpose(0, 1)[None] for x in rows),
            attn_mask=sees | ~sees.any(1, keepdim=True),
            scale=scale,
            enable_gqa=True,
        )[0].transpose(0, 1)
        outputs.append(torch.where(sees.any(1)[:, None, None], row, 0))
    return torch.cat(outputs)


OPTIONS = [
    {},
    {"causal": True},
    {"window": (3, 2), "scale": 0.5},
    {"window": (5, None), "causal": True},
]


@pytest.mark.parametrize("keys", [LENGTHS, KEYS])
@pytest.mark.parametrize("mask", [None, 0.7])
@pytest.mark.parametrize("options", OPTIONS)
def test_it_is_torchs_row_by_row(keys, mask, options):
    q, k, v = inputs(keys=keys, mask=mask)
    tensors = q.values, k.values, v.values
    outputs, expected = rt.temporal_attention(q, k, v, **options), by_row(q, k, v, **options)
    assert outputs.offsets is q.offsets
    assert_close([outputs.values], [expected])
    assert_close(gradients([outputs.values], tensors), gradients([expected], tensors))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_float32(dtype):
    q, k, v = inputs(dtype=dtype)
    outputs = rt.temporal_attention(q, k, v)
    q32, k32, v32 = (x.with_values(x.values.detach().float()) for x in (q, k, v))
    expected = rt.temporal_attention(q32, k32, v32).values
    assert_same_bits([outputs.values], [expected.to(dtype)])
    tensors = [x.values for x in (q, k, v)]
    assert all(grad.dtype == dtype for grad in gradients([outputs.values], tensors))


@pytest.mark.parametrize("masked", [False, True])
def test_masked_steps_get_and_give_nothing(masked):
    """A NaN under a mask, or in another row, changes no bit; nor does one that no query sees."""
    q, k, v = inputs(mask=0.6)
    tensors = [x.values for x in (q, k, v)]
    expected = rt.temporal_attention(q, k, v, causal=True).values
    grads = gradients([expected], tensors)
    spoilt = []
    for x in (q, k, v):
        values = x.values.detach().clone()
        values[~x.mask if masked else slice(int(x.offsets[4]), int(x.offsets[5]))] = torch.nan
        spoilt.append(x.with_values(values.requires_grad_()))
    found = rt.temporal_attention(*spoilt, causal=True).values
    found_grads = gradients([found], [x.values for x in spoilt])
    clean = slice(None) if masked else slice(0, int(q.offsets[4]))
    for one, other in zip((expected, *grads), (found, *found_grads), strict=True):
        assert_same_bits([other[clean]], [one[clean]])
    for x, grad in zip((q, k, v), grads, strict=True):
        assert not grad[~x.mask].any()


def test_threads_change_no_bit(num_threads):
    found = []
    q, k, v = (ragged_of([300, 1, 0, 90] * 8, (4, 16), torch.float32, seed) for seed in range(3))
    for threads in (1, 2, 5):
        num_threads(threads)
        outputs = rt.temporal_attention(q, k, v).values
        found.append([outputs, *gradients([outputs], [x.values for x in (q, k, v)])])
    assert_same_bits(found[0], found[1])
    assert_same_bits(found[0], found[2])


def test_it_compiles_whole():
    q, k, v = inputs(mask=0.8)

    def loss(q, k, v):
        return rt.temporal_attention(q, k, v, window=(4, 0)).values.square().sum()

    expected = gradients([loss(q, k, v)], [x.values for x in (q, k, v)])
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    found = gradients([compiled(q, k, v)], [x.values for x in (q, k, v)])
    assert_close(found, expected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("heads", [(4, 2), ()])
def test_opcheck(masked, heads):
    shapes = ((heads[0], 3), (heads[1], 3), (heads[1], 2)) if heads else ((3,), (3,), (2,))
    draws = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(9, *shape, generator=draws, dtype=torch.float64).requires_grad_()
        for shape in shapes
    )
    offsets = torch.tensor([0, 3, 3, 4, 9])
    mask = torch.arange(9) % 3 > 0 if masked else None
    arguments = q, offsets, mask, k, v, offsets, mask, 2, 2**62, 0.5
    torch.library.opcheck(custom.temporal_attention, arguments)


def test_a_pair_that_no_op_can_take_is_refused():
    q, k, v = inputs()
    other = ragged_of([5, *LENGTHS[1:]], (2, 5))
    with pytest.raises(rm.InvalidInputError, match="k and v differ in row 0: 4 steps and 5"):
        rt.temporal_attention(q, k, other)
    with pytest.raises(rm.InvalidInputError, match="k and v have 6 and 5 rows"):
        rt.temporal_attention(q, k, v[:5])
    with pytest.raises(rm.InvalidInputError, match="q and k have 6 and 5 rows"):
        rt.temporal_attention(q, k[:5], v[:5])
    with pytest.raises(rm.UnsupportedTypeError, match="float32 or float64, all the same"):
        rt.temporal_attention(q, k, v.to(torch.float32))
    tensors = q.values, q.offsets, None, k.values, v.values, k.offsets, None
    with pytest.raises(rm.InvalidInputError, match="window must be at least 0; got -1"):
        custom.temporal_attention(*tensors, 0, -1, 1.0)
    with pytest.raises(rm.UnsupportedTypeError, match="k must be a RaggedTensor"):
        rt.temporal_attention(q, k.values, v)


# -- varlen_attn


def lengths_of(x):
    return x.offsets.int(), int(x.lengths.max())


@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (3, 0), (2, 4), (0, -1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_varlen_attn_on_a_cpu(window, dtype):
    q, k, v = inputs(keys=KEYS, dtype=dtype, dims=(8, 8))
    (q_rows, max_q), (k_rows, max_k) = lengths_of(q), lengths_of(k)
    rows = q_rows, k_rows, max_q, max_k
    tensors = q.values, k.values, v.values
    found = rt.varlen_attn(*tensors, *rows, window_size=window, enable_gqa=True, scale=0.7)
    sides = tuple(None if side == -1 else side for side in window)
    expected = by_row(q, k, v, window=sides, scale=0.7)
    tolerance = 1e-11 if dtype == torch.float64 else 2e-5
    assert_close([found], [expected], tolerance)
    assert_close(gradients([found], tensors), gradients([expected], tensors), tolerance)


def test_the_logarithms_and_the_keys_that_are_used():
    q, k, v = inputs(4, 4, KEYS, dims=(8, 8))
    rows = *(lengths_of(x)[0] for x in (q, k)), 70, 50
    used = torch.tensor([4, 1, 9, 0, 33, 0], dtype=torch.int32)
    found, logs = rt.varlen_attn(
        q.values, k.values, v.values, *rows, seqused_k=used, return_aux=AuxRequest(lse=True)
    )
    assert logs.shape == (4, q.n_steps)
    assert logs.dtype == torch.float32
    kept = [x.taken(x.offsets[:-1], used.long()) for x in (k, v)]
    assert_close([found], [by_row(q, *kept)])
    for row, (begin, end) in enumerate(itertools.pairwise(q.offsets.tolist())):
        keys = kept[0].values[kept[0].offsets[row] : kept[0].offsets[row + 1]]
        scores = torch.einsum("qhd,khd->hqk", q.values[begin:end], keys) * 8**-0.5
        expected = scores.logsumexp(2) if len(keys) else torch.full((4, end - begin), torch.inf)
        torch.testing.assert_close(logs[:, begin:end].double(), expected.double())


def test_what_varlen_attn_does_not_do_is_refused_by_name():
    q, k, v = inputs(dims=(8, 8))
    tensors, rows = (q.values, k.values, v.values), lengths_of(q)[0]
    with pytest.raises(rm.InvalidInputError, match="4 and 2 heads: pass enable_gqa=True"):
        rt.varlen_attn(*tensors, rows, rows, 70, 70)
    with pytest.raises(rm.UnsupportedTypeError, match="no block_table, and needs cu_seq_k"):
        rt.varlen_attn(*tensors, rows, None, 70, 70, enable_gqa=True)
    with pytest.raises(rm.InvalidInputError, match=r"-1 is no limit; got \(-2, 0\)"):
        rt.varlen_attn(*tensors, rows, rows, 70, 70, enable_gqa=True, window_size=(-2, 0))
    with pytest.raises(rm.InvalidInputError, match=r"value must be \(steps, heads, dim\)"):
        rt.varlen_attn(*tensors[:2], v.values[0], rows, rows, 70, 70, enable_gqa=True)
    with pytest.raises(rm.InvalidInputError, match="offsets must go from 0 to 108"):
        rt.varlen_attn(*tensors, rows[:-2], rows[:-2], 70, 70, enable_gqa=True)
