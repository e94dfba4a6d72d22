"""A plugin of pytest, under which kernels are executed on the CPU, as the PTX they are compiled to.

run_ptx.py starts pytest with it. A module from outside the project, `ptxcpu`, runs the PTX thread
by thread, in any order, and looks at every access and barrier: whether an access is within its
array, aligned, raced by another, or to shared memory that nobody wrote; whether all threads of a
block come to its barriers, and all lanes of a warp to its shuffles.
"""

import inspect
import json
import os
import sys
import tempfile
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import Phase, settings

ANY_ORDER = 2
ALL_CHECKS, WITHIN_BLOCKS = 2, 1
LARGE_BYTES = 2**28  # who wrote what is not kept beyond: it takes 10 times the memory
MANY_EXAMPLES = 60
FOUND = ("facts", "first", "holes")  # where kernels that look at rows say what they found


def pytest_addoption(parser):
    group = parser.getgroup("kernels as executed PTX")
    group.addoption("--executor", help="the folder of ptxcpu.py")
    group.addoption("--capability", default="9.0", help="the compute capability to compile for")
    group.addoption("--examples", type=int, help="how many, always the same; else more, at random")
    group.addoption("--counts", help="a file for how much was executed")
    group.addoption("--built", help="a folder of compiled kernels, for several processes")


def pytest_configure(config):
    from numba.cuda.dispatcher import CUDADispatcher

    from tests.cuda import running

    option = config.option
    capability = tuple(map(int, option.capability.split(".")))
    executor = Executor(option.executor, capability, Path(option.built))
    config.pluginmanager.register(WritesCounts(executor.counts, Path(option.counts)))

    def configure(kernel, blocks, threads, stream=0, shared_bytes=0):
        return partial(executor.launch, kernel, blocks, threads, shared_bytes)

    CUDADispatcher.configure = configure
    running.few_examples = settings(
        max_examples=option.examples or MANY_EXAMPLES,
        derandomize=option.examples is not None,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],  # to make a failing one smaller takes minutes
    )


class WritesCounts:
    def __init__(self, counts, path):
        self.counts, self.path = counts, path

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self):
        self.path.write_text(json.dumps(vars(self.counts)))


class Executor:
    """Stands in for the GPU."""

    def __init__(self, folder, capability, built):
        sys.path.insert(0, folder)
        import offline
        import ptxcpu

        ptxcpu.Tr.gen = with_bit_fields(ptxcpu.Tr.gen, ptxcpu.SZ)
        self.compile, self.translate = offline.compile_kernel, ptxcpu.PtxKernel
        self.capability, self.built = capability, built
        self.kernels = {}
        self.counts = SimpleNamespace(kernels=0, launches=0, loads=0, stores=0)

    def launch(self, kernel, blocks, threads, shared_bytes, *arguments):
        """Run it, and raise an error where an access or a barrier is wrong."""
        outputs = outputs_of(kernel)
        arguments = [host_array(argument) for argument in arguments]
        words, read_only = [], []
        for name, argument in zip(names_of(kernel), arguments, strict=True):
            if isinstance(argument, np.ndarray) and name not in outputs:
                read_only.append(len(words))
            words += words_of(argument)
        executable = self.executable(kernel, arguments)
        large = sum(word.nbytes for word in words if isinstance(word, np.ndarray)) > LARGE_BYTES
        executable.launch(
            blocks,
            threads,
            *words,
            dyn=shared_bytes,
            check=WITHIN_BLOCKS if large else ALL_CHECKS,
            shuffle=ANY_ORDER,
            seed=self.counts.launches,
            readonly=read_only,
        )
        self.counts.launches += 1
        self.counts.loads += executable.stats["loads"]
        self.counts.stores += executable.stats["stores"]

    def executable(self, kernel, arguments):
        """The kernel, compiled for arguments of these types."""
        from numba import types

        signature = types.void(*map(type_of, arguments))
        if (kernel, signature) not in self.kernels:
            ptx = self.compile(kernel, signature, cc=self.capability, lineinfo=True)
            self.kernels[kernel, signature] = self.build(ptx)
            self.counts.kernels += 1
        return self.kernels[kernel, signature]

    def build(self, ptx):
        """What g++ makes of it, or made of it in another process.

        The executor looks in a folder under the temporary one, and writes there piece by piece.
        """
        own = Path(tempfile.gettempdir()) / "ptxcpu_cache"
        own.mkdir(exist_ok=True)
        link_all(self.built, own)
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            kernel = self.translate(ptx)  # leaves files open
        link_all(own, self.built)
        return kernel


def link_all(source, target):
    """Give the libraries of one folder to another, each at once."""
    for library in source.glob("*.so"):
        with suppress(FileExistsError):
            os.link(library, target / library.name)


def names_of(kernel):
    return list(inspect.signature(kernel.py_func).parameters)


def outputs_of(kernel):
    """The names of the arrays that a kernel may write to: `out`, and what comes after it."""
    names = names_of(kernel)
    if "out" in names:
        return names[names.index("out") :]
    return [name for name in names if name.startswith("out_") or name in FOUND]


def host_array(argument):
    """The memory of any array as a numpy array: nothing is on a device here."""
    if hasattr(argument, "__cuda_array_interface__"):
        interface = argument.__cuda_array_interface__
        if 0 in interface["shape"]:
            return np.empty(interface["shape"], interface["typestr"])
        argument = np.asarray(SimpleNamespace(__array_interface__=interface))
    if isinstance(argument, np.ndarray) and not argument.flags.c_contiguous:
        raise ValueError("kernels take contiguous arrays")
    return argument


def type_of(argument):
    """Numba's type of an argument. A read-only array has that of any other, as on the GPU."""
    import numba

    if isinstance(argument, np.ndarray):
        return numba.types.Array(numba.from_dtype(argument.dtype), argument.ndim, "C")
    return numba.typeof(argument)


def words_of(argument):
    """What an argument is to PTX."""
    if argument is None:
        return [0]
    if isinstance(argument, complex | np.complexfloating):
        part = np.float32 if isinstance(argument, np.complex64) else np.float64
        return [part(argument.real), part(argument.imag)]
    return [argument]


def with_bit_fields(translate, bytes_of):
    """The executor's translation of an instruction, and of `bfi`, which it may not know.

    bfi d, a, b, position, length: d is b, with the lowest bits of a put over some of its own.
    """

    def translated(self, name, modifiers, types, type, operands, *rest):
        if name != "bfi":
            return translate(self, name, modifiers, types, type, operands, *rest)
        bits = 8 * bytes_of[type]
        inserted, other = (self.rd(type, operand) for operand in operands[1:3])
        position, length = (f"((u32){self.raw(operand)} & 255)" for operand in operands[3:5])
        mask = f"(({length} >= {bits} ? ~0ull : (1ull << {length}) - 1) << {position})"
        mask = f"({position} >= {bits} ? 0ull : {mask})"
        field = f"(((u64){inserted} << ({position} & 63)) & {mask})"
        return self.wr(type, operands[0], f"((u64){other} & ~{mask}) | {field}")

    return translated
