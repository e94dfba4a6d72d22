"""The ops' tables of compare.py: two threads on each side, float32, forward only."""

from contextlib import nullcontext
from functools import partial

import numpy as np
from benchmarks.common import (
    embedding_table,
    fastest,
    log_normal_lengths,
    log_normal_to,
    lstm_flops,
    lstm_weights,
    op_memory,
    ragged_of,
    sgemms,
    skewed_lengths,
    with_sgemm,
)
from tables import Row, against, installed, show_amount

import ragmask as rm

THREADS = 2
STEPS = 240_000


# -- LSTM ---------------------------------------------------------------------------------


def lstm():
    """Batch × input × units. Peers get padded arrays, and torch packs and unpacks them itself
    (`enforce_sorted=False`); "packed beforehand" spares it both. The fastest peer counts."""
    torch = on_two_threads()
    shapes = [
        (256, 64, 128, 3),
        (512, 128, 256, 3),
        (32, 300, 300, 2.5),
        (64, 16, 32, 2),
        (8, 64, 128, 1.2),
    ]
    for rows, features, units, target in shapes:
        lengths = log_normal_lengths(rows, rng())
        yield from lstm_rows(torch, "log-normal", lengths, features, units, target, packed=1.5)
    uniform = rng().integers(1, 257, 256)
    yield from lstm_rows(torch, "1 to 256", uniform, 64, 128, target=1.5)
    for rows, features, units in ((256, 64, 128), (512, 128, 256)):
        equal = np.full(rows, 128)
        yield from lstm_rows(torch, "all of 128", equal, features, units, target=1.05)


def lstm_rows(torch, name, lengths, features, units, target, packed=None):
    what = f"{len(lengths)} × {features} × {units}, {name}"
    batch, weights = ragged_of(lengths, (features,)), lstm_weights(features, units)
    run = partial(rm.lstm, batch, weights)
    peers = {**lstm_in_torch(torch, batch, weights), **lstm_in_onnxruntime(batch, weights)}
    if not peers:
        yield against(what, run, "torch, ONNX Runtime", None, target=target)
        return
    for peer, (call, result) in peers.items():
        check(run().outputs.values, result(call()), f"{what}, {peer}")
    # the last call of two: torch's and ONNX Runtime's threads spin on for a while
    with inference(torch):
        ours, *seconds = fastest(run, *(call for call, _ in peers.values()), rounds=5, calls=2)
    times = dict(zip(peers, seconds, strict=True))
    already = times.pop(PACKED, None)
    if times:
        (best, theirs), *others = sorted(times.items(), key=lambda item: item[1])
        others = [f"{peer} takes {time / theirs:.2g}×" for peer, time in others]
        yield Row(what, ours, "; ".join([best, *others]), theirs, target=target)
    if already is not None:
        yield Row(what, ours, PACKED, already, target=packed)


PACKED = "torch, packed beforehand"


def lstm_in_torch(torch, batch, weights):
    """{name: (call, what its result's values are, row after row)}."""
    if not torch:
        return {}
    rnn = torch.nn.utils.rnn
    peer = torch.nn.LSTM(weights.features, weights.units, batch_first=True)
    arrays = (weights.kernel.T, weights.recurrent_kernel.T, weights.bias, 0 * weights.bias)
    with torch.no_grad():
        for parameter, array in zip(peer.parameters(), arrays, strict=True):
            parameter.copy_(torch.tensor(array))
    padded, mask = padded_tensors(torch, batch)
    lengths = torch.tensor(batch.lengths)
    pack = partial(rnn.pack_padded_sequence, batch_first=True, enforce_sorted=False)
    unpack = partial(rnn.pad_packed_sequence, batch_first=True)
    packed = pack(padded, lengths)
    return {
        "torch with packing": (
            lambda: unpack(peer(pack(padded, lengths))[0])[0],
            lambda result: result[mask].numpy(force=True),
        ),
        "padded torch": (
            lambda: peer(padded)[0],
            lambda result: result[mask].numpy(force=True),
        ),
        PACKED: (
            lambda: peer(packed)[0],
            lambda result: unpack(result)[0][mask].numpy(force=True),
        ),
    }


