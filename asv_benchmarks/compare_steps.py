"""The tables of compare.py for what is done with steps: two threads on each side, float32."""

from functools import partial

import compare_nested
import numpy as np
from benchmarks.common import (
    copying,
    fastest,
    log_normal_to,
    ragged_of,
    sgemms,
    with_sgemm,
)
from compare_ops import check, on_two_threads, rng
from tables import Row, against, installed, show_amount, wanted

import ragmask as rm

HEADS, DIM = 8, 64
STEPS = 1_000_000


# -- attention ----------------------------------------------------------------------------


def attention():
    """Forward and backward, 8 heads of 64, beside torch's scaled_dot_product_attention in a loop
    over the rows; and beside the best sgemm, at 14 · heads · 64 flops a pair of steps."""
    torch = on_two_threads()
    if not torch:
        return
    products = [*sgemms(), *sgemms(torch.mm, torch.from_numpy)]
    for rows, median, causal, target in (
        (128, 40, False, 3),
        (128, 40, True, None),
        (32, 200, False, 1.5),
        (32, 200, True, None),
        (4, 2_000, False, None),
    ):
        what = f"{rows} rows, median {median}{', causal' if causal else ''}"
        if not wanted(what):
            continue
        lengths = row_lengths(rows, median)
        ours, theirs, padded = attention_calls(torch, lengths, causal)
        seconds = fastest(ours, theirs, calls=2)
        yield Row(what, seconds[0], "torch, row by row", seconds[1], target=target)
        if rows > 4:
            seconds = fastest(ours, padded, calls=2)
            yield Row(what, seconds[0], "torch, padded, with a mask", seconds[1])
        if not causal:
            flops = 14 * HEADS * DIM * int((lengths**2).sum())
            seconds, rate = with_sgemm(ours, products)
            show = partial(show_amount, flops / 1e9, "Gflop/s")
            target = 1 / 0.4 if median < 2_000 else None
            yield Row(what, seconds, "best sgemm", flops / rate, "time", target, show)


def row_lengths(rows, median):
    """Log-normal; none is longer than 12 times the median."""
    return np.ceil(np.minimum(12 * median, rng().lognormal(np.log(median), 0.6, rows))).astype("i8")


def attention_calls(torch, lengths, causal):
    """ragmask, a loop over rows, and a padded batch: each gives the gradients of q, k and v."""
    import ragmask.interop.torch as rt

    attend = torch.nn.functional.scaled_dot_product_attention
    offsets = torch.tensor(np.cumsum([0, *lengths]))
    torch.manual_seed(0)
    flat = [torch.randn(int(offsets[-1]), HEADS, DIM) for _ in range(4)]
    *qkv, of_outputs = flat
    leaves = [one.clone().requires_grad_() for one in qkv]

    def ours():
        q, k, v = (rt.RaggedTensor(one, offsets) for one in leaves)
        outputs = rt.temporal_attention(q, k, v, causal=causal).values
        return torch.autograd.grad(outputs, leaves, of_outputs)

    # heads first, and each row a tensor of its own, as torch's kernel likes them
    rows = [
        [one[first:last].transpose(0, 1)[None].contiguous() for one in flat]
        for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]
    for row in rows:
        for one in row[:3]:
            one.requires_grad_()

    def row_by_row():
        outputs = [attend(q, k, v, is_causal=causal) for q, k, v, _ in rows]
        row_leaves = [one for row in rows for one in row[:3]]
        return torch.autograd.grad(outputs, row_leaves, [row[3] for row in rows])

    width = int(lengths.max())
    kept = torch.arange(width) < torch.tensor(lengths)[:, None]
    seen = kept[:, None, None, :]
    if causal:
        seen = seen & torch.ones(width, width, dtype=torch.bool).tril()
    dense = [rt.RaggedTensor(one, offsets).to_padded()[0].transpose(1, 2) for one in flat]
    dense_leaves = [one.contiguous().requires_grad_() for one in dense[:3]]

    def padded():
        outputs = attend(*dense_leaves, attn_mask=seen)
        return torch.autograd.grad(outputs, dense_leaves, dense[3].contiguous())

    found = ours()
    for number, one in enumerate(found):
        by_row = row_by_row()[number::3]
        expected = torch.cat([row[0].transpose(0, 1) for row in by_row])
        check(one.numpy(), expected.numpy(), "attention")
    return ours, row_by_row, padded


