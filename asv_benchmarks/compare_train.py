"""The training tables of compare.py: two threads on each side, float32, forward and backward."""

import sys
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
from benchmarks.common import (
    fastest,
    forget_peak,
    log_normal_to,
    peak_bytes,
    python,
    ragged_of,
    sgemms,
    with_sgemm,
)
from compare_ops import STEPS, check, on_two_threads, rng
from compare_recurrent import lengths_of
from tables import Row, against, show_amount, show_memory, wanted

EXAMPLES = Path(__file__).parents[1] / "examples"
VOCABULARY = 50_000
KEPT = 5  # numbers a unit that an LSTM or a GRU keeps of a step for its gradient


def training():
    """A layer, forward and backward: gradients of inputs and weights, from those of all outputs.
    Batch × input × units. torch gets padded arrays, which it runs as they are, or packs and
    unpacks (`enforce_sorted=False`); the faster one counts."""
    torch = on_two_threads()
    if not torch:
        return
    for cell, lengths, rows, features, units, target in (
        ("LSTM", "log-normal", 256, 64, 128, 5),
        ("LSTM", "log-normal", 512, 128, 256, 5),
        ("LSTM", "log-normal", 32, 300, 300, 3),
        ("LSTM", "log-normal", 64, 16, 32, 3),
        ("LSTM", "all of 128", 256, 64, 128, 1.5),
        ("GRU", "log-normal", 256, 64, 128, 5),
        ("GRU", "log-normal", 512, 128, 256, 5),
        ("GRU", "log-normal", 32, 300, 300, 3),
        ("GRU", "log-normal", 64, 16, 32, 3),
        ("GRU", "all of 128", 256, 64, 128, 1.5),
    ):
        what = f"{cell}, {rows} × {features} × {units}, {lengths}"
        if not wanted(what):
            continue
        calls = layer(torch, cell, lengths_of(lengths, rows), features, units)
        # the last call of two: torch's threads spin on for a while
        ours, *theirs = fastest(*calls.values(), rounds=2, calls=2)
        by_name = dict(zip(list(calls)[1:], theirs, strict=True))
        best = min(by_name, key=by_name.get)
        others = [f"{name} takes {by_name[name] / by_name[best]:.2g}×" for name in by_name]
        others.remove(f"{best} takes 1×")
        yield Row(what, ours, "; ".join([best, *others]), by_name[best], target=target)


