"""ragmask on a GPU beside the CUDA ops of torch, cuDNN and Keras on JAX, and beside the roofline.

    python asv_benchmarks/compare_cuda.py

It prints Markdown tables. Times are the device's own: the host hands over several calls while the
device still sleeps, and events say when they began and ended. A call that asks the device
something, as `embedding` asks whether its ids are in the table, waits, and that counts; JAX, which
has a stream of its own, goes by the host's clock. Calls take turns, and the least time of several
rounds counts. Everything is in float32 proper, but where a line says TF32. Caches stay warm, for
the peers too: the small batch never leaves level 2.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from benchmarks.common import fastest, has_gpu, lstm_weights, ragged_of
from tables import installed, show_seconds

import ragmask as rm

CALLS = 10  # in a turn
ROUNDS = 7
AHEAD = 100_000_000  # cycles that the device sleeps, some 50 ms, while the host hands over calls
VOCABULARY = 50_000

Call = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One of ragmask's calls, its peers, and what makes their results comparable."""

    run: Call
    peers: dict[str, tuple[Call, Call]] = field(default_factory=dict)
    values: Call = lambda result: result  # of ragmask's result
    units: int = 0
    tolerance: float = 1e-5


@dataclass(frozen=True)
class OnItsOwnStream:
    """A call that events on torch's stream would miss, and that waits until it is done."""

    call: Call

    def __call__(self):
        return self.call()


class Inputs:
    """A batch of a given raggedness: for ragmask a Ragged over torch's tensors; and the tensors."""

    def __init__(self, torch, lengths, features, device):
        self.torch, self.device = torch, device
        self.on_host = ragged_of(lengths, (features,))
        self.rng = np.random.default_rng(0)
        ids = self.rng.integers(0, VOCABULARY, len(self.on_host.values))
        self.steps, self.ids = self.tensor(self.on_host.values), self.tensor(ids)
        self.starts = self.tensor(self.on_host.starts)
        self.lengths = self.tensor(self.on_host.lengths)
        self.offsets = self.tensor(self.on_host.offsets)
        self.batch = self.ragged(self.steps)
        padded = self.on_host.to_padded()
        self.padded, self.mask = self.tensor(padded.values), self.tensor(padded.mask)
        self.row_of_step = torch.repeat_interleave(self.lengths)

    def tensor(self, array):
        return self.torch.tensor(np.asarray(array), device=self.device)

    def ragged(self, values, order=None):
        """Rows of these values, in an order of their own."""
        order = slice(None) if order is None else order
        return rm.Ragged(values, self.starts[order], self.lengths[order])


# -- the cases ----------------------------------------------------------------------------


def pad(inputs) -> Case:
    torch, steps, mask = inputs.torch, inputs.steps, inputs.mask
    tensors = steps.split(inputs.on_host.lengths.tolist())
    nested = torch.nested.nested_tensor_from_jagged(steps, inputs.offsets)

    def assign():
        out = steps.new_zeros(inputs.padded.shape)
        out[mask] = steps
        return out

    return Case(
        inputs.batch.to_padded,
        {
            "torch, assigning through a mask": (assign, same),
            "torch pad_sequence": (
                partial(torch.nn.utils.rnn.pad_sequence, tensors, batch_first=True),
                same,
            ),
            "torch nested (jagged) to_padded_tensor": (
                partial(nested.to_padded_tensor, 0, output_size=inputs.padded.shape),
                same,
            ),
        },
        lambda result: result.values,
    )


def compact(inputs) -> Case:
    order = np.arange(len(inputs.on_host))[::-1].copy()
    view = inputs.ragged(inputs.steps, inputs.tensor(order))
    lengths, starts = inputs.on_host.lengths[order], inputs.on_host.starts[order]
    before = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    index = inputs.tensor(before + np.arange(len(before)))
    return Case(
        view.compact,
        {
            "torch index_select, the steps' indices beforehand": (
                partial(inputs.torch.index_select, inputs.steps, 0, index),
                same,
            )
        },
        lambda result: result.values,
    )


