"""The ops' tables of compare.py: two threads on each side, float32, forward only."""

from contextlib import nullcontext
from functools import partial

import numpy as np
from benchmarks.common import (
    embedding_table,
    fastest,
    log_normal_to,
    lstm_weights,
    op_memory,
    ragged_of,
    skewed_lengths,
)
from tables import Row, against, installed, wanted

import ragmask as rm

THREADS = 2
STEPS = 240_000


# -- softmax ------------------------------------------------------------------------------


def softmax():
    """Over time, 240,000 steps of log-normal rows, into fresh memory on both sides."""
    torch = on_two_threads()
    for features, masked_target, segment_target in ((1, 3, 6), (16, 2, 2)):
        batch = ragged_of(log_normal_to(STEPS), (features,))
        what = f"{features} feature{'s' if features > 1 else ''}"
        run = partial(rm.temporal_softmax, batch)
        yield best_of(
            torch,
            what,
            run,
            "torch, masked_fill and softmax on a padded array",
            softmax_padded_in_torch,
            batch,
            masked_target,
        )
        yield best_of(
            torch, what, run, "torch, by segments", softmax_by_segments, batch, segment_target
        )


def softmax_padded_in_torch(torch, batch):
    """With features last, and with time last: the faster one counts."""
    padded, mask = padded_tensors(torch, batch)
    drop, time_last = ~mask, padded.transpose(1, 2).contiguous()
    lowest = float("-inf")
    return (
        lambda: padded.masked_fill(drop[:, :, None], lowest).softmax(1),
        lambda result: result[mask],
    ), (
        lambda: time_last.masked_fill(drop[:, None], lowest).softmax(2),
        lambda result: result.transpose(1, 2)[mask],
    )


def softmax_by_segments(torch, batch):
    """With scatter_reduce, and with segment_reduce: the faster one counts."""
    steps, lengths = torch.tensor(batch.values), torch.tensor(batch.lengths)
    rows = torch.repeat_interleave(torch.arange(len(batch)), lengths)
    index, shape = rows[:, None].expand(steps.shape), (len(batch), steps.shape[1])

    def scatter():
        most = steps.new_full(shape, float("-inf")).scatter_reduce_(0, index, steps, "amax")
        powers = torch.exp_(steps - most[rows])
        return powers.div_(steps.new_zeros(shape).index_add_(0, rows, powers)[rows])

    def segment():
        most = torch.segment_reduce(steps, "max", lengths=lengths)
        powers = torch.exp_(steps - most[rows])
        return powers.div_(torch.segment_reduce(powers, "sum", lengths=lengths)[rows])

    return (scatter, as_it_is), (segment, as_it_is)


# -- embedding, pooling, splitting --------------------------------------------------------


def embedding():
    """A table of 50,000 × 64, and 240,000 ids (int64)."""
    torch = on_two_threads()
    ids, table = ragged_of(log_normal_to(STEPS), dtype=np.int64), embedding_table()
    run = partial(rm.embedding, ids, table)
    yield best_of(
        torch,
        "into fresh memory",
        run,
        "torch embedding, of the flat ids",
        partial(embedding_in_torch, table=table),
        ids,
        2,
    )
    out = run().values.copy()
    reused = partial(rm.embedding, ids, table, out=out)
    if torch:
        into = torch.from_numpy(np.empty_like(out))
        peer = partial(torch.index_select, torch.tensor(table), 0, torch.tensor(ids.values))
        yield against("into reused memory", reused, "torch index_select", partial(peer, out=into))
    yield against(
        "into reused memory",
        reused,
        f"NumPy, copying {out.nbytes / 1e6:.0f} MB",
        partial(np.copyto, out.copy(), out),
        of="time",
        target=1.5,
    )


def embedding_in_torch(torch, ids, table):
    call = partial(torch.nn.functional.embedding, torch.tensor(ids.values), torch.tensor(table))
    return ((call, as_it_is),)


def pooling():
    """The mean of each row: 240,000 steps of log-normal rows, 64 features."""
    torch = on_two_threads()
    batch = ragged_of(log_normal_to(STEPS), (64,))
    for name, peer, target in (
        ("torch, index_add and a division", mean_by_index_add, 2),
        ("torch embedding_bag", mean_by_embedding_bag, 1),
    ):
        run = partial(rm.temporal_pool, batch, "mean")
        yield best_of(torch, "mean", run, name, peer, batch, target)


def mean_by_index_add(torch, batch):
    steps, lengths = torch.tensor(batch.values), torch.tensor(batch.lengths)
    rows = torch.repeat_interleave(torch.arange(len(batch)), lengths)
    zeros = partial(steps.new_zeros, len(batch), steps.shape[1])
    return ((lambda: zeros().index_add_(0, rows, steps).div_(lengths[:, None]), as_it_is),)


