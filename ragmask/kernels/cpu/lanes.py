"""Sums and largest numbers, lane by lane, in registers: LLVM reorders no sum of its own accord."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # whatever the numbers are


def _folded(start: float, fold: Callable[[Any, Any, Any], Any]) -> Any:
    """All numbers of an array of whole lanes in one: each lane's in order, and then the lanes."""

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
            each = [
                builder.extract_element(builder.load(lanes), ir.Constant(ir.IntType(32), lane))
                for lane in range(LANES)
            ]
            total = each[0]
            for one in each[1:]:
                total = fold(builder, total, one)
            return total

        return array.dtype(array), codegen

    return intrinsic(folded)


def _add(builder: Any, one: Any, other: Any) -> Any:
    return builder.fadd(one, other)


def _larger(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", other, one), other, one)


sum_of_lanes: Any = _folded(0.0, _add)
largest_of_lanes: Any = _folded(float("-inf"), _larger)  # NaN is passed over