def layer(torch, cell, lengths, features, units, checked=True):
    """{name: call}: ragmask's first, which give the gradients of inputs and weights."""
    import ragmask.interop.torch as rt

    torch.manual_seed(0)
    batch = rt.RaggedTensor.from_ragged(ragged_of(lengths, (features,)))
    of_outputs = torch.randn(batch.n_steps, units)
    padded, mask = batch.to_padded()
    of_padded = torch.zeros(*mask.shape, units)
    of_padded[mask] = of_outputs
    lengths = batch.lengths
    x, padded = batch.values.clone().requires_grad_(), padded.clone().requires_grad_()
    ours = getattr(rt.nn, cell)(features, units)
    theirs = getattr(torch.nn, cell)(features, units, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    rnn = torch.nn.utils.rnn

    def ragged():
        outputs, _ = ours(batch.with_values(x))
        return gradients(outputs.values, of_outputs, x, ours)

    def packing():
        packed = rnn.pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
        return gradients(outputs, of_padded, padded, theirs)

    def padding():
        return gradients(theirs(padded)[0], of_padded, padded, theirs)

    def gradients(outputs, of_outputs, x, module):
        return torch.autograd.grad(outputs, [x, *module.parameters()], of_outputs)

    for peer in (packing, padding) if checked else ():
        of_x, *of_weights = peer()
        expected = of_x[mask], *of_weights
        for one, other in zip(ragged(), expected, strict=True):
            scale = float(other.abs().max())
            check(one.numpy() / scale, other.numpy() / scale, f"{cell}, {peer.__name__}")
    return {"ragmask": ragged, "torch with packing": packing, "padded torch": padding}


def training_by_itself():
    """Against the machine's best rate of a matrix product in the same minute, at 24 · units ·
    (input + units) flops a step for an LSTM and 18 for a GRU; a forward that keeps what the
    gradient takes, against one that does not; and the most memory that a call takes beyond its
    inputs, in what the inputs, outputs and kept gates need."""
    torch = on_two_threads()
    if not torch:
        return
    products = [*sgemms(), *sgemms(torch.mm, torch.from_numpy)]
    for cell, flops_a_step, rows, features, units, target in (
        ("LSTM", 24, 256, 64, 128, 0.5),
        ("LSTM", 24, 512, 128, 256, 0.5),
        ("GRU", 18, 256, 64, 128, 0.5),
        ("GRU", 18, 512, 128, 256, 0.5),
    ):
        what = f"{cell}, {rows} × {features} × {units}, log-normal"
        if not wanted(what):
            continue
        lengths = lengths_of("log-normal", rows)
        run = layer(torch, cell, lengths, features, units)["ragmask"]
        flops = int(lengths.sum()) * flops_a_step * units * (features + units)
        seconds, rate = with_sgemm(run, products)
        show = partial(show_amount, flops / 1e9, "Gflop/s")
        yield Row(what, seconds, "best sgemm", flops / rate, target=target, show=show)
    for cell, rows, features, units in (("LSTM", 256, 64, 128), ("GRU", 256, 64, 128)):
        what = f"{cell}, {rows} × {features} × {units}, a forward that keeps"
        run = partial(forward, torch, cell, lengths_of("log-normal", rows), features, units)
        yield against(what, run(True), "ragmask, a forward that does not", run(False), of="time")
    for cell, rows, features, units in (("LSTM", 256, 64, 128), ("LSTM", 512, 128, 256)):
        what = f"{cell}, {rows} × {features} × {units}, most memory"
        if not wanted(what):
            continue
        needed = 4 * int(lengths_of("log-normal", rows).sum()) * (features + (1 + KEPT) * units)
        share = python(
            "import sys\n"
            "from compare_train import memory_share\n"
            "print(memory_share(sys.argv[1], *map(int, sys.argv[2:])))",
            *(cell, rows, features, units, needed),
        )
        peer = "inputs, outputs and kept gates"
        yield Row(what, share * needed, peer, needed, "memory", 3, show_memory)


def forward(torch, cell, lengths, features, units, keeps):
    """A layer's forward, of weights that require a gradient or not."""
    import ragmask.interop.torch as rt

    batch = rt.RaggedTensor.from_ragged(ragged_of(lengths, (features,)))
    module = getattr(rt.nn, cell)(features, units).requires_grad_(keeps)
    return lambda: module(batch)


def memory_share(cell, rows, features, units, needed):
    """To be run in a process of its own: inputs, and the most that a call takes, in `needed`s."""
    torch = on_two_threads()
    layer(torch, cell, np.array([2, 1] * 300), features, units)["ragmask"]()  # compiles
    lengths = lengths_of("log-normal", rows)
    run = layer(torch, cell, lengths, features, units, checked=False)["ragmask"]
    before = forget_peak()
    result = run()
    inputs = 4 * int(lengths.sum()) * features
    assert result
    return (peak_bytes() - before + inputs) / needed


def embedding():
    """The gradient of a table of 50,000 × 64, from 240,000 ids."""
    torch = on_two_threads()
    if not torch:
        return
    import ragmask.interop.torch as rt

    for what, numbers in (
        ("uniform ids", rng().integers(0, VOCABULARY, STEPS)),
        ("ids by Zipf's law, 1.2", np.minimum(rng().zipf(1.2, STEPS), VOCABULARY) - 1),
    ):
        if not wanted(what):
            continue
        lengths = log_normal_to(STEPS)
        ids = torch.tensor(np.resize(numbers, lengths.sum()))
        batch = rt.RaggedTensor(ids, torch.tensor(np.cumsum([0, *lengths])))
        table = torch.randn(VOCABULARY, 64, requires_grad=True)
        ours = rt.embedding(batch, table).values
        theirs = torch.nn.functional.embedding(ids, table)
        gradient = torch.randn_like(ours)

        def run(outputs, table=table, gradient=gradient):
            return torch.autograd.grad(outputs, table, gradient, retain_graph=True)[0]

        check(run(ours).numpy(), run(theirs).numpy(), what)
        seconds = fastest(partial(run, ours), partial(run, theirs))
        yield Row(what, seconds[0], "torch.nn.functional.embedding", seconds[1], target=2)


def example():
    """An epoch of examples/08_train_on_ragged_rows.py: reading, training, validating."""
    torch = on_two_threads()
    if not torch:
        return
    what = "an epoch, end to end"
    if not wanted(what):
        return
    spec = spec_from_file_location("example_08", EXAMPLES / "08_train_on_ragged_rows.py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    ours, theirs = module.Training(), module.Training(module.PackedClassifier)
    seconds = fastest(ours.run_epoch, theirs.run_epoch, rounds=5, calls=2)
    yield Row(what, seconds[0], "torch with packing", seconds[1], target=3)


TABLES = [training, training_by_itself, embedding, example]