def mean_by_embedding_bag(torch, batch):
    steps, offsets = torch.tensor(batch.values), torch.tensor(batch.offsets[:-1])
    bag = partial(torch.nn.functional.embedding_bag, torch.arange(len(steps)), steps, offsets)
    return ((partial(bag, mode="mean"), as_it_is),)


def splitting():
    """A million rows of 1 to 64 steps, cut in two at half of the width: views."""
    rows = 1_000_000
    lengths = rng().integers(1, 65, rows)
    lengths[0] = 64
    steps = int(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ones, wide, wider = (
        rm.Ragged.from_offsets(np.ones((steps, features), dtype), offsets)
        for features, dtype in ((1, np.float32), (16, np.float32), (64, np.int8))
    )
    split = partial(rm.temporal_split, wide)
    yield against(
        "16 features",
        split,
        "the same, copying each half once",
        lambda: [part.compact() for part in rm.temporal_split(wide)],
        target=100,
    )
    for batch, what in ((wide, "16 features"), (wider, "64 features (int8)")):
        yield against(
            what,
            partial(rm.temporal_split, batch),
            "ragmask, 1 feature",
            partial(rm.temporal_split, ones),
            of="time",
            target=1.1,
        )


# -- memory and growth --------------------------------------------------------------------


def growth():
    """Peak memory above the start of a new process, on a batch of one row of 20,000 steps among
    1,000 of 1 to 19; and time a step, in batches of 15,000 and of 240,000 steps."""
    on_two_threads()
    mebibytes = (64 + 128) * 4 * int(skewed_lengths().sum()) / 2**20
    for op in ("softmax", "lstm"):
        what = f"{op}, peak memory, 64 features"
        if not wanted(what):
            continue
        op_memory(op, rows=10, longest=100)  # fills the compile cache
        yield Row(
            what,
            op_memory(op),
            f"its inputs and outputs ({mebibytes if op == 'lstm' else mebibytes * 2 / 3:.0f} MiB)",
            1,
            of="memory",
            target=3,
            show=lambda share: f"{share:.2f}",
        )
    weights = lstm_weights(64, 128)
    for what, item_shape, dtype, op in (
        ("embedding, 64 features", (), np.int64, partial(rm.embedding, table=embedding_table())),
        ("softmax, 16 features", (16,), np.float32, rm.temporal_softmax),
        ("lstm, 64 × 128", (64,), np.float32, partial(rm.lstm, weights=weights)),
        ("to_padded", (), np.int32, rm.Ragged.to_padded),
    ):
        what = f"{what}, a step of {STEPS:,}"
        if not wanted(what):
            continue
        sizes = STEPS // 16, STEPS
        few, many = (ragged_of(log_normal_to(steps), item_shape, dtype) for steps in sizes)
        short, long = fastest(partial(op, few), partial(op, many))
        yield Row(
            what,
            long / STEPS,
            f"ragmask, of {STEPS // 16:,}",
            short * 16 / STEPS,
            of="time",
            target=1.06,  # 16 times the steps in 17 times the time
            show=lambda seconds: f"{seconds * 1e9:.3g} ns",
        )


TABLES = [softmax, embedding, pooling, splitting, growth]


# -- helpers ------------------------------------------------------------------------------


def on_two_threads():
    """torch, if it is there, set to as many threads as ragmask."""
    rm.set_num_threads(THREADS)
    torch = installed("torch")
    if torch:
        torch.set_num_threads(THREADS)
    return torch


def inference(torch):
    return torch.inference_mode() if torch else nullcontext()


def best_of(torch, what, run, peer, make, batch, target):
    """A Row against the fastest of the calls that `make(torch, batch)` gives, once they agree."""
    if not wanted(what):
        return None
    if not torch:
        return against(what, run, peer, None, target=target)
    with inference(torch):
        calls = make(torch, batch)
        result = run()
        ours = result.values if isinstance(result, rm.Ragged) else result
        for call, values in calls:
            check(ours, values(call()).numpy(), f"{what}, {peer}")
        seconds, *theirs = fastest(run, *(call for call, _ in calls))
    return Row(what, seconds, peer, min(theirs), target=target)


def padded_tensors(torch, batch):
    padded = batch.to_padded()
    return torch.tensor(padded.values), torch.tensor(padded.mask)


def as_it_is(result):
    return result


def check(ours, theirs, what):
    """A peer that computes something else is no peer."""
    error = float(np.abs(ours - theirs).max())
    if not error < 1e-5:
        raise AssertionError(f"{what}: differs from ragmask by {error:.3g}")


def rng():
    return np.random.default_rng(0)
