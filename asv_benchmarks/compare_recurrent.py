"""The recurrent layers' tables of compare.py: two threads on each side, float32, forward only."""

from functools import partial

import numpy as np
from benchmarks.common import (
    fastest,
    log_normal_lengths,
    ragged_of,
    recurrent_flops,
    recurrent_weights,
    sgemms,
    with_sgemm,
)
from compare_ops import THREADS, check, inference, on_two_threads, padded_tensors, rng
from tables import Row, against, installed, show_amount, wanted

import ragmask as rm

PACKED = "torch, packed beforehand"
OPS = {"LSTM": rm.lstm, "GRU": rm.gru}


def lstm():
    """Batch × input × units. Peers get padded arrays, and torch packs and unpacks them itself
    (`enforce_sorted=False`); "packed beforehand" spares it both. The fastest peer counts."""
    torch = on_two_threads()
    for (rows, features, units), target in {
        (256, 64, 128): 3,
        (512, 128, 256): 5,
        (32, 300, 300): 2.5,
        (64, 16, 32): 3,
        (8, 64, 128): 1.5,
    }.items():
        lengths = log_normal_lengths(rows, rng())
        yield from layer(torch, "LSTM", "log-normal", lengths, features, units, target, packed=1.5)
    uniform = rng().integers(1, 257, 256)
    yield from layer(torch, "LSTM", "1 to 256", uniform, 64, 128, target=2)
    for rows, features, units in ((256, 64, 128), (512, 128, 256)):
        equal = np.full(rows, 128)
        yield from layer(torch, "LSTM", "all of 128", equal, features, units, target=1.25)


def gru():
    """The same of a GRU, whose candidate is multiplied after its product (`reset_after`)."""
    torch = on_two_threads()
    for rows, features, units in ((256, 64, 128), (32, 300, 300), (64, 16, 32)):
        lengths = log_normal_lengths(rows, rng())
        yield from layer(torch, "GRU", "log-normal", lengths, features, units)
    yield from layer(torch, "GRU", "all of 128", np.full(256, 128), 64, 128)


def layer(torch, cell, name, lengths, features, units, target=None, packed=None):
    """Rows of one batch and one layer, against each peer's way."""
    what = f"{len(lengths)} × {features} × {units}, {name}"
    if not wanted(what):
        return
    batch, weights = ragged_of(lengths, (features,)), recurrent_weights(cell, features, units)
    run = partial(OPS[cell], batch, weights)
    peers = {**in_torch(torch, cell, batch, weights), **in_onnxruntime(cell, batch, weights)}
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


# -- torch and ONNX Runtime ---------------------------------------------------------------


def in_torch(torch, cell, batch, weights):
    """{name: (call, what its result's values are, row after row)}."""
    if not torch:
        return {}
    rnn = torch.nn.utils.rnn
    peer = getattr(torch.nn, cell)(weights.features, weights.units, batch_first=True)
    with torch.no_grad():
        for parameter, array in zip(peer.parameters(), torch_arrays(weights), strict=True):
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


def torch_arrays(weights):
    """Its parameters in torch's order: a GRU's gates are r, z, n there."""

    def ordered(array):
        gates = np.split(array, weights.cell.gates)
        return np.concatenate([gates[1], gates[0], gates[2]] if len(gates) == 3 else gates)

    bias = weights.bias if weights.bias.ndim == 2 else (weights.bias, 0 * weights.bias)
    return [ordered(array) for array in (weights.kernel.T, weights.recurrent_kernel.T, *bias)]


def in_onnxruntime(cell, batch, weights):
    if not installed("onnx") or not (ort := installed("onnxruntime")):
        return {}
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    model = onnx_model(cell, weights)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
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


