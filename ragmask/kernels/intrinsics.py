"""Instructions that Python has no words for, as functions to call in a kernel."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

from ragmask.kernels.compile import SIMULATED


def _reinterpreted(source: Any, target: Any) -> Any:
    """A function that reads the bits of a number as one of another type."""

    def reinterpret(typing_context: Any, number: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(target))

        return target(source), codegen

    return intrinsic(reinterpret)


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


def _wide(count: int, number: Any = None) -> tuple[Any, Any]:
    """(load, store) of `count` numbers at once; they are the array's own, or of another type.

    The address of `array[index]` is to be a multiple of 16, or of what is moved where that is less.
    """

    def address(context: Any, builder: Any, signature: Any, args: Any) -> tuple[Any, int]:
        kind = signature.args[0]
        base = context.make_array(kind)(context, builder, args[0]).data
        at = builder.gep(base, [args[1]])
        element = context.get_data_type(number) if number else at.type.pointee
        align = min(16, count * (number or kind.dtype).bitwidth // 8)
        return builder.bitcast(at, ir.VectorType(element, count).as_pointer()), align

    def load(typing_context: Any, array: Any, index: Any) -> Any:
        """The numbers from `array[index]` on, as a tuple."""
        numbers = types.UniTuple(number or array.dtype, count)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            at, align = address(context, builder, signature, args)
            vector = builder.load(at, align=align)
            each = [builder.extract_element(vector, ir.IntType(32)(i)) for i in range(count)]
            return context.make_tuple(builder, numbers, each)

        return numbers(array, types.intp), codegen

    def store(typing_context: Any, array: Any, index: Any, numbers: Any) -> Any:
        """Put a tuple of numbers at `array[index]`."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            at, align = address(context, builder, signature, args)
            vector = ir.Constant(at.type.pointee, ir.Undefined)
            for i in range(count):
                one = builder.extract_value(args[2], i)
                vector = builder.insert_element(vector, one, ir.IntType(32)(i))
            builder.store(vector, at, align=align)
            return context.get_dummy_value()

        stored = types.UniTuple(number or array.dtype, count)
        return types.void(array, types.intp, stored), codegen

    def view(array: Any, index: Any) -> Any:
        dtype = np.dtype(str(number)) if number else array.dtype
        return array[index : index + count * dtype.itemsize // array.itemsize].view(dtype)

    def load_uncompiled(array: Any, index: Any) -> Any:
        return tuple(view(array, index))

    def store_uncompiled(array: Any, index: Any, numbers: Any) -> None:
        view(array, index)[:] = numbers

    if SIMULATED:
        return load_uncompiled, store_uncompiled
    return intrinsic(load), intrinsic(store)


bits_to_float32: Any = _reinterpreted(types.int32, types.float32)
bits_to_float64: Any = _reinterpreted(types.int64, types.float64)
float64_to_bits: Any = _reinterpreted(types.float64, types.int64)
multiply_add: Any = intrinsic(_multiply_add)
# a hint, which code that runs uncompiled does without
prefetch: Any = (
    (lambda array, index: None) if getattr(config, "DISABLE_JIT", 0) else intrinsic(_prefetch)
)
load_16_bytes, store_16_bytes = _wide(2, types.uint64)
load_4, store_4 = _wide(4)
