"""Every benchmark runs once, on its first and smallest size, so that none of them rots unseen.

Those of CUDA run where there is a GPU. Their roofline is counted anywhere.
"""

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from itertools import product

import numpy as np
import pytest

from asv_benchmarks.benchmarks.common import has_gpu
from ragmask.kernels import cuda
from ragmask.kernels.cuda.launch import parts_of
from tests.interpreters import ROOT, run_python

SCRIPTS = ROOT / "asv_benchmarks"
FOLDER = SCRIPTS / "benchmarks"
IS_BENCHMARK = re.compile("(time|peakmem|track)_")


def find_benchmarks():
    """(class or module, function's name, parameters) as asv finds them, without asv."""
    for path in sorted(FOLDER.glob("[!_]*.py")):
        module = import_module(f"asv_benchmarks.benchmarks.{path.stem}")
        for owner in [module, *vars(module).values()]:
            if owner is module or getattr(owner, "__module__", None) == module.__name__:
                for function in filter(IS_BENCHMARK.match, dir(owner)):
                    for params in first_params(owner):
                        names = [path.stem, getattr(owner, "__qualname__", ""), function]
                        name = ".".join(filter(None, names)) + "".join(f"-{p}" for p in params)
                        yield pytest.param(owner, function, params, id=name)


def first_params(owner):
    """Each combination with the first value of the first parameter, which is the size."""
    params = getattr(owner, "params", ())
    if not params:
        return [()]
    if not isinstance(params[0], list | tuple):
        params = (params,)
    return product(params[0][:1], *params[1:])


BENCHMARKS = list(find_benchmarks())


