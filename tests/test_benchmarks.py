"""Every benchmark runs once, on its first and smallest size, so that none of them rots unseen."""

import inspect
import re
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "asv_benchmarks" / "benchmarks"
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


@pytest.mark.parametrize(("owner", "function", "params"), BENCHMARKS)
def test_benchmark_runs(owner, function, params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # asv too runs each in a folder of its own
    benchmark = owner() if inspect.isclass(owner) else owner
    if hasattr(benchmark, "setup"):
        benchmark.setup(*params)
    result = getattr(benchmark, function)(*params)
    if hasattr(benchmark, "teardown"):
        benchmark.teardown(*params)
    if function.startswith("track_"):
        assert result > 0
        assert getattr(benchmark, function).unit
