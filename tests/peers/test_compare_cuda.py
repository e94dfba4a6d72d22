"""compare_cuda.py, whose tables need a GPU, on the CPU: its calls run and its peers agree."""

import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "asv_benchmarks"


@pytest.fixture
def modules(monkeypatch):
    """compare_cuda and roofline, as a script in their folder imports them."""
    monkeypatch.syspath_prepend(FOLDER)
    before = set(sys.modules)
    yield import_module("compare_cuda"), import_module("roofline")
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("benchmarks", "compare_cuda", "roofline", "tables"):
            del sys.modules[name]


def test_its_tables_on_the_cpu(modules):
    compare_cuda, roofline = modules
    batch = roofline.Batch("few rows", np.array([3, 1, 40, 7]), 51)
    lines = list(compare_cuda.tables(torch, [batch], roofline.SXM, "cpu"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:]]
    kinds = ["pad", "compact", "embedding", "masking", "softmax", "pool", "lstm, 64 units"]
    kinds += ["lstm, 128 units", "lstm, 256 units", "lstm and back, 64 units"]
    assert {row[0] for row in rows} == {*kinds}
    assert all(len(row) == 7 and float(row[6].rstrip("×")) > 0 for row in rows)
    peers = {row[4] for row in rows if row[0] == "lstm, 64 units"}
    assert peers == {
        "torch nn.LSTM, packed beforehand",
        "torch nn.LSTM, packing and unpacking",
        "torch nn.LSTM, padded",
        "Keras on JAX, padded and masked",
    }


def test_the_limit_is_of_all_the_kernels_of_a_call(modules):
    compare_cuda, roofline = modules
    batch = roofline.Batch("few rows", np.array([3, 1, 40, 7]), 51)
    kernels = [kernel for kernel in roofline.LSTM if kernel.units == 128]
    limit = compare_cuda.limit_of("lstm", 128, batch, roofline.SXM)
    assert limit == sum(kernel.limit(batch, roofline.SXM) for kernel in kernels)
    assert len(kernels) == 2


def test_there_is_something_to_lay_end_to_end(modules):
    """A batch that lies end to end already would be given back as it is."""
    compare_cuda, _ = modules
    case = compare_cuda.compact(compare_cuda.Inputs(torch, np.array([3, 2]), 4, "cpu"))
    result = case.run()
    assert result is not case.run()
    assert result.lengths.tolist() == [2, 3]


def test_a_peer_that_computes_something_else_is_refused(modules):
    compare_cuda, _ = modules
    inputs = compare_cuda.Inputs(torch, np.array([3, 2]), 4, "cpu")
    case = compare_cuda.softmax(inputs)
    case.peers["zeros"] = (lambda: torch.zeros_like(inputs.steps), compare_cuda.same)
    with pytest.raises(AssertionError, match="softmax, zeros: differs"):
        compare_cuda.check(torch, "softmax", case)


class FakeCuda:
    """torch.cuda, which writes down what it is asked for; a call takes a second."""

    def __init__(self):
        self.done = []

    def synchronize(self):
        self.done.append("synchronize")

    def _sleep(self, cycles):
        self.done.append("sleep")

    def Event(self, enable_timing):  # noqa: N802
        return FakeEvent(self) if enable_timing else None


class FakeEvent:
    def __init__(self, cuda):
        self.cuda, self.calls = cuda, None

    def record(self):
        self.calls = self.cuda.done.count("call")

    def synchronize(self):
        self.cuda.done.append("wait")

    def elapsed_time(self, end):
        return 1e3 * (end.calls - self.calls)


def test_the_device_sleeps_while_calls_are_handed_over(modules):
    compare_cuda, _ = modules
    cuda = FakeCuda()
    fake = SimpleNamespace(cuda=cuda)
    calls = [lambda: cuda.done.append("call"), lambda: None]
    assert compare_cuda.least_seconds(fake, calls, "cuda") == [1, 0]
    a_turn = ["synchronize", "sleep", *["call"] * compare_cuda.CALLS, "wait"]
    assert cuda.done[2 : 2 + len(a_turn)] == a_turn  # after two calls to warm up
    assert cuda.done.count("wait") == 2 * compare_cuda.ROUNDS


def test_what_has_a_stream_of_its_own_goes_by_the_hosts_clock(modules):
    compare_cuda, _ = modules
    call = compare_cuda.OnItsOwnStream(lambda: time.sleep(1e-3))
    cuda = FakeCuda()
    assert compare_cuda.seconds_on_device(SimpleNamespace(cuda=cuda), call) >= 1e-3
    assert not cuda.done