def lstm_in_onnxruntime(batch, weights):
    if not installed("onnx") or not (ort := installed("onnxruntime")):
        return {}
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = ort.InferenceSession(onnx_lstm(weights), options, providers=["CPUExecutionProvider"])
    padded = batch.to_padded()
    inputs = {
        "x": np.ascontiguousarray(padded.values.swapaxes(0, 1)),  # its layout is time first
        "lengths": batch.lengths.astype(np.int32),
    }
    return {
        "ONNX Runtime": (
            lambda: session.run(None, inputs)[0],
            lambda result: result[:, 0].swapaxes(0, 1)[padded.mask],
        )
    }


def onnx_lstm(weights):
    """A model of one LSTM with sequence_lens. ONNX's gates are i, o, f, c."""
    from onnx import TensorProto, helper, numpy_helper

    def gates(matrix):
        i, f, c, o = np.split(matrix, 4)
        return np.concatenate([i, o, f, c])[None]

    bias = gates(weights.bias)
    arrays = {
        "w": gates(weights.kernel.T),
        "r": gates(weights.recurrent_kernel.T),
        "b": np.concatenate([bias, np.zeros_like(bias)], axis=1),
    }
    value, units = helper.make_tensor_value_info, weights.units
    node = helper.make_node(
        "LSTM", ["x", *arrays, "lengths"], ["outputs", "h", "c"], hidden_size=units
    )
    graph = helper.make_graph(
        [node],
        "lstm",
        [
            value("x", TensorProto.FLOAT, ["time", "rows", weights.features]),
            value("lengths", TensorProto.INT32, ["rows"]),
        ],
        [
            value("outputs", TensorProto.FLOAT, ["time", 1, "rows", units]),
            value("h", TensorProto.FLOAT, [1, "rows", units]),
            value("c", TensorProto.FLOAT, [1, "rows", units]),
        ],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return model.SerializeToString()


def lstm_by_itself():
    """The LSTM against the machine's best rate of sgemm (NumPy's or torch's) in the same minute,
    against one thread, and against the same batch without its one long row."""
    torch = on_two_threads()
    small, large = lstm_weights(64, 128), lstm_weights(128, 256)
    mixed = ragged_of(log_normal_lengths(512, rng()), (128,)), large
    equal = ragged_of(np.full(512, 128), (128,)), large
    narrow = ragged_of(np.full(256, 128), (64,)), small
    products = list(sgemms())
    if torch:
        products += sgemms(torch.mm, torch.from_numpy)
    for what, (batch, weights) in (
        ("512 × 128 × 256, log-normal", mixed),
        ("512 × 128 × 256, all of 128", equal),
        ("256 × 64 × 128, all of 128", narrow),
    ):
        flops = lstm_flops(batch, weights)
        seconds, rate = with_sgemm(partial(rm.lstm, batch, weights), products)
        show = partial(show_amount, flops / 1e9, "Gflop/s")
        yield Row(what, seconds, "best sgemm", flops / rate, target=0.75, show=show)

    yield Row("512 × 128 × 256, log-normal", *one_thread(*mixed), target=1.6)
    few = ragged_of(log_normal_lengths(256, rng()), (64,))
    yield Row("256 × 64 × 128, log-normal", *one_thread(few, small), target=1.6)

    lengths = log_normal_lengths(512, rng())
    plain = ragged_of(lengths, (64,))
    lengths[0] = round(50 * lengths.mean())
    yield against(
        "512 × 64 × 128, a row of 50× the mean",
        partial(rm.lstm, ragged_of(lengths, (64,)), small),
        "ragmask, without it",
        partial(rm.lstm, plain, small),
        of="time",
        target=1.5,
    )


def one_thread(batch, weights):
    def run(threads):
        rm.set_num_threads(threads)
        rm.lstm(batch, weights)

    ours, theirs = fastest(partial(run, THREADS), partial(run, 1), calls=2)
    rm.set_num_threads(THREADS)
    return ours, "ragmask, one thread", theirs


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
        op_memory(op, rows=10, longest=100)  # fills the compile cache
        yield Row(
            f"{op}, peak memory, 64 features",
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
        sizes = STEPS // 16, STEPS
        few, many = (ragged_of(log_normal_to(steps), item_shape, dtype) for steps in sizes)
        short, long = fastest(partial(op, few), partial(op, many))
        yield Row(
            f"{what}, a step of {STEPS:,}",
            long / STEPS,
            f"ragmask, of {STEPS // 16:,}",
            short * 16 / STEPS,
            of="time",
            target=1.06,  # 16 times the steps in 17 times the time
            show=lambda seconds: f"{seconds * 1e9:.3g} ns",
        )


TABLES = [lstm, lstm_by_itself, softmax, embedding, pooling, splitting, growth]


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
