"""Runs the tests of the CUDA kernels on the PTX that they are compiled to, without a GPU.

    python tests/cuda/run_ptx.py [--faults | --thorough]

It takes a fixed sample of the tests' examples, and puts two faults into copies of the kernels,
which have to be found. `--faults` puts in all of seeded.py instead. `--thorough` does that too,
draws more examples, others each time, compiles for each generation of GPUs, and runs large_rows.py.

It needs g++, for x86-64, and NVIDIA's compiler; where one is missing, nothing is run, and one line
says why. ptx/launch.py says what is checked.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from compile_ptx import MACHINES
from seeded import FAULTS, IN_THE_SAMPLE, seed

ROOT = Path(__file__).parents[2]
FOLDER = Path("tests/cuda")
SAMPLE = 2  # examples of each property
USUAL = (9, 0)
PATIENCE_S = 1800


def main():
    options = parse_options()
    if reason := what_is_missing():
        print(f"left out: the CUDA kernels as executed PTX: {reason}")
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        scratch = Path(folder)
        (scratch / "built").mkdir()
        runs = list(pool.map(lambda job: job(Runner(scratch)), jobs_of(options)))
    total = sum((run.counts for run in runs), Counter())
    faults = [run for run in runs if run.is_fault]
    print(
        "executed {launches:,} launches of {kernels} compiled kernels: {loads:,} loads and "
        "{stores:,} stores checked; ".format_map(total)
        + f"{sum(run.is_as_wanted for run in faults)} of {len(faults)} faults found; "
        f"{time.monotonic() - started:.0f} s"
    )
    if not all(run.is_as_wanted for run in runs):
        sys.exit("not all is well with the CUDA kernels as executed PTX")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", action="store_true", help="every seeded fault, and no more")
    parser.add_argument("--thorough", action="store_true", help="everything: takes minutes")
    return parser.parse_args()


def what_is_missing():
    """Why PTX cannot be executed here; None where it can."""
    if shutil.which("g++") is None or platform.machine() not in ("x86_64", "AMD64"):
        return "it takes g++, for x86-64"
    if find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    from numba.cuda.cudadrv import nvvm

    try:
        nvvm.NVVM()
    except Exception:
        return 'no NVVM in this environment: pip install "nvidia-nvvm==13.0.*"'
    return None


def jobs_of(options):
    """Functions of a Runner, those that take longest first."""
    files = [path for path in (ROOT / FOLDER).glob("test_*.py") if path.stem != "test_simulator"]
    files.sort(key=lambda path: -path.stat().st_size)
    sample = [partial(Runner.run_file, name=path.name, examples=SAMPLE) for path in files]
    faults = [partial(Runner.run_fault, fault=fault) for fault in FAULTS]
    if options.thorough:
        large = [partial(Runner.run_file, name="large_rows.py")]
        many = [partial(Runner.run_file, name=path.name) for path in files]
        others = [machine for machine in MACHINES if machine != USUAL]
        old_and_new = [partial(job, capability=machine) for machine in others for job in sample]
        return large + many + old_and_new + faults
    if options.faults:
        return faults
    return sample + [job for job in faults if job.keywords["fault"].name in IN_THE_SAMPLE]


@dataclass
class Run:
    """What came of a process."""

    output: str
    is_as_wanted: bool
    counts: Counter = field(default_factory=Counter)
    is_fault: bool = False


class Runner:
    """Starts pytest, with folders of its own for what it compiles and writes."""

    def __init__(self, scratch):
        self.built = scratch / "built"
        self.folder = Path(tempfile.mkdtemp(dir=scratch))

    def run_file(self, name, examples=None, capability=USUAL):
        """A file of tests, which has to pass."""
        run = self.pytest(ROOT, name, examples, capability)
        machine = "sm_{}{}".format(*capability)
        counts = ", ".join(f"{count:,} {what}" for what, count in run.counts.items())
        print(f"{machine} {name}: {last_line(run.output)}: {counts}", flush=True)
        if not run.is_as_wanted:
            print(run.output, flush=True)
        return run

    def run_fault(self, fault):
        """A test with a fault in the kernels, which has to fail, and to say so."""
        copy = self.folder / "copy"
        without_caches = shutil.ignore_patterns("__pycache__")
        for name in ("ragmask", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=without_caches)
        for name in ("pyproject.toml", "conftest.py"):
            shutil.copy(ROOT / name, copy)
        path = copy / "ragmask/kernels/cuda" / fault.edit.file
        path.write_text(seed(path.read_text(), fault.edit))
        run = self.pytest(copy, fault.test, SAMPLE, USUAL)
        found = re.search(fault.says, run.output)
        is_found = not run.is_as_wanted and found is not None
        print(f"{fault.name}: {f'found ({found[0]})' if is_found else 'NOT FOUND'}", flush=True)
        if not is_found:
            print(run.output, flush=True)
        return Run(run.output, is_found, run.counts, is_fault=True)

    def pytest(self, root, what, examples, capability):
        command = [sys.executable, "-m", "pytest", FOLDER / what, "-q", "--tb=short"]
        command += ["-p", "tests.cuda.executed", "-p", "no:cacheprovider", "-p", "no:randomly"]
        # numpy warns of overflows and NaNs that kernels are meant to make
        command += ["-W", "ignore::RuntimeWarning"]
        counts = self.folder / "counts"
        command += ["--built", self.built, "--counts", counts]
        command += ["--capability", "{}.{}".format(*capability)]
        command += ["--examples", str(examples)] if examples else []
        process = subprocess.run(
            command,
            env={**os.environ, "TMPDIR": str(self.folder)},
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        run = Run(process.stdout, process.returncode == 0)
        with suppress(FileNotFoundError):  # where pytest did not begin
            run.counts = Counter(json.loads(counts.read_text()))
        return run


def last_line(output):
    return output.strip().rpartition("\n")[2]


if __name__ == "__main__":
    main()
