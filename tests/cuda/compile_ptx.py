"""Compiles every CUDA kernel to machine code, with neither a GPU nor a driver, and looks at it.

`python tests/cuda/compile_ptx.py` fails where a kernel spills registers, uses local memory, or
computes in double precision what is not float64. It prints a Markdown table of what each kernel
takes, and how much of a multiprocessor that leaves busy; with `--write` it puts that table into the
kernels' README. ptxas comes with nvidia-cuda-nvcc.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

# compute capability: registers, shared memory in bytes, and warps of a multiprocessor
MACHINES = {
    (7, 5): (65536, 65536, 32),
    (8, 0): (65536, 167936, 64),
    (9, 0): (65536, 233472, 64),
    (10, 0): (65536, 233472, 64),
    (12, 0): (65536, 102400, 48),
}
CELLS = ("lstm", "gru", "rnn")
GRADIENTS = {"gather", *(f"{cell}_{of}" for cell in CELLS for of in ("keeping", "gradient"))}
RESERVED = 1024  # bytes of shared memory, of every block
PAGE = Path(__file__).parents[2] / "ragmask/kernels/cuda/README.md"
BEGIN, END = "<!-- registers -->", "<!-- /registers -->"  # where the table is on that page


def signatures():
    """(kernel's name, what of, its signature, whether it may compute in float64)."""
    from numba import types as t

    from ragmask.kernels.registry import KERNELS

    for record in KERNELS:
        for masked in masks_of(record):
            for number in record.numbers or ("",):
                what = f"{number}{', masked' if masked else ''}"
                yield record.name, what, signature_of(record, number, masked), number == "float64"
    for x in (t.float32, t.float16, t.float64):
        dtype = t.float64 if x is t.float64 else t.float32
        flat = dtype[::1]
        product = t.void(x[::1], flat, flat, t.int64, t.int64, flat)
        yield "project", str(x), product, dtype is t.float64
    for cell, units, dtype in (
        *(("lstm", units, t.float32) for units in (16, 32, 48, 64, 96, 128, 300, 4000)),
        *(("gru", units, t.float32) for units in (16, 64, 128, 300, 4000)),
        *(("rnn", units, t.float32) for units in (64, 300)),
        *((cell, 300, t.float64) for cell in CELLS),
    ):
        for masked in (False, True):
            what = f"{dtype}, {units} units{', masked' if masked else ''}"
            yield cell, what, (units, dtype, masked), dtype is t.float64
    yield from signatures_of_gradients()


def signatures_of_gradients():
    """Of recurrent layers."""
    from numba import types as t

    for dtype in (t.float32, t.float64):
        flat, items, double = dtype[::1], dtype[:, ::1], dtype is t.float64
        weights = t.void(items, items, flat, t.int64, t.int64, items)
        yield "pack_weights", str(dtype), weights, double
        weights = t.void(items, t.int64, t.int64, items, items, flat)
        yield "unpack_weights", str(dtype), weights, double
        moved = t.void(flat, t.int64, t.int64, t.int64, dtype[:, :, ::1])
        yield "rearrange", str(dtype), moved, double
        for masked in (False, True):
            also = ", masked" if masked else ""
            yield "gather", f"{dtype}{also}", (0, dtype, masked), double
            for cell in CELLS:
                yield f"{cell}_keeping", f"{dtype}{also}", (128, dtype, masked), double
                for units in (64, 600) if cell == "lstm" and not double else (600,):
                    what = f"{dtype}, {units} units{also}"
                    yield f"{cell}_gradient", what, (units, dtype, masked), double


def masks_of(record):
    """Whether there may be a mask, or another array: without one a kernel is another one."""
    return (False, True) if "mask" in dict(record.parameters).values() else (False,)


def signature_of(record, number, masked):
    """A record's arguments as Numba's types."""
    from numba import types as t

    computed = t.float64 if number == "float64" else t.float32
    number = getattr(t, number, None)
    kinds = {
        "ints": t.int64[::1],
        "mask": t.boolean[::1] if masked else t.none,
        "bools": t.boolean[::1],
        "flat": number and number[::1],
        "items": number and number[:, ::1],
        "places": t.int64[:, ::1],
        "number": number,
        "int": t.int64,
        "bool": t.boolean,
        "shape": t.Tuple((t.int64, t.int64, t.boolean)),
        "sizes": t.UniTuple(t.int64, 4),
        "window": t.UniTuple(t.int64, 2),
        "real": computed,
        "flat or None": computed[::1] if masked else t.none,
    }
    return t.void(*(kinds[kind] for _, kind in record.parameters))


def launched(name, signature, capability):
    """(kernel, its signature, threads, bytes of dynamic shared memory) on such a machine."""
    from ragmask.kernels import cuda as kernels
    from ragmask.kernels.cuda.recurrent.gemm import project_tiles

    if name == "project":
        return project_tiles, signature, kernels.THREADS, 0
    if name in GRADIENTS:
        return launched_gradient(name, *signature, capability)
    if name not in CELLS:
        return getattr(kernels, name), signature, kernels.THREADS, 0
    return launched_recurrence(name, *signature, capability)


def launched_recurrence(cell, units, dtype, masked, capability):
    from numba import types as t

    from ragmask.kernels import cuda as kernels
    from ragmask.kernels.cuda.recurrent.plan import plan_of

    room = MACHINES[capability][1] - RESERVED
    recurrent = import_module(f"ragmask.kernels.cuda.recurrent.{cell}")
    kernels_of_cell = getattr(recurrent, cell.upper())
    plan = plan_of(kernels_of_cell, 10**6, units, dtype is t.float32, kernels.Limits(1, room))
    flat, states, rows, states_before_and_after, options = types_of_recurrence(dtype, masked)
    slots = () if plan.slots is None else (t.int64,)
    given = rows, flat, flat, states_before_and_after, options, *slots, states, t.int64[::1]
    return plan.kernel, t.void(*given), plan.threads, plan.shared_bytes


def launched_gradient(name, units, dtype, masked, capability):
    from numba import types as t

    from ragmask.kernels import cuda as kernels
    from ragmask.kernels.cuda.recurrent.gradient import gather_inputs
    from ragmask.kernels.cuda.recurrent.plan import gradient_block

    flat, states, rows, states_before_and_after, options = types_of_recurrence(dtype, masked)
    if name == "gather":
        given = rows, states, states, states, options, states
        return gather_inputs, t.void(*given), kernels.THREADS, 0
    cell, _, which = name.partition("_")
    recurrent = import_module(f"ragmask.kernels.cuda.recurrent.{cell}")
    of_cell = getattr(recurrent, f"{cell.upper()}_GRADIENT")
    if which == "keeping":
        return of_cell.keeping, t.void(rows, flat, states, states, options, flat), units, 0
    limits = kernels.Limits(1, MACHINES[capability][1] - RESERVED)
    threads, _, shared_bytes = gradient_block(units, dtype.bitwidth // 8, limits)
    given = rows, flat, states, flat, states_before_and_after, options, t.int64, flat
    return of_cell.back, t.void(*given), threads, shared_bytes


def types_of_recurrence(dtype, masked):
    """Of flat numbers, of states, and of the tuples that its kernels take."""
    from numba import types as t

    from ragmask.kernels import cuda as kernels

    ints, states = t.int64[::1], dtype[:, ::1]
    mask = t.boolean[::1] if masked else t.none
    return (
        *(dtype[::1], states),
        t.NamedTuple((ints, ints, ints, mask, ints), kernels.RowArrays),
        t.NamedUniTuple(states, 4, kernels.States),
        t.NamedUniTuple(t.boolean, 2, kernels.Options),
    )


def assembler():
    """ptxas, beside the other packages of this environment."""
    for folder in find_spec("nvidia").submodule_search_locations:
        for path in sorted(Path(folder).rglob("bin/ptxas*")):
            return path
    sys.exit('no ptxas in this environment: pip install "nvidia-cuda-nvcc==13.0.*"')


def compile_ptx(kernel, signature, capability, lineinfo=False):
    """A kernel's PTX. Its device functions ask the current device what it can do."""
    from numba import cuda
    from numba.cuda import dispatcher

    machine = SimpleNamespace(compute_capability=capability)
    dispatcher.get_current_device = lambda: machine
    bounds = kernel.targetoptions["launch_bounds"]
    options = {"device": False, "abi": "numba", "cc": capability, "launch_bounds": bounds}
    ptx, _ = cuda.compile(kernel.py_func, signature, lineinfo=lineinfo, **options)
    return ptx


def assemble(ptx, capability, double):
    """(registers, bytes of shared memory), or an error of ptxas."""
    options = ["--warn-on-spills", "--warn-on-local-memory-usage", "--warning-as-error"]
    options += [] if double else ["--warn-on-double-precision-use"]
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx)
        architecture = "-arch=sm_{}{}".format(*capability)
        command = [assembler(), "-v", architecture, *options, source, "-o", result]
        process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(process.stderr)
    registers = int(re.search(r"Used (\d+) registers", process.stderr)[1])
    shared = re.search(r"(\d+) bytes smem", process.stderr)
    return registers, int(shared[1]) if shared else 0


def occupancy(registers, shared, capability, threads):
    """The share of a multiprocessor's warps that are there at once."""
    all_registers, all_shared, all_warps = MACHINES[capability]
    warps = threads // 32
    by_registers = all_registers // (-(-registers * 32 // 256) * 256) // warps
    blocks = min(by_registers, all_shared // (shared + RESERVED), all_warps // warps)
    return blocks * warps / all_warps


def figures_of(kernel, machines):
    """A row of the table: what a kernel takes of these machines."""
    name, what, given, double = kernel
    cells = []
    for capability in machines:
        kernel, signature, threads, dynamic = launched(name, given, capability)
        registers, shared = assemble(compile_ptx(kernel, signature, capability), capability, double)
        busy = occupancy(registers, shared + dynamic, capability, threads)
        cells.append(f"{registers} reg., {shared + dynamic} B, {busy:.0%}")
    return f"| {name} | {what} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--quick", action="store_true", help="one generation of GPUs, not five")
    only.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    machines = [(9, 0)] if options.quick else list(MACHINES)
    names = " | ".join("sm_{}{}".format(*machine) for machine in machines)
    lines = [f"| kernel | of | {names} |", "|---|---|" + "---|" * len(machines)]
    print(*lines, sep="\n")
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for line in pool.map(partial(figures_of, machines=machines), signatures()):
            print(line, flush=True)
            lines.append(line)
    if options.write:
        page = PAGE.read_text()
        first, last = page.index(BEGIN) + len(BEGIN), page.index(END)
        PAGE.write_text("\n".join([page[:first], *lines, page[last:]]))


if __name__ == "__main__":
    main()
