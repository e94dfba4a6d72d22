"""A plugin of pytest, under which kernels are executed on the CPU, as the PTX they are compiled to.

run_ptx.py starts pytest with it. ptx/launch.py says what is checked of each access and barrier.
"""

import inspect
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import Phase, settings

MANY_EXAMPLES = 60
FOUND = ("facts", "first", "holes")  # where kernels that look at rows say what they found
STATES = ("h", "c")  # which a recurrence writes, beside its outputs


def pytest_addoption(parser):
    group = parser.getgroup("kernels as executed PTX")
    group.addoption("--capability", default="9.0", help="the compute capability to compile for")
    group.addoption("--examples", type=int, help="how many, always the same; else more, at random")
    group.addoption("--counts", help="a file for how much was executed")
    group.addoption("--built", help="a folder of compiled kernels, for several processes")


def pytest_configure(config):
    from numba.cuda.dispatcher import CUDADispatcher

    from tests.cuda import running

    option = config.option
    capability = tuple(map(int, option.capability.split(".")))
    executor = Executor(capability, Path(option.built))
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

    def __init__(self, capability, built):
        from tests.cuda.ptx.launch import Builder

        self.capability, self.builder = capability, Builder(built)
        self.kernels = {}
        self.counts = SimpleNamespace(kernels=0, launches=0, loads=0, stores=0)

    def launch(self, kernel, blocks, threads, shared_bytes, *arguments):
        """Run it, and raise an error where an access or a barrier is wrong."""
        from tests.cuda.ptx.launch import Leaf

        arguments = [host_array(argument) for argument in arguments]
        named = [*leaves_of(names_of(kernel), arguments)]
        written = outputs_among([name for name, _ in named])
        leaves = [Leaf(value, name in written) for name, value in named]
        executable = self.executable(kernel, arguments)
        seed = self.counts.launches
        loads, stores = executable.launch(blocks, threads, leaves, shared_bytes, seed)
        self.counts.launches += 1
        self.counts.loads += loads
        self.counts.stores += stores

    def executable(self, kernel, arguments):
        """The kernel, compiled for arguments of these types."""
        from numba import types

        from tests.cuda.compile_ptx import compile_ptx

        signature = types.void(*map(type_of, arguments))
        if (kernel, signature) not in self.kernels:
            ptx = compile_ptx(kernel, signature, self.capability, lineinfo=True)
            self.kernels[kernel, signature] = self.builder.build(ptx)
            self.counts.kernels += 1
        return self.kernels[kernel, signature]


def names_of(kernel):
    return list(inspect.signature(kernel.py_func).parameters)


def leaves_of(names, arguments):
    """(name, value) of each argument; of a tuple, those of its fields."""
    for name, argument in zip(names, arguments, strict=True):
        if isinstance(argument, tuple):
            fields = getattr(argument, "_fields", [name] * len(argument))
            yield from leaves_of(fields, argument)
        else:
            yield name, argument


def outputs_among(names):
    """The names of what a kernel may write to: `out`, what comes after it, and states.

    A kernel with several gradients takes what it is the gradient of as `out`.
    """
    if gradients := {name for name in names if name.endswith("_gradient")}:
        return gradients
    if "out" in names:
        return {*names[names.index("out") :], *STATES}
    return {name for name in names if name.startswith("out_") or name in FOUND}


def host_array(argument):
    """The memory of any array as a numpy array: nothing is on a device here."""
    if isinstance(argument, tuple):
        return with_items(argument, [host_array(item) for item in argument])
    if hasattr(argument, "__cuda_array_interface__"):
        interface = argument.__cuda_array_interface__
        if 0 in interface["shape"]:
            return np.empty(interface["shape"], interface["typestr"])
        argument = np.asarray(SimpleNamespace(__array_interface__=interface))
    if isinstance(argument, np.ndarray) and not argument.flags.c_contiguous:
        raise ValueError("kernels take contiguous arrays")
    return argument


def with_items(like, items):
    """A tuple of the same class."""
    return like._make(items) if hasattr(like, "_make") else tuple(items)


def type_of(argument):
    """Numba's type of an argument. A read-only array has that of any other, as on the GPU."""
    import numba

    if isinstance(argument, tuple):
        named = type(argument) if hasattr(argument, "_fields") else None
        return numba.types.BaseTuple.from_types([*map(type_of, argument)], named)
    if isinstance(argument, np.ndarray):
        return numba.types.Array(numba.from_dtype(argument.dtype), argument.ndim, "C")
    return numba.typeof(argument)
