"""How kernels are compiled and where the result is kept: the only place with Numba options."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import caching, config
from numba.extending import intrinsic, overload

_SIMULATED = bool(getattr(config, "ENABLE_CUDASIM", 0))


def njit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel on its first call, and keep the machine code on disk between processes.

    Where no folder can be written, the code is kept in memory only.
    """
    # error_model="numpy": under Python's, the check for a zero divisor stops LLVM vectorising.
    # nogil: threads.py runs one kernel on several threads.
    dispatcher: Any = numba.njit(function, nogil=True, error_model="numpy")
    with suppress(RuntimeError):  # Numba's word for "no folder is writable"
        dispatcher._cache = _KernelCache(function)
    compiled: Callable[..., Any] = dispatcher
    return compiled


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a small function into the loops that call it.

    Left to itself, LLVM calls the larger ones, and does not vectorise the loop around a call:
    an LSTM's gates took 10 times as long.
    """
    compiled: Callable[..., Any] = numba.njit(
        function, nogil=True, error_model="numpy", forceinline=True
    )
    return compiled


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
    return cuda.jit(function, **({} if _SIMULATED else options))


def cuda_device(function: Callable[..., Any]) -> Any:
    """Compile a function into the CUDA kernels that call it, a user's own among them."""
    from numba import cuda

    return cuda.jit(function, device=True, **({} if _SIMULATED else {"forceinline": True}))


def by_precision(single: Callable[..., Any], double: Callable[..., Any]) -> Callable[[Any], Any]:
    """One name for two compiled functions of a number: float32's and float64's."""

    def function(x: Any) -> Any:
        return single(x) if isinstance(x, np.float32) else double(x)

    def call_single(x: Any) -> Any:
        return single(x)

    def call_double(x: Any) -> Any:
        return double(x)

    @overload(function)
    def choose(x: Any) -> Any:
        return call_single if x == types.float32 else call_double

    return function


def _bits_to_float32(typing_context: Any, bits: Any) -> Any:
    """The float32 whose bit pattern is an int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.float32))

    return types.float32(types.int32), codegen


def _multiply_add(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a · b + c, rounded once where the processor can.

    LLVM may contract such sums itself, but then not alike in each copy of a function that it
    makes, and the bits would depend on the copy.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = args[0].type
        takes = ir.FunctionType(number, [number] * 3)
        function = builder.module.declare_intrinsic("llvm.fmuladd", [number], takes)
        return builder.call(function, args)

    return c(c, c, c), codegen


def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of `array[index]` ahead of time. Any index is safe."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base = context.make_array(signature.args[0])(context, builder, args[0]).data
        byte, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, int32, int32, int32])
        )
        address = builder.bitcast(builder.gep(base, [args[1]]), byte)
        read, keep_in_all_caches, data = int32(0), int32(3), int32(1)
        builder.call(function, [address, read, keep_in_all_caches, data])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def _load_16_bytes(typing_context: Any, array: Any, index: Any) -> Any:
    """The 16 bytes at `array[index]`, as two numbers. Their address is a multiple of 16."""
    pair = types.UniTuple(types.uint64, 2)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address_of_16_bytes(context, builder, signature, args)
        both = builder.load(address, align=16)
        numbers = [builder.extract_element(both, ir.IntType(32)(place)) for place in (0, 1)]
        return context.make_tuple(builder, pair, numbers)

    return pair(array, types.intp), codegen


def _store_16_bytes(typing_context: Any, array: Any, index: Any, pair: Any) -> Any:
    """Put two numbers at `array[index]`, whose address is a multiple of 16."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address_of_16_bytes(context, builder, signature, args)
        both = ir.Constant(address.type.pointee, ir.Undefined)
        for place in (0, 1):
            number = builder.extract_value(args[2], place)
            both = builder.insert_element(both, number, ir.IntType(32)(place))
        builder.store(both, address, align=16)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.UniTuple(types.uint64, 2)), codegen


def _address_of_16_bytes(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    base = context.make_array(signature.args[0])(context, builder, args[0]).data
    pair = ir.VectorType(ir.IntType(64), 2).as_pointer()
    return builder.bitcast(builder.gep(base, [args[1]]), pair)


def _load_uncompiled(array: Any, index: Any) -> Any:
    return tuple(array[index : index + 16 // array.itemsize].view(np.uint64))


def _store_uncompiled(array: Any, index: Any, pair: Any) -> None:
    array[index : index + 16 // array.itemsize].view(np.uint64)[:] = pair


bits_to_float32: Any = intrinsic(_bits_to_float32)
multiply_add: Any = intrinsic(_multiply_add)
# a hint, which code that runs uncompiled does without
prefetch: Any = (
    (lambda array, index: None) if getattr(config, "DISABLE_JIT", 0) else intrinsic(_prefetch)
)
load_16_bytes: Any = _load_uncompiled if _SIMULATED else intrinsic(_load_16_bytes)
store_16_bytes: Any = _store_uncompiled if _SIMULATED else intrinsic(_store_16_bytes)


def computed_in(x: Any) -> Any:
    """The type in which the numbers of an array are computed: float32 for float16, else its own."""
    return np.float32 if x.dtype == np.float16 else x.dtype.type


def shuffled_in(value: Any) -> Any:
    """The type in which a number is handed from lane to lane: numba-cuda shuffles no uint64."""
    return value.dtype.type


def bytes_of_item(x: Any) -> int:
    """The bytes of an array's item, known when the kernel is compiled."""
    size: int = x.itemsize
    return size


@overload(computed_in)
def _computed_in(x: Any) -> Any:
    name = str(getattr(x, "dtype", x))  # of an array, or of a number
    dtype = np.dtype("float32" if name == "float16" else name).type

    def number_type(x: Any) -> Any:
        return dtype

    return number_type


@overload(shuffled_in)
def _shuffled_in(value: Any) -> Any:
    dtype = np.dtype("int64" if str(value) == "uint64" else str(value)).type

    def number_type(value: Any) -> Any:
        return dtype

    return number_type


@overload(bytes_of_item)
def _bytes_of_item(x: Any) -> Any:
    size = np.dtype(str(x.dtype)).itemsize

    def item_size(x: Any) -> int:
        return size

    return item_size


@cache
def _kernels_stamp() -> str:
    """A hash of every source file of the kernels.

    A kernel's machine code holds the helpers it calls, from other files too. Numba's own key
    sees the kernel's file alone, so it would go on running the old helper after an edit.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _StampOfAllKernels:
    def get_source_stamp(self) -> str:
        return _kernels_stamp()


class _InUserFolder(_StampOfAllKernels, caching.UserProvidedCacheLocator):
    """The folder that NUMBA_CACHE_DIR names."""


class _BesideSource(_StampOfAllKernels, caching.InTreeCacheLocator):
    """`__pycache__`."""


class _InHome(_StampOfAllKernels, caching.UserWideCacheLocator):
    """The user's cache folder, where the package itself is read-only."""


class _KernelCacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = [_InUserFolder, _BesideSource, _InHome]  # noqa: RUF012


class _KernelCache(caching.FunctionCache):
    _impl_class = _KernelCacheImpl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a torn or foreign cache file is a miss, never an error
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(Exception):  # nor is a disk that is full, or an index that cannot be read
            super().save_overload(sig, data)
