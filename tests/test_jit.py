"""The compile cache: it survives having nowhere to write, and notices every edit."""

import shutil

import numpy as np
import pytest

import ragmask as rm
from ragmask.arrays.host import read_only
from ragmask.rows.padding import pack_rows
from tests.interpreters import ROOT, run_python
from tests.strategies import DTYPES

HELPER = """
from ragmask.kernels.compile import njit

@njit
def answer():
    return {answer}
"""

KERNEL = """
from ragmask.kernels.helper import answer
from ragmask.kernels.compile import njit

@njit
def kernel(out):
    out[0] = answer()
"""

RUN = """
import numpy as np
from ragmask.kernels.cpu.probe import kernel

out = np.zeros(1)
kernel(out)
print(int(out[0]), "loaded" if kernel.stats.cache_hits else "compiled")
"""


def copy_package(folder):
    """ragmask, with a small kernel more whose helper lives in another file."""
    folder = folder / "ragmask"
    shutil.copytree(ROOT / "ragmask", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "kernels/helper.py").write_text(HELPER.format(answer=1))
    (folder / "kernels/cpu/probe.py").write_text(KERNEL)
    return folder


@pytest.fixture
def package(tmp_path):
    return copy_package(tmp_path)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    package = copy_package(tmp_path_factory.mktemp("compiled"))
    assert run(package) == "1 compiled"
    return package


@pytest.fixture
def warm_package(compiled, tmp_path):
    return shutil.copytree(compiled, tmp_path / "ragmask")


def run(package, code=RUN, **environment):
    """`code` on that copy; Python's own bytecode cache, which looks at whole seconds, is off."""
    environment = {"NUMBA_CACHE_DIR": "", "PYTHONDONTWRITEBYTECODE": "1"} | environment
    return run_python(code, folder=package.parent, **environment)


@pytest.mark.slow
def test_a_warm_cache_is_loaded_and_not_compiled(warm_package):
    assert run(warm_package) == "1 loaded"


@pytest.mark.slow
def test_another_processor_gets_code_of_its_own(warm_package):
    """A folder of compiled kernels may be shared by machines of several kinds."""
    other = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    assert run(warm_package, **other) == "1 compiled"
    assert run(warm_package, **other) == "1 loaded"
    assert run(warm_package) == "1 loaded"


@pytest.mark.slow
def test_the_edit_of_a_helper_in_another_file_is_noticed(warm_package):
    (warm_package / "kernels/helper.py").write_text(HELPER.format(answer=2))
    assert run(warm_package) == "2 compiled"
    assert run(warm_package) == "2 loaded"


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "damage",
    [lambda code: b"", lambda code: code[:100], lambda code: b"this is no pickle"],
    ids=["empty", "torn", "foreign"],
)
@pytest.mark.slow
def test_a_damaged_cache_file_is_a_miss(warm_package, kind, damage):
    files = list((warm_package / "kernels").rglob(f"*.{kind}"))
    assert files
    for path in files:
        path.write_bytes(damage(path.read_bytes()))
    assert run(warm_package) == "1 compiled"


@pytest.fixture
def nowhere(package):
    """An environment in which no folder for a cache can be made."""
    for folder in ("kernels", "kernels/cpu"):
        (package / folder / "__pycache__").write_text("a file where a folder should be")
    path = str(package / "pyproject")
    (package / "pyproject").write_text("a file")
    return {"NUMBA_CACHE_DIR": f"{path}/cache", "HOME": path, "XDG_CACHE_HOME": f"{path}/cache"}


@pytest.mark.slow
def test_nowhere_to_write_is_no_failure(package, nowhere):
    code = "import ragmask as rm; print(rm.Ragged.from_rows([[1, 2], []]).to_padded().mask.sum())"
    assert run(package, RUN + code, **nowhere).split("\n") == ["1 compiled", "2"]


@pytest.mark.slow
def test_the_users_folder_is_next(package, nowhere, tmp_path):
    environment = nowhere | {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    environment |= {"LOCALAPPDATA": str(tmp_path)}
    assert run(package, **environment) == "1 compiled"
    assert run(package, **environment) == "1 loaded"


@pytest.mark.slow
def test_numba_cache_dir_is_first(package, tmp_path):
    folder = tmp_path / "cache"
    assert run(package, NUMBA_CACHE_DIR=str(folder)) == "1 compiled"
    assert list(folder.rglob("*.nbi"))
    assert not list(package.rglob("*.nbi"))


@pytest.mark.slow
def test_a_folder_that_goes_away_is_no_failure(package):
    code = """
import shutil
from pathlib import Path

import ragmask.kernels.cpu.probe as probe

folder = Path(probe.__file__).parent / "__pycache__"
shutil.rmtree(folder)
folder.write_text("a file where the cache was")
"""
    assert run(package, code + RUN) == "1 compiled"


@pytest.mark.slow
def test_bits_are_those_of_the_source_not_of_a_compilation(tmp_path):
    """In the process that compiles, and in the next, other copies of a helper may be linked."""
    code = """
import numpy as np
import ragmask as rm

numbers = np.random.default_rng(0)
rows = rm.Ragged.from_offsets(numbers.normal(size=(90, 12)).astype("f4"), [0, 10, 50, 90])
weights = [numbers.normal(size=size).astype("f4") for size in ((12, 160), (40, 160), 160)]
print(rm.lstm(rows, rm.LSTMWeights(*weights)).outputs.values.tobytes().hex())
print(rm.temporal_softmax(rows).values.tobytes().hex())
"""
    first, second = (run_python(code, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert first == second


def test_kernels_run_without_the_jit():
    code = "import ragmask as rm; print(rm.Ragged.from_rows([[1], []]).to_padded().values.tolist())"
    assert run_python(code, NUMBA_DISABLE_JIT="1") == "[[1], [0]]"


def test_few_signatures_are_compiled():
    """Words of four sizes, with a mask to read, to write only, or none at all."""
    from ragmask.kernels import cpu

    for dtype in DTYPES:
        for values in (np.ones(4, dtype), np.ones(8, dtype)[::2], np.ones((4, 3), dtype)):
            for mask in (None, np.array([True, False, True, True])):
                batch = rm.Ragged(values, [2, 0], [2, 1], mask)
                for view in (batch, batch[::-1], batch.truncate(1), batch.compact()):
                    for side in ("pre", "post"):
                        padded = view.to_padded(2, padding=side, truncating=side, value=1)
                        assert padded.values.all()
                    assert view.compact().values.all()
            steps = np.empty_like(batch.values[:3])
            step_starts = read_only(np.array([0, 2]))  # of two rows' first steps, and a second one
            pack_rows(batch._rows, step_starts, steps)
            assert steps.all()
    assert len(cpu.pad.signatures) <= 12
    assert len(cpu.compact.signatures) <= 4
    assert len(cpu.pack.signatures) <= 4