def onnx_model(cell, weights):
    """A model of one layer with sequence_lens. An LSTM's gates are i, o, f, c in ONNX."""
    from onnx import TensorProto, helper, numpy_helper

    def ordered(array):
        gates = np.split(array, weights.cell.gates)
        return np.concatenate([gates[i] for i in (0, 3, 1, 2)] if len(gates) == 4 else gates)[None]

    bias = weights.bias if weights.bias.ndim == 2 else (weights.bias, 0 * weights.bias)
    arrays = {
        "w": ordered(weights.kernel.T),
        "r": ordered(weights.recurrent_kernel.T),
        "b": np.concatenate([ordered(one) for one in bias], axis=1),
    }
    value, units = helper.make_tensor_value_info, weights.units
    states = ["h", "c"][: weights.cell.states]
    options = {"linear_before_reset": 1} if cell == "GRU" else {}
    node = helper.make_node(
        cell, ["x", *arrays, "lengths"], ["outputs", *states], hidden_size=units, **options
    )
    inputs = [
        value("x", TensorProto.FLOAT, ["time", "rows", weights.features]),
        value("lengths", TensorProto.INT32, ["rows"]),
    ]
    outputs = [value("outputs", TensorProto.FLOAT, ["time", 1, "rows", units])]
    outputs += [value(state, TensorProto.FLOAT, [1, "rows", units]) for state in states]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph([node], cell, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return model.SerializeToString()


# -- the machine's limit ------------------------------------------------------------------


def recurrent_by_itself():
    """Against the machine's best rate of a matrix product (NumPy's or torch's) in the same minute,
    against one thread, and against the same batch without its one long row."""
    torch = on_two_threads()
    products = {dtype: [*sgemms(dtype=dtype)] for dtype in ("float32", "float64")}
    if torch:
        for dtype, found in products.items():
            found += sgemms(torch.mm, torch.from_numpy, dtype)
    for cell, rows, features, units, lengths, dtype, target in (
        ("LSTM", 512, 128, 256, "log-normal", "float32", 0.85),
        ("LSTM", 512, 128, 256, "all of 128", "float32", 0.85),
        ("LSTM", 256, 64, 128, "all of 128", "float32", 0.8),
        ("LSTM", 256, 64, 128, "1 to 256", "float32", 0.8),
        ("LSTM", 32, 300, 300, "log-normal", "float32", 0.65),
        ("LSTM", 64, 16, 32, "log-normal", "float32", 0.35),
        ("LSTM", 8, 64, 128, "log-normal", "float32", 0.6),
        ("LSTM", 512, 128, 256, "log-normal", "float64", None),
        ("GRU", 512, 128, 256, "log-normal", "float32", None),
        ("GRU", 256, 64, 128, "all of 128", "float32", None),
    ):
        what = f"{cell}, {dtype}, {rows} × {features} × {units}, {lengths}"
        if not wanted(what):
            continue
        batch = ragged_of(lengths_of(lengths, rows), (features,), dtype)
        weights = recurrent_weights(cell, features, units)
        flops = recurrent_flops(batch, weights)
        seconds, rate = with_sgemm(partial(OPS[cell], batch, weights), products[dtype])
        show = partial(show_amount, flops / 1e9, "Gflop/s")
        peer = "best sgemm" if dtype == "float32" else "best dgemm"
        yield Row(what, seconds, peer, flops / rate, target=target, show=show)

    small, large = recurrent_weights("LSTM", 64, 128), recurrent_weights("LSTM", 128, 256)
    mixed = ragged_of(log_normal_lengths(512, rng()), (128,))
    yield on_one_thread("LSTM, 512 × 128 × 256, log-normal", mixed, large)
    few = ragged_of(log_normal_lengths(256, rng()), (64,))
    yield on_one_thread("LSTM, 256 × 64 × 128, log-normal", few, small)

    lengths = log_normal_lengths(512, rng())
    plain = ragged_of(lengths, (64,))
    lengths[0] = round(50 * lengths.mean())
    yield against(
        "LSTM, 512 × 64 × 128, a row of 50× the mean",
        partial(rm.lstm, ragged_of(lengths, (64,)), small),
        "ragmask, without it",
        partial(rm.lstm, plain, small),
        of="time",
        target=1.5,
    )


def lengths_of(name, rows):
    if name == "log-normal":
        return log_normal_lengths(rows, rng())
    return rng().integers(1, 257, rows) if name == "1 to 256" else np.full(rows, 128)


def on_one_thread(what, batch, weights):
    if not wanted(what):
        return None

    def run(threads):
        rm.set_num_threads(threads)
        rm.lstm(batch, weights)

    ours, theirs = fastest(partial(run, THREADS), partial(run, 1), calls=2)
    rm.set_num_threads(THREADS)
    return Row(what, ours, "ragmask, one thread", theirs, target=1.6)


TABLES = [lstm, gru, recurrent_by_itself]
