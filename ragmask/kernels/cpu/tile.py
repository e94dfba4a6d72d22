"""A matrix product in registers, for lstm.py: the one place where speed is worth odd code.

A tile is a few rows by a few panels of 16 float32 (8 float64) columns. Its sums stay in vector
registers while it walks the depth, which plain loops cannot express: written as those, the
product had two thirds of this rate. With 6 rows by one panel it was measured at 1.1× OpenBLAS's
sgemm.

Each sum runs over the depth in order, span by span, one fused multiply-add at a time, whatever
the tile's shape: how rows are grouped into tiles changes no bit of a result.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

_VECTOR_BYTES = 64

# Sums over so many numbers are added up: with one sum over the whole depth, the outputs of
# float32 had 1.8 times the error.
_SPAN = 16


def lanes_of(array: Any) -> int:
    """How many of the array's numbers make a panel's width: a constant in compiled code."""
    return _VECTOR_BYTES // int(array.itemsize)


@overload(lanes_of)
def _lanes_of(array: Any) -> Any:
    lanes = _VECTOR_BYTES * 8 // array.dtype.bitwidth

    def constant(array: Any) -> Any:
        return lanes

    return constant


def _tile(rows: int, panels: int) -> Callable[..., None]:
    """Sums for `rows` slots by `panels` gates.

    out[slot, gate] = start[first[slot] + column] + x[slot] @ weights[column], from `slot` and
    `column` on, where x is (slots, stride), of which `depth` numbers count; weights are panels of
    (depth, lanes), one after another; start holds `lanes` numbers a panel; out is (slots, 4,
    lanes). All are flat.
    """

    @intrinsic
    def tile(
        typing_context: Any,
        x: Any,
        stride: Any,
        weights: Any,
        depth: Any,
        start: Any,
        first: Any,
        out: Any,
        slot: Any,
        column: Any,
    ) -> Any:
        index = types.intp
        signature = types.void(x, index, weights, index, start, first, out, index, index)
        number = x.dtype
        bytes_ = number.bitwidth // 8
        lanes = _VECTOR_BYTES // bytes_

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, stride, weights, depth, start, first, out, slot, column = (
                context.make_array(type_)(context, builder, arg).data
                if isinstance(type_, types.Array)
                else arg
                for type_, arg in zip(signature.args, args, strict=True)
            )
            vector = ir.VectorType(context.get_data_type(number), lanes)
            multiply_add = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector] * 3),
                f"llvm.fmuladd.v{lanes}f{number.bitwidth}",
            )

            def const(value: int) -> Any:
                return ir.Constant(depth.type, value)

            def vector_at(base: Any, index: Any) -> Any:
                return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

            def spread(scalar: Any) -> Any:
                nothing = ir.Constant(vector, ir.Undefined)
                one = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
                lane_0 = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
                return builder.shuffle_vector(one, nothing, lane_0)

            columns = [builder.add(column, const(panel * lanes)) for panel in range(panels)]
            slots = [builder.add(slot, const(row)) for row in range(rows)]
            tile = [(row, panel) for row in range(rows) for panel in range(panels)]

            gate = builder.urem(column, const(4 * lanes))

            def total_at(row: int, panel: int) -> Any:
                place = builder.mul(slots[row], const(4 * lanes))
                return vector_at(out, builder.add(builder.add(place, gate), const(panel * lanes)))

            sums = {cell: cgutils.alloca_once(builder, vector) for cell in tile}
            begins = [builder.load(builder.gep(first, [slot])) for slot in slots]
            for row, panel in tile:
                begin = builder.add(begins[row], columns[panel])
                total = builder.load(vector_at(start, begin), align=bytes_)
                builder.store(total, total_at(row, panel), align=bytes_)

            x_rows = [builder.gep(x, [builder.mul(slot, stride)]) for slot in slots]
            w_panels = [builder.gep(weights, [builder.mul(column, depth)]) for column in columns]
            rounded_up = builder.add(depth, const(_SPAN - 1))
            with cgutils.for_range(builder, builder.sdiv(rounded_up, const(_SPAN))) as spans:
                begin = builder.mul(spans.index, const(_SPAN))
                end = builder.add(begin, const(_SPAN))
                end = builder.select(builder.icmp_signed("<", end, depth), end, depth)
                for cell in tile:
                    builder.store(ir.Constant(vector, [0.0] * lanes), sums[cell])
                with cgutils.for_range(builder, end, begin) as loop:
                    k = loop.index
                    at = builder.mul(k, const(lanes))
                    w = [builder.load(vector_at(panel, at), align=bytes_) for panel in w_panels]
                    factors = [spread(builder.load(builder.gep(x_row, [k]))) for x_row in x_rows]
                    for row, panel in tile:
                        before = builder.load(sums[row, panel])
                        after = builder.call(multiply_add, [factors[row], w[panel], before])
                        builder.store(after, sums[row, panel])
                for row, panel in tile:
                    total = builder.load(total_at(row, panel), align=bytes_)
                    total = builder.fadd(total, builder.load(sums[row, panel]))
                    builder.store(total, total_at(row, panel), align=bytes_)
            return context.get_dummy_value()

        return signature, codegen

    return tile


# A lone row has too few sums in flight to hide the latency of an addition: take several panels.
tile_1x4 = _tile(1, 4)
tile_2x2 = _tile(2, 2)
tile_3x2 = _tile(3, 2)
tile_4x1 = _tile(4, 1)
tile_5x1 = _tile(5, 1)
tile_6x1 = _tile(6, 1)