def embedding(inputs) -> Case:
    table = inputs.tensor(
        inputs.rng.standard_normal((VOCABULARY, inputs.steps.shape[1]), np.float32)
    )
    look_up = inputs.torch.nn.functional.embedding
    return Case(
        partial(rm.embedding, inputs.ragged(inputs.ids), table),
        {"torch embedding, of the flat ids": (partial(look_up, inputs.ids, table), same)},
        lambda result: result.values,
    )


def masking(inputs) -> Case:
    steps = inputs.steps

    def mask_steps():
        keep = (steps != 0).any(1)
        return steps.masked_fill(~keep[:, None], 0), keep

    return Case(
        partial(rm.masking, inputs.batch),
        {"torch, any and masked_fill": (mask_steps, lambda result: result[0])},
        lambda result: result.values,
    )


def softmax(inputs) -> Case:
    torch, steps, rows = inputs.torch, inputs.steps, inputs.row_of_step
    drop, lowest = ~inputs.mask[:, :, None], float("-inf")
    nested = torch.nested.nested_tensor_from_jagged(steps, inputs.offsets)

    def segments():
        most = torch.segment_reduce(steps, "max", lengths=inputs.lengths)
        powers = torch.exp_(steps - most[rows])
        return powers.div_(torch.segment_reduce(powers, "sum", lengths=inputs.lengths)[rows])

    return Case(
        partial(rm.temporal_softmax, inputs.batch),
        {
            "torch, masked_fill and softmax on a padded array": (
                lambda: inputs.padded.masked_fill(drop, lowest).softmax(1),
                lambda result: result[inputs.mask],
            ),
            "torch, by segment_reduce": (segments, same),
            "torch nested (jagged) softmax": (
                lambda: torch.softmax(nested, 1),
                lambda result: result.values(),
            ),
        },
        lambda result: result.values,
    )


def pool(inputs) -> Case:
    torch, steps, lengths = inputs.torch, inputs.steps, inputs.lengths
    bag = partial(torch.nn.functional.embedding_bag, mode="mean")
    every = torch.arange(len(steps), device=inputs.device)

    def add():
        zeros = steps.new_zeros(len(lengths), steps.shape[1])
        return zeros.index_add_(0, inputs.row_of_step, steps).div_(lengths[:, None])

    return Case(
        partial(rm.temporal_pool, inputs.batch, "mean"),
        {
            "torch segment_reduce": (
                partial(torch.segment_reduce, steps, "mean", lengths=lengths),
                same,
            ),
            "torch index_add and a division": (add, same),
            "torch embedding_bag": (partial(bag, every, steps, inputs.offsets[:-1]), same),
        },
    )


def lstm(inputs, units=64) -> Case:
    weights = lstm_weights(inputs.steps.shape[1], units)
    there = weights if inputs.device == "cpu" else weights.to_device("torch")
    return Case(
        partial(rm.lstm, inputs.batch, there),
        {**lstm_in_torch(inputs, weights), **lstm_in_keras(inputs, weights)},
        lambda result: result.outputs.values,
        units,
        5e-5,
    )


def lstm_in_torch(inputs, weights):
    """cuDNN's, on packed sequences and on padded ones."""
    torch = inputs.torch
    rnn = torch.nn.utils.rnn
    layer = torch.nn.LSTM(weights.features, weights.units, batch_first=True, device=inputs.device)
    arrays = (weights.kernel.T, weights.recurrent_kernel.T, weights.bias, 0 * weights.bias)
    with torch.no_grad():
        for parameter, array in zip(layer.parameters(), arrays, strict=True):
            parameter.copy_(inputs.tensor(array))
    lengths = inputs.lengths.cpu()
    pack = partial(rnn.pack_padded_sequence, batch_first=True, enforce_sorted=False)
    unpack = partial(rnn.pad_packed_sequence, batch_first=True)
    packed = pack(inputs.padded, lengths)
    return {
        "torch nn.LSTM, packed beforehand": (
            lambda: layer(packed)[0],
            lambda result: unpack(result)[0][inputs.mask],
        ),
        "torch nn.LSTM, packing and unpacking": (
            lambda: unpack(layer(pack(inputs.padded, lengths))[0])[0],
            lambda result: result[inputs.mask],
        ),
        "torch nn.LSTM, padded": (
            lambda: layer(inputs.padded)[0],
            lambda result: result[inputs.mask],
        ),
    }


