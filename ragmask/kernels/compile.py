"""How kernels are compiled: the only place with Numba's options."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
from numba import types
from numba.core import config
from numba.core.registry import CPUDispatcher

from ragmask.kernels.cache import KernelCache

SIMULATED = bool(getattr(config, "ENABLE_CUDASIM", 0))


def njit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel on its first call, and keep the machine code on disk between processes.

    Where no folder can be written, the code is kept in memory only.
    """
    # error_model="numpy": under Python's, the check for a zero divisor stops LLVM vectorising.
    # nogil: threads.py runs one kernel on several threads.
    dispatcher: Any = numba.njit(function, nogil=True, error_model="numpy")
    with suppress(RuntimeError):  # Numba's word for "no folder is writable"
        dispatcher._cache = KernelCache(function)
    compiled: Callable[..., Any] = dispatcher
    return compiled


class _Inlined(CPUDispatcher):
    """Python, which never calls them in earnest, runs the function as it is written.

    To compile what a call from Python takes was a third of the time that kernels took to compile.
    """

    def __call__(self, *arguments: Any) -> Any:
        return self.py_func(*arguments)


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a small function into the loops that call it.

    Left to itself, LLVM calls the larger ones, and does not vectorise the loop around a call:
    an LSTM's gates took 10 times as long.
    """
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compile_: Any = numba.njit
    compiled = compile_(function, nogil=True, error_model="numpy", forceinline=True, **options)
    if isinstance(compiled, CPUDispatcher):  # and not the function, where there is no JIT
        compiled.__class__ = _Inlined
    inlined: Callable[..., Any] = compiled
    return inlined


class _NothingForNone:
    """Lets a kernel on the GPU be launched with None, which is a pointer to nothing to it."""

    def prepare_args(self, kind: Any, value: Any, **_: Any) -> Any:
        return (types.CPointer(types.uint8), 0) if value is None else (kind, value)


def cuda_kernel(function: Callable[..., Any], most_threads: int | None = None) -> Any:
    """Compile a kernel for the GPU on its first launch: `kernel[blocks, threads, stream](...)`.

    most_threads is the size of its blocks, where that many threads need not have all registers.
    """
    from numba import cuda

    options = {"extensions": [_NothingForNone()], "launch_bounds": most_threads}
    return cuda.jit(function, **({} if SIMULATED else options))


def cuda_device(function: Callable[..., Any]) -> Any:
    """Compile a function into the CUDA kernels that call it, a user's own among them."""
    from numba import cuda

    return cuda.jit(function, device=True, **({} if SIMULATED else {"forceinline": True}))
