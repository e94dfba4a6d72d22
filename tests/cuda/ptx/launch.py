"""Runs a kernel's PTX on the CPU, thread by thread, and checks what each thread does.

    kernel = Builder(folder).build(ptx)
    counts = kernel.launch(blocks, threads, leaves, shared_bytes=0, seed=0)

parse.py reads the PTX, translate.py makes C++ of it, and g++ a library; runtime.cpp runs each
CUDA thread as a fiber, in an order drawn from the seed, and races.hpp keeps who accessed what.

What is checked, of every launch:
- each load, store and atomic operation lies within one array that was passed or, in shared and
  local memory, declared; is aligned to its size; and does not write to what is only to be read;
- no two threads race: accesses to a number, one of which writes, are of one thread, or have a
  barrier between them, or are both atomic. Between blocks of a launch nothing is a barrier;
- no load from shared memory reads what its block has not written;
- all threads of a block come to the same barrier, and none ends before;
- all lanes that the mask of a shuffle or a vote names are there, and come to it with that mask; a
  shuffle reads none but those;
- no integer is divided by zero.

What is not: this is PTX, not the machine code that ptxas makes of it, nor its speed. Memory is
sequentially consistent, blocks run one after another, and threads change places at barriers,
shuffles and votes only: a program that waits for another block would wait for ever. That global
memory was written before it is read is not checked, nor what a shuffle's lanes see of each other's
memory: only barriers order that. Approximate instructions are as exact as the C library, but for
the reciprocal of float64; NaNs have other bits than on a GPU. Launches have one dimension, and
kernels call no functions. What the project's kernels are not compiled to is refused with its text.
"""

import ctypes
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.cuda.ptx.parse import Module, bytes_of, parse
from tests.cuda.ptx.translate import Translation, parameter_places, translate

SOURCES = Path(__file__).parent
# Every product is rounded before it is added to, and signed integers wrap around, as in PTX.
EXACT = ("-std=c++20", "-mfma", "-mf16c", "-msse4.1", "-ffp-contract=off", "-fwrapv")
LIBRARY = ("-fPIC", "-shared", "-fno-strict-aliasing", "-w")


class PtxError(Exception):
    """A thread did what it must not."""


class Leaf(NamedTuple):
    """An array or a number: an argument, or a part of a tuple that is one."""

    value: Any
    writable: bool


class Counts(NamedTuple):
    loads: int
    stores: int


class View(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("begin", "end", "writable", "allocation")]


class Allocation(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("begin", "end", "item_bytes")]


class Span(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("begin", "end")]


class Launch(ctypes.Structure):
    _fields_ = [
        ("kernel", ctypes.c_void_p),
        ("parameters", ctypes.c_char_p),
        *[(name, ctypes.c_uint32) for name in ("blocks", "threads", "dynamic_bytes", "seed")],
        *[(name, ctypes.c_uint32) for name in ("n_views", "n_allocations", "n_shared")],
        ("views", ctypes.POINTER(View)),
        ("allocations", ctypes.POINTER(Allocation)),
        ("shared", ctypes.POINTER(Span)),
        ("shared_item_bytes", ctypes.c_uint32),
    ]


class Report(ctypes.Structure):
    _fields_ = [
        ("loads", ctypes.c_uint64),
        ("stores", ctypes.c_uint64),
        ("text", ctypes.c_char * 1000),
    ]


class Builder:
    """Compiles, and keeps what it compiled in a folder, which several processes may share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        runtime = self.library((SOURCES / "runtime.cpp").read_text(), "-O2")
        self.runtime = ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)

    def build(self, ptx: str) -> "Kernel":
        module = parse(ptx)
        translation = translate(module)
        library = ctypes.CDLL(str(self.library(translation.code, "-O1")))
        return Kernel(self.runtime, library, module, translation)

    def library(self, code: str, optimised: str) -> Path:
        """The code's library: it appears whole, or not at all."""
        headers = [path.read_text() for path in sorted(SOURCES.glob("*.hpp"))]
        key = hashlib.sha256("\0".join([code, optimised, *headers]).encode()).hexdigest()
        target = self.folder / f"{key[:32]}.so"
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                made = Path(scratch) / target.name
                options = (*EXACT, *LIBRARY, optimised, "-I", SOURCES, "-x", "c++", "-", "-o", made)
                subprocess.run(("g++", *options), input=code, text=True, check=True)
                made.replace(target)
        return target