def lstm_and_back(inputs, units=64) -> Case:
    """The outputs, and the gradients of their sum: of the steps, and of all weights."""
    import ragmask.interop.torch as rt

    torch = inputs.torch
    rnn = torch.nn.utils.rnn
    features, device = inputs.steps.shape[1], inputs.device
    theirs = torch.nn.LSTM(features, units, batch_first=True, device=device)
    ours = rt.nn.LSTM(features, units, device=device)
    ours.load_state_dict(theirs.state_dict())
    pack = partial(
        rnn.pack_padded_sequence,
        lengths=inputs.lengths.cpu(),
        batch_first=True,
        enforce_sorted=False,
    )
    packed = pack(inputs.padded)
    steps, padded, data = (
        one.detach().clone().requires_grad_() for one in (inputs.steps, inputs.padded, packed.data)
    )

    def back(layer, given, batch_of):
        with torch.enable_grad():
            outputs = layer(batch_of(given))[0]
            outputs = outputs.values if layer is ours else outputs.data
            ones = torch.ones_like(outputs)
            return torch.autograd.grad(outputs, (given, *layer.parameters()), ones)[0]

    def unpacked(data):
        return rnn.pad_packed_sequence(packed._replace(data=data), True)[0][inputs.mask]

    return Case(
        partial(back, ours, steps, lambda values: rt.RaggedTensor(values, inputs.offsets)),
        {
            "torch nn.LSTM, packed beforehand": (
                partial(back, theirs, data, lambda values: packed._replace(data=values)),
                unpacked,
            ),
            "torch nn.LSTM, packing": (
                partial(back, theirs, padded, pack),
                lambda gradient: gradient[inputs.mask],
            ),
        },
        units=units,
        tolerance=1e-4,
    )


def lstm_in_keras(inputs, weights):
    """On JAX, compiled, with Keras's own mask."""
    jax = installed("jax", XLA_PYTHON_CLIENT_PREALLOCATE="false")  # or it takes 3/4 of the memory
    keras = installed("keras", KERAS_BACKEND="jax")
    if not jax or not keras or keras.backend.backend() != "jax":
        return {}
    jax.config.update("jax_default_matmul_precision", "highest")  # not TF32
    layer = keras.layers.LSTM(weights.units, return_sequences=True)
    padded, mask = (
        jax.numpy.asarray(tensor.cpu().numpy()) for tensor in (inputs.padded, inputs.mask)
    )
    layer.build(padded.shape)
    layer.set_weights([weights.kernel, weights.recurrent_kernel, weights.bias])
    compiled = jax.jit(lambda x, keep: layer(x, mask=keep))
    return {
        "Keras on JAX, padded and masked": (
            OnItsOwnStream(lambda: compiled(padded, mask).block_until_ready()),
            lambda result: np.asarray(result)[inputs.mask.cpu().numpy()],
        )
    }


def same(result):
    return result


CASES = (pad, compact, embedding, masking, softmax, pool, lstm, lstm_and_back)


def cases(inputs) -> Iterator[tuple[str, Case]]:
    for make in CASES:
        yield make.__name__.replace("_", " "), make(inputs)
    for units in (128, 256):
        yield "lstm", lstm(inputs, units)