def test_benchmarks_are_found():
    modules = {benchmark.id.split(".")[0] for benchmark in BENCHMARKS}
    assert modules == {path.stem for path in FOLDER.glob("[!_]*.py")} - {"common"}


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "function", "params"), BENCHMARKS)
def test_benchmark_runs(owner, function, params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # asv too runs each in a folder of its own
    benchmark = owner() if inspect.isclass(owner) else owner
    if "cuda" in params and not has_gpu():
        with pytest.raises(NotImplementedError, match="a GPU"):  # asv then leaves it out
            benchmark.setup(*params)
        return
    if hasattr(benchmark, "setup"):
        benchmark.setup(*params)
    result = getattr(benchmark, function)(*params)
    if hasattr(benchmark, "teardown"):
        benchmark.teardown(*params)
    if function.startswith("track_"):
        assert result > 0
        assert getattr(benchmark, function).unit


@pytest.fixture
def roofline(script):
    return script("roofline")


@pytest.mark.slow  # each op's kernels are compiled
def test_the_calls_whose_overhead_is_measured_run(script):
    overhead = script("compare_overhead")
    for call in overhead.calls():
        assert call.run() is not None
        assert call.kernel is None or call.kernel() is None


def run_script(name, **environment):
    """What it prints when it is run as people run it."""
    command = [sys.executable, "-W", "error", SCRIPTS / name]
    environment = {**os.environ, **environment}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
def test_the_page_has_the_roofline_that_the_script_prints(roofline):
    (found,) = roofline.MARKED.findall(roofline.PAGE.read_text(encoding="utf-8"))
    assert found == run_script("roofline.py")


def test_the_python_of_the_page_runs(roofline):
    (code,) = re.findall(r"```python\n(.*?)```", roofline.PAGE.read_text("utf-8"), re.DOTALL)
    names = {}
    exec(compile(code, roofline.PAGE.name, "exec"), names)
    assert len(names["first"]) == 2


def test_the_roofline_is_written_between_its_marks(roofline, tmp_path, monkeypatch, capsys):
    page = tmp_path / "README.md"
    page.write_text("# Page\n<!-- roofline -->\nold\n<!-- /roofline -->\nrest\n")
    monkeypatch.setattr(roofline, "PAGE", page)
    monkeypatch.setattr(roofline, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["roofline.py", "--write"])
    roofline.main()
    printed = capsys.readouterr().out
    expected = f"# Page\n<!-- roofline -->\n{printed}<!-- /roofline -->\nrest\n"
    assert page.read_text() == expected
    assert "| softmax |" in printed


def test_limits_by_hand(roofline):
    """5 steps in 2 rows of 128 float32: of softmax, each read and written once, and 3 numbers."""
    batch = roofline.Batch("two rows", np.array([4, 1]), 3)
    kernels = {(kernel.name, kernel.units): kernel for kernel in roofline.KERNELS}
    softmax, step = kernels["softmax", 0], 4 * 128
    assert softmax.bytes(batch) == 2 * 5 * step + 2 * 3 * 8
    assert softmax.limit(batch, roofline.SXM) == softmax.bytes(batch) / 3.35e12
    assert kernels["pad", 0].bytes(batch) == 5 * step + 2 * 2 * 8 + 2 * 4 * (step + 1)
    recurrence = kernels["lstm, recurrence", 64]
    assert recurrence.operations(batch) == 5 * (2 * 64 * 4 * 64 + 128 * 64)
    assert recurrence.limit(batch, roofline.PCIE) == max(
        recurrence.operations(batch) / 51e12, recurrence.bytes(batch) / 2e12
    )


def test_a_block_has_its_short_rows_done_at_once_and_its_long_ones_in_turn(roofline):
    seconds = np.array([1.0, 2.0, 8.0, 4.0, 3.0])
    long = np.array([False, False, True, True, False])
    assert roofline.seconds_of_blocks(seconds, long).tolist() == [2 + 8 + 4, 3]


def test_the_prediction_grows_with_a_long_row(roofline):
    """Among so many others that it changes nothing about how many blocks share it."""
    batches = [roofline.Batch("", np.array([n, *[5] * 4_000]), 9) for n in (40, 60, 100, 5_000)]
    for kernel in roofline.ROW_KERNELS:
        times = [max(kernel.predictions(batch, roofline.SXM).values()) for batch in batches]
        assert times == sorted(times), kernel.name
        assert times[-1] > times[0]


def test_blocks_that_share_rows_are_predicted_as_they_are_launched(roofline):
    lengths = np.array([5, 900, 0, 70, 3])
    words = np.zeros(lengths.sum() * roofline.STEP_BYTES // 8, np.uint64)
    steps = words.view(np.float32).reshape(-1, roofline.FEATURES)
    arguments = {"softmax": (steps.reshape(-1), roofline.FEATURES), "pool": (steps,)}
    arguments["masking"] = arguments["pool"]
    for kernel in roofline.ROW_KERNELS:
        given = arguments.get(kernel.name, (words,))
        assert kernel.parts_of(lengths) == parts_of(getattr(cuda, kernel.name), 2, *given)


@pytest.mark.slow
def test_comparing_on_a_gpu_says_in_a_line_that_it_needs_one():
    said = run_script("compare_cuda.py", CUDA_VISIBLE_DEVICES="-1")
    assert said.startswith("compare_cuda.py needs an NVIDIA GPU")
    assert said.count("\n") == 1


ON_A_DEVICE = """
import numpy as np
from asv_benchmarks.benchmarks import common

common.require("cuda")
array = common.buffer((2, 3), np.float32, "cuda")
print(type(array).__name__, array.copy_to_host().sum())
calls = []
common.finished(lambda: calls.append(1), "cuda")()
common.copying(64, "cuda")()
print(calls, common.moved(None, "cuda"))
"""


@pytest.mark.slow
def test_what_benchmarks_do_on_a_device():
    """In numba-cuda's simulator, whose device is there always."""
    said = run_python(ON_A_DEVICE, NUMBA_ENABLE_CUDASIM="1")
    assert said.splitlines() == ["FakeCUDAArray 6.0", "[1] None"]
