"""The matrix product of recurrent layers, in registers: here alone speed is worth odd code.

A tile is a few slots by a few panels of 16 float32 (8 float64) columns. Its sums stay in vector
registers while it walks the depth, which plain loops cannot express: written as those, the
product had two thirds of this rate. With 6 slots by one panel it was measured at 1.1× OpenBLAS's
sgemm.

Each sum runs over the depth in order, span by span, one fused multiply-add at a time, whatever
the tile's shape: how slots are grouped into tiles changes no bit of a result.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from ragmask.kernels.cells import Cell
from ragmask.kernels.compile import inline
from ragmask.kernels.constants import PANEL_BYTES, SPAN, TILE_PANELS, TILE_ROWS
from ragmask.kernels.intrinsics import prefetch


class Product(NamedTuple):
    """What the product reads, and the sums it writes; all arrays are flat.

    x holds a step of each slot, `stride` numbers apart: its input, and its output before. panels
    and first_sums are as packing.py makes them. A slot's sums start from `first_sums[offsets[slot]]`
    on, those of its next step most likely at `next_offsets` (empty where all start at 0). sums is
    (slots, sums of a unit, lanes), for one block of units.
    """

    x: Any
    stride: int
    panels: Any
    first_sums: Any
    offsets: Any
    next_offsets: Any
    sums: Any


def lanes_of(array: Any) -> int:
    """How many of the array's numbers make a panel's width: a constant in compiled code."""
    return PANEL_BYTES // int(array.itemsize)


@overload(lanes_of)
def _lanes_of(array: Any) -> Any:
    lanes = PANEL_BYTES * 8 // array.dtype.bitwidth

    def constant(array: Any) -> Any:
        return lanes

    return constant


def product_of(cell: Cell) -> Callable[..., None]:
    """The product of one block of units, for all slots in flight."""
    gates, parts = cell.gates, cell.parts
    tile = _tiles(TILE_ROWS, gates, cell.sums)

    @inline
    def multiply(product: Any, in_flight: int, features: int, units: int, block: int) -> None:
        lanes = lanes_of(product.x)
        depth = features + units
        for part in range(parts):
            # the part's numbers in a slot's step
            begin = features if part else 0
            end = depth if part == parts - 1 else features
            for gate in range(gates):
                panel = (block * depth + begin) * gates * lanes + gate * (end - begin) * lanes
                column = ((block * parts + part) * gates + gate) * lanes
                for slot in range(0, in_flight, TILE_ROWS):
                    rows = min(TILE_ROWS, in_flight - slot)
                    prefetch_sums(product, slot, rows, column)
                    tile(product, rows, slot, gate, begin, end, panel, column)

    return multiply


@inline
def prefetch_sums(product: Any, first_slot: int, count: int, column: int) -> None:
    """Ask for the numbers from which a few slots' next sums will start.

    A step ahead, and between tiles: asked for block by block, 50,000 rows of 2 KB took 1.15 to
    1.3 times as long.
    """
    if product.next_offsets.size:
        for slot in range(first_slot, first_slot + count):
            prefetch(product.first_sums, product.next_offsets[slot] + column)


def _tiles(most_rows: int, gates: int, sums: int) -> Callable[..., None]:
    """Tiles of 1 to `most_rows` rows, as one function: it takes `rows` slots of one gate.

    A lone row has too few sums in flight to hide the latency of an addition: the smaller tiles
    take several gates, of which the others then are nothing to do.
    """
    if most_rows == 0:
        return inline(lambda product, rows, slot, gate, begin, end, panel, column: None)
    fewer = _tiles(most_rows - 1, gates, sums)
    panels = max(n for n in range(1, gates + 1) if gates % n == 0 and n * most_rows <= TILE_PANELS)
    most = _tile(most_rows, panels, sums)

    @inline
    def tile(
        product: Any,
        rows: int,
        slot: int,
        gate: int,
        begin: int,
        end: int,
        panel: int,
        column: int,
    ) -> None:
        if rows < most_rows:
            fewer(product, rows, slot, gate, begin, end, panel, column)
        elif gate % panels == 0:
            most(product, slot, begin, end, panel, column)

    return tile


def _tile(
    rows: int, panels: int, sums: int, panel_bytes: int = PANEL_BYTES, span: int = SPAN
) -> Callable[..., None]:
    """Sums for `rows` slots by `panels` gates, of cells with `sums` sums a unit.

    sums[slot, gate] = first_sums[offsets[slot] + column] + x[slot, begin:end] @ panel, from `slot`,
    `column` and `panel` on.
    """

    @intrinsic
    def tile(
        typing_context: Any,
        product: Any,
        slot: Any,
        begin: Any,
        end: Any,
        panel: Any,
        column: Any,
    ) -> Any:
        index = types.intp
        signature = types.void(product, index, index, index, index, index)
        number = product[0].dtype
        number_bytes = number.bitwidth // 8
        lanes = panel_bytes // number_bytes

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            product, slot, begin, end, panel, column = args
            field = {
                name: context.make_array(type_)(context, builder, value).data
                if isinstance(type_, types.Array)
                else value
                for name, type_, value in zip(
                    Product._fields,
                    signature.args[0],
                    cgutils.unpack_tuple(builder, product),
                    strict=True,
                )
            }
            vector = ir.VectorType(context.get_data_type(number), lanes)
            multiply_add = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector] * 3),
                f"llvm.fmuladd.v{lanes}f{number.bitwidth}",
            )

            def const(value: int) -> Any:
                return ir.Constant(slot.type, value)

            def vector_at(base: Any, index: Any) -> Any:
                return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

            def spread(scalar: Any) -> Any:
                nothing = ir.Constant(vector, ir.Undefined)
                lane_0 = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
                zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
                return builder.shuffle_vector(lane_0, nothing, zeros)

            tile = [(row, panel) for row in range(rows) for panel in range(panels)]
            slots = [builder.add(slot, const(row)) for row in range(rows)]
            gate = builder.urem(column, const(sums * lanes))
            totals = {}
            for row, number_of_panel in tile:
                slot_sums = builder.add(builder.mul(slots[row], const(sums * lanes)), gate)
                at = builder.add(slot_sums, const(number_of_panel * lanes))
                totals[row, number_of_panel] = vector_at(field["sums"], at)

            offsets = [builder.load(builder.gep(field["offsets"], [slot])) for slot in slots]
            for row, number_of_panel in tile:
                at = builder.add(column, const(number_of_panel * lanes))
                first = vector_at(field["first_sums"], builder.add(offsets[row], at))
                total = builder.load(first, align=number_bytes)
                builder.store(total, totals[row, number_of_panel], align=number_bytes)

            partial = {cell: cgutils.alloca_once(builder, vector) for cell in tile}
            x_rows = [
                builder.gep(field["x"], [builder.mul(slot, field["stride"])]) for slot in slots
            ]
            panel_size = builder.mul(builder.sub(end, begin), const(lanes))
            w_panels = [
                builder.gep(
                    field["panels"],
                    [builder.add(panel, builder.mul(panel_size, const(number_of_panel)))],
                )
                for number_of_panel in range(panels)
            ]
            depth = builder.sub(end, begin)
            count = builder.sdiv(builder.add(depth, const(span - 1)), const(span))
            with cgutils.for_range(builder, count) as spans:
                first_k = builder.mul(spans.index, const(span))
                last_k = builder.add(first_k, const(span))
                is_whole = builder.icmp_signed("<", last_k, depth)
                last_k = builder.select(is_whole, last_k, depth)
                for cell in tile:
                    builder.store(ir.Constant(vector, [0.0] * lanes), partial[cell])
                with cgutils.for_range(builder, last_k, first_k) as loop:
                    k = loop.index
                    w_at = builder.mul(k, const(lanes))
                    w = [
                        builder.load(vector_at(base, w_at), align=number_bytes) for base in w_panels
                    ]
                    x_at = builder.add(begin, k)
                    factors = [spread(builder.load(builder.gep(base, [x_at]))) for base in x_rows]
                    for row, number_of_panel in tile:
                        before = builder.load(partial[row, number_of_panel])
                        terms = [factors[row], w[number_of_panel], before]
                        after = builder.call(multiply_add, terms)
                        builder.store(after, partial[row, number_of_panel])
                for cell in tile:
                    total = builder.load(totals[cell], align=number_bytes)
                    total = builder.fadd(total, builder.load(partial[cell]))
                    builder.store(total, totals[cell], align=number_bytes)
            return context.get_dummy_value()

        return signature, codegen

    return tile
