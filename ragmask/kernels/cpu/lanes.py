"""What loops over many short lines of numbers need, and Python has no words for."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ragmask.kernels.compile import inline, part

LANES = 16  # whatever the numbers are


def _folded(start: float, fold: Callable[[Any, Any, Any], Any]) -> Any:
    """All numbers of an array of whole lanes in one: each lane's in order, then halves of lanes.

    In registers, as LLVM reorders no sum of its own accord.
    """

    def folded(typing_context: Any, array: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            numbers = context.make_array(array)(context, builder, args[0])
            number = context.get_data_type(array.dtype)
            vector = ir.VectorType(number, LANES)
            lanes = cgutils.alloca_once(builder, vector)
            builder.store(ir.Constant(vector, [start] * LANES), lanes)
            zero, step = (
                ir.Constant(numbers.nitems.type, 0),
                ir.Constant(numbers.nitems.type, LANES),
            )
            with cgutils.for_range_slice(builder, zero, numbers.nitems, step) as (begin, _):
                place = builder.gep(numbers.data, [begin])
                place = builder.bitcast(place, vector.as_pointer())
                some = builder.load(place, align=array.dtype.bitwidth // 8)
                builder.store(fold(builder, builder.load(lanes), some), lanes)
            halves, width = builder.load(lanes), LANES
            while width > 1:
                width //= 2
                parts = (
                    ir.Constant(
                        ir.VectorType(ir.IntType(32), width), [*range(begin, begin + width)]
                    )
                    for begin in (0, width)
                )
                nothing = ir.Constant(halves.type, ir.Undefined)
                one, other = (builder.shuffle_vector(halves, nothing, part) for part in parts)
                halves = fold(builder, one, other)
            return builder.extract_element(halves, ir.Constant(ir.IntType(32), 0))

        return array.dtype(array), codegen

    return intrinsic(folded)


def _add(builder: Any, one: Any, other: Any) -> Any:
    return builder.fadd(one, other)


def _larger(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", other, one), other, one)


sum_of_lanes: Any = _folded(0.0, _add)
largest_of_lanes: Any = _folded(float("-inf"), _larger)  # NaN is passed over


def _borrowed(typing_context: Any, arrays: Any) -> Any:
    """The same arrays, whose owner somebody else keeps: their parts are made without counting.

    To count how often an array is used, for each of its parts, took as long as a short line.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args[0]
        bare = []
        for kind, value in zip(kinds, cgutils.unpack_tuple(builder, args[0]), strict=True):
            array = context.make_array(kind)(context, builder, value)
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            array.parent = cgutils.get_null_value(array.parent.type)
            bare.append(array._getvalue())
        return context.make_tuple(builder, signature.return_type, bare)

    return types.Tuple(list(arrays))(arrays), codegen


borrowed: Any = intrinsic(_borrowed)


@inline
def copy_line(source: Any, target: Any) -> None:
    """As many numbers as the target takes.

    Numba's assignment of a slice to a slice takes longer to begin, and seconds to compile.
    """
    for i in range(target.size):
        target[i] = source[i]


@part
def whole(count: int, of: int) -> int:
    """The next multiple of a number."""
    return (count + of - 1) // of * of


@part
def spaced(count: int) -> int:
    """How far apart lines of so many numbers are to begin: whole lanes, and an odd number of these.

    Those a power of two apart share few places in a cache.
    """
    lanes: int = whole(count, LANES) // LANES | 1
    return lanes * LANES