# -- convolution --------------------------------------------------------------------------


def convolution(channels=256, width=4):
    """Depthwise and causal, 256 channels, width 4, forward and backward, on 256 log-normal rows.
    torch gets a padded batch, channels first, as its kernel likes it."""
    torch = on_two_threads()
    if not torch:
        return
    import ragmask.interop.torch as rt

    torch.manual_seed(0)
    batch = rt.RaggedTensor.from_ragged(ragged_of(log_normal_to(256 * 60), (channels,)))
    what = f"{len(batch)} rows, {channels} channels, width {width}"
    if not wanted(what):
        return
    values = batch.values.clone().requires_grad_()
    kernel = torch.randn(width, channels, requires_grad=True)
    bias = torch.randn(channels, requires_grad=True)
    of_outputs = torch.randn_like(batch.values)

    def ours():
        outputs = rt.temporal_conv(batch.with_values(values), kernel, bias).values
        return torch.autograd.grad(outputs, [values, kernel, bias], of_outputs)

    padded, mask = batch.to_padded()
    gradient = batch.with_values(of_outputs).to_padded()[0].transpose(1, 2).contiguous()
    padded = padded.transpose(1, 2).contiguous().requires_grad_()
    weights = kernel.detach().T[:, None].contiguous().requires_grad_()
    convolve = partial(torch.nn.functional.conv1d, groups=channels)

    def theirs():
        early = torch.nn.functional.pad(padded, (width - 1, 0))
        return torch.autograd.grad(
            convolve(early, weights, bias), [padded, weights, bias], gradient
        )

    for one, other in zip(ours(), [*theirs()], strict=True):
        if other.ndim == 3 and other.shape[1] == channels and len(other) == len(batch):
            other = other.transpose(1, 2)[mask]
        elif other.ndim == 3:
            other = other[:, 0].T
        scale = float(other.abs().max())
        check(one.numpy() / scale, other.numpy() / scale, "convolution")
    seconds = fastest(ours, theirs, calls=2)
    yield Row(what, seconds[0], "torch conv1d, padded", seconds[1], target=8)


# -- rows and steps -----------------------------------------------------------------------


def steps():
    """A million steps of log-normal rows of one number, and of 64, into fresh memory; copying the
    same bytes is one thread's np.copyto into memory that is there."""
    on_two_threads()
    ak = installed("awkward")
    for features, count in ((1, STEPS), (64, STEPS // 16)):
        batch = ragged_of(log_normal_to(count), (features,) if features > 1 else ())
        copy = copying(batch.values.nbytes, "cpu")
        for name, op in (("cumsum", rm.temporal_cumsum), ("flip", rm.temporal_flip)):
            out = np.empty_like(batch.values)
            what = f"{name}, {features} feature{'s' if features > 1 else ''}"
            run = partial(op, batch, out=out)
            yield against(what, run, "copying the same bytes", copy, of="time", target=1 / 0.7)
    for dtype in (np.float32, np.int64):
        batch = ragged_of(log_normal_to(STEPS), dtype=dtype)
        array = ak and ak.unflatten(batch.values, batch.lengths)
        for name, op, peer in (
            ("sort", rm.temporal_sort, ak and partial(ak.sort, array, axis=1)),
            ("argsort", rm.temporal_argsort, ak and partial(ak.argsort, array, axis=1)),
        ):
            target = 3 if name == "sort" else None
            what = f"{name}, {np.dtype(dtype)}"
            yield against(what, partial(op, batch), f"awkward's {name}", peer, target=target)


TABLES = [attention, convolution, steps, *compare_nested.TABLES]