def check(torch, name: str, case: Case) -> None:
    """A peer that computes something else is no peer."""
    ours = as_numpy(torch, case.values(case.run()))
    for peer, (call, values) in case.peers.items():
        theirs = as_numpy(torch, values(call()))
        error = float(np.abs(ours - theirs).max())
        if not error < case.tolerance:
            raise AssertionError(f"{name}, {peer}: differs from ragmask by {error:.3g}")


def as_numpy(torch, array):
    return array if isinstance(array, np.ndarray) else torch.as_tensor(array).cpu().numpy()


# -- measuring ----------------------------------------------------------------------------


def least_seconds(torch, calls: list[Call], device: str) -> list[float]:
    if device == "cpu":
        return fastest(*calls, rounds=1, seconds=0)
    for call in calls + calls:
        call()  # compiles, allocates, warms up
    rounds = [[seconds_on_device(torch, call) for call in calls] for _ in range(ROUNDS)]
    return [min(seconds) for seconds in zip(*rounds, strict=True)]


def seconds_on_device(torch, call: Call) -> float:
    if isinstance(call, OnItsOwnStream):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        return (time.perf_counter() - start) / CALLS
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    torch.cuda._sleep(AHEAD)
    begin.record()
    for _ in range(CALLS):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / CALLS


def lines(torch, name: str, case: Case, batch: Any, machine: Any, device: str) -> Iterator[str]:
    """A line of the table for each peer."""
    what = f"{name}, {case.units} units" if case.units else name
    peers = {peer: call for peer, (call, _) in case.peers.items()}
    if case.units and device != "cpu":
        peers["cuDNN in TF32, packed beforehand"] = in_tf32(
            torch, peers["torch nn.LSTM, packed beforehand"]
        )
    ours, *theirs = least_seconds(torch, [case.run, *peers.values()], device)
    limit = limit_of(name, case.units, batch, machine)
    share = f"{limit / ours:.0%}" if limit else "–"
    for peer, seconds in zip(peers, theirs, strict=True):
        cells = (
            what,
            show_seconds(ours),
            show_seconds(limit) if limit else "–",
            share,
            peer,
            show_seconds(seconds),
            f"{seconds / ours:.3g}×",
        )
        yield f"| {' | '.join(cells)} |"


def in_tf32(torch, call: Call) -> Call:
    def run():
        torch.backends.cudnn.allow_tf32 = True
        try:
            return call()
        finally:
            torch.backends.cudnn.allow_tf32 = False

    return run


def limit_of(name: str, units: int, batch: Any, machine: Any) -> float:
    """The roofline's, of all kernels that a call launches: "lstm, projection" is one of lstm's.

    0 for a call that it says nothing of.
    """
    import roofline

    return sum(
        kernel.limit(batch, machine)
        for kernel in roofline.KERNELS
        if kernel.name.partition(",")[0] == name and kernel.units == units
    )


def tables(torch, batches: Any, machine: Any, device: str) -> Iterator[str]:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for batch in batches:
        inputs = Inputs(torch, batch.lengths, batch.names(0)["F"], device)
        yield f"\n### {batch.name}\n"
        yield "| what | ragmask | limit | share of it | peer | its time | ragmask is faster by |"
        yield "|---|---:|---:|---:|---|---:|---:|"
        with torch.no_grad():
            for name, case in cases(inputs):
                check(torch, name, case)
                yield from lines(torch, name, case, batch, machine, device)


def main() -> None:
    torch = has_gpu() and installed("torch")
    if not torch or not torch.cuda.is_available():
        print(
            "compare_cuda.py needs an NVIDIA GPU with its driver, numba-cuda, and torch with CUDA"
        )
        return
    import roofline

    gpu = torch.cuda.get_device_name()
    machine = roofline.PCIE if "PCIe" in gpu else roofline.SXM
    print(
        f"{gpu}, torch {torch.__version__}, ragmask {rm.__version__}; limits of an {machine.name}"
    )
    for line in tables(torch, [make() for make in roofline.BATCHES], machine, "cuda"):
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