class Kernel:
    def __init__(
        self, runtime: Any, library: Any, module: Module, translation: Translation
    ) -> None:
        self.runtime, self.library = runtime, library
        self.module, self.translation = module, translation

    def launch(
        self, blocks: int, threads: int, leaves: Iterable[Leaf], shared_bytes: int, seed: int
    ) -> Counts:
        """Run it over arrays and numbers; what is wrong is a PtxError."""
        leaves = list(leaves)
        arrays = [leaf for leaf in leaves if isinstance(leaf.value, np.ndarray)]
        views, allocations = layout([leaf for leaf in arrays if leaf.value.size])
        dynamic = self.translation.dynamic
        shared = [*self.translation.shared]
        shared += [(dynamic, dynamic + shared_bytes)] if shared_bytes else []
        report = Report()
        launch = Launch(
            ctypes.cast(self.library.kernel, ctypes.c_void_p),
            self.parameters(leaves),
            *(blocks, threads, shared_bytes, seed, len(views), len(allocations), len(shared)),
            (View * len(views))(*views),
            (Allocation * len(allocations))(*allocations),
            (Span * len(shared))(*shared),
            self.translation.shared_item_bytes,
        )
        if self.runtime.run_kernel(ctypes.byref(launch), ctypes.byref(report)):
            raise PtxError(re.sub(r"@(\d+)", self.place_of, report.text.decode()))
        return Counts(report.loads, report.stores)

    def place_of(self, found: re.Match[str]) -> str:
        """An instruction, where its number is in a report."""
        instruction = self.translation.instructions[int(found[1])]
        file, line = instruction.place
        text = " ".join(instruction.text.split())
        return f"{Path(self.module.files.get(file, '?')).name}:{line} ({text})"

    def parameters(self, leaves: Sequence[Leaf]) -> bytes:
        """The leaves as the memory of the kernel's parameters."""
        words = [word for leaf in leaves for word in words_of(leaf.value)]
        places = parameter_places(self.module.parameters)
        memory = bytearray()
        for word, parameter in zip(words, self.module.parameters, strict=True):
            size = bytes_of(parameter.type)
            if len(word) != size:
                raise ValueError(f"{len(word)} bytes for a parameter of {size}")
            memory.extend(bytes(places[parameter.name] - len(memory)) + word)
        return bytes(memory)


def words_of(value: Any) -> list[bytes]:
    """What an array or a number is to PTX, as Numba hands it over."""
    match value:
        case None:
            return [bytes(8)]
        case np.ndarray():
            described = (0, 0, value.size, value.itemsize, value.ctypes.data)
            numbers = (*described, *value.shape, *value.strides)
            return [number.to_bytes(8, "little", signed=True) for number in numbers]
        case complex() | np.complexfloating():
            both = np.array(value)
            return [both.real.tobytes(), both.imag.tobytes()]
        case bool() | int() | float() | np.generic():
            return [np.asarray(value).tobytes()]
    raise TypeError(f"an argument of type {type(value).__name__}")


def layout(arrays: Sequence[Leaf]) -> tuple[list[View], list[Allocation]]:
    """The arrays, and the memory they lie in: arrays that overlap share it."""
    views: list[View] = []
    allocations: list[Allocation] = []
    for leaf in sorted(arrays, key=lambda leaf: leaf.value.ctypes.data):
        begin, size = leaf.value.ctypes.data, leaf.value.itemsize
        end = begin + leaf.value.nbytes
        if not allocations or begin >= allocations[-1].end:
            allocations.append(Allocation(begin, end, size))
        memory = allocations[-1]
        memory.end = max(memory.end, end)
        memory.item_bytes = min(memory.item_bytes, size)
        views.append(View(begin, end, leaf.writable, len(allocations) - 1))
    return views, allocations
