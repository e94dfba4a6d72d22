"""How kernels are compiled: the only place with Numba's options."""

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

import numba
from numba import types
from numba.core import config
from numba.core.registry import CPUDispatcher

from ragmask.kernels.cache import KernelCache

SIMULATED = bool(getattr(config, "ENABLE_CUDASIM", 0))


def njit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel on its first call, and keep the machine code on disk between processes."""
    return _kept(numba.njit(function, **_OPTIONS), function)


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same of a function that kernels alone call."""
    return _inner(_kept(numba.njit(function, **_OPTIONS, **_INNER), function))


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a small function into the loops that call it.

    Left to itself, LLVM calls the larger ones, and does not vectorise the loop around a call:
    an LSTM's gates took 10 times as long.
    """
    return _inner(numba.njit(function, **_OPTIONS, **_INNER, forceinline=True))


# error_model="numpy": under Python's, the check for a zero divisor stops LLVM vectorising.
# nogil: threads.py runs one kernel on several threads.
_OPTIONS: Any = {"nogil": True, "error_model": "numpy"}
# Without what a call from Python takes, kernels compile sooner.
_INNER: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class _Inner(CPUDispatcher):
    """Called by compiled code; where Python calls it after all, it is compiled anew for that."""

    def __call__(self, *arguments: Any) -> Any:
        return self._for_python(*arguments)

    @cached_property
    def _for_python(self) -> Any:
        return numba.njit(self.py_func, **_OPTIONS)


def _inner(compiled: Any) -> Callable[..., Any]:
    if isinstance(compiled, CPUDispatcher):  # and not the function, where there is no JIT
        compiled.__class__ = _Inner
    inner: Callable[..., Any] = compiled
    return inner


def _kept(compiled: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Where no folder can be written, the code is kept in memory only."""
    with suppress(RuntimeError):  # Numba's word for "no folder is writable"
        compiled._cache = KernelCache(function)
    kept: Callable[..., Any] = compiled
    return kept


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
