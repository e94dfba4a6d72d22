"""Hypothesis profiles, the report header, and fixtures that several files share.

`HYPOTHESIS_PROFILE=thorough pytest`, or `pytest --hypothesis-profile=thorough`, looks longer. What
is slow is given twice as long a look as what is run again and again.
"""

import gc
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

import ragmask as rm
from tests.peers.packages import missing_packages

settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("usual", max_examples=40, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_report_header():
    if missing := missing_packages():
        return f"tests/peers is left out: {', '.join(missing)} not installed"
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """What waits for the simulator comes last: it runs beside all other tests."""
    items.sort(key=waits_for_simulation)


def pytest_collection_finish():
    """What was imported until now is no garbage: tests that collect theirs need not look at it."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def simulation(request, tmp_path_factory):
    """The tests of the CUDA kernels, in a process of their own, and the file of what it says."""
    if not any(map(waits_for_simulation, request.session.items)):
        yield None
        return
    said = tmp_path_factory.mktemp("simulation") / "said.txt"
    # numpy warns of overflows and NaNs that kernels are meant to make
    command = [sys.executable, "-m", "pytest", "tests/cuda", "-q", "-W", "ignore::RuntimeWarning"]
    with said.open("w") as file:
        process = subprocess.Popen(
            command,
            env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
            cwd=Path(__file__).parents[1],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    yield process, said
    process.kill()
    process.wait()


def waits_for_simulation(item):
    return item.name == "test_the_cuda_kernels_in_the_simulator"


@pytest.fixture
def num_threads():
    """`set_num_threads`, undone when the test ends."""
    before = rm.get_num_threads()
    yield rm.set_num_threads
    rm.set_num_threads(before)


@pytest.fixture
def no_terminal(monkeypatch):
    """A pipe of 80 columns, whatever the environment of the tests forces upon rich."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", None, raising=False)


@pytest.fixture
def script(monkeypatch):
    """Imports a script of asv_benchmarks as if it was run in its folder."""
    folder = Path(__file__).parents[1] / "asv_benchmarks"
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield import_module
    own = {path.stem for path in folder.iterdir()}
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in own:
            del sys.modules[name]
