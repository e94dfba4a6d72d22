"""The matrix product of recurrent layers, in registers: here alone speed is worth odd code.

A tile is a few slots by a few panels of 16 float32 (8 float64) columns. Its sums stay in vector
registers while it walks the depth, which plain loops cannot express: written as those, the
product had two thirds of this rate. With 6 slots by one panel it was measured at 1.1× OpenBLAS's
sgemm.

Each sum runs over the depth in order, span by span, one fused multiply-add at a time, whatever
the tile's shape: how slots are grouped into tiles changes no bit of a result.
"""

from collections.abc import Callable
from functools import reduce
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
    and first_sums are as packing.py makes them. A slot's sums start from `first_sums` at its
    offset, those of its next step most likely at its next (empty where all are 0). sums is (slots,
    sums of a unit, lanes), for one block of units.
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
    tile = _tile_of(shapes_of(gates), cell.sums)

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


class Shape(NamedTuple):
    """Of a tile: slots by gates, which are panels of so many bytes, and its sums' spans."""

    rows: int
    panels: int
    panel_bytes: int = PANEL_BYTES
    span: int = SPAN


def shapes_of(gates: int) -> list[Shape]:
    """The tile for each number of slots, up to the most.

    A lone row has too few sums in flight to hide the latency of an addition: it takes several
    panels.
    """
    divisors = [panels for panels in range(1, gates + 1) if gates % panels == 0]
    return [
        Shape(rows, max(panels for panels in divisors if rows * panels <= TILE_PANELS))
        for rows in range(1, TILE_ROWS + 1)
    ]


def _tile_of(shapes: list[Shape], sums: int) -> Callable[..., None]:
    """A tile for a number of slots, of cells with `sums` sums a unit.

    sums[slot, gate] = first_sums[offsets[slot] + column] + x[slot, begin:end] @ panel, for the
    `rows` slots and the gates of its shape. For other gates than its first it does nothing.
    """

    @intrinsic
    def tile(
        typing_context: Any,
        product: Any,
        rows: Any,
        slot: Any,
        gate: Any,
        begin: Any,
        end: Any,
        panel: Any,
        column: Any,
    ) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            types_ = signature.args[0]
            fields = {
                name: context.make_array(type_)(context, builder, value).data
                if isinstance(type_, types.Array)
                else value
                for name, type_, value in zip(
                    types_.fields, types_, cgutils.unpack_tuple(builder, args[0]), strict=True
                )
            }
            names = "rows", "slot", "gate", "begin", "end", "panel", "column"
            at = dict(zip(names, args[1:], strict=True))
            number = context.get_data_type(types_[0].dtype)
            for shape in shapes:
                code = _TileCode(builder, shape, number, types_[0].dtype.bitwidth // 8)
                is_shape = builder.icmp_signed("==", at["rows"], code.const(shape.rows))
                column_in_tile = builder.urem(at["gate"], code.const(shape.panels))
                begins = builder.icmp_signed("==", column_in_tile, code.const(0))
                with builder.if_then(builder.and_(is_shape, begins)):
                    code.emit(fields, at, sums)
            return context.get_dummy_value()

        return types.void(product, *[types.intp] * 7), codegen

    tile_: Callable[..., None] = tile
    return tile_


class _TileCode:
    """Writes the instructions of one tile."""

    def __init__(self, builder: Any, shape: Shape, number: Any, number_bytes: int) -> None:
        self.builder, self.shape, self.bytes = builder, shape, number_bytes
        self.lanes = shape.panel_bytes // number_bytes
        self.vector = ir.VectorType(number, self.lanes)
        self.cells = [(row, panel) for row in range(shape.rows) for panel in range(shape.panels)]

    def const(self, value: int) -> Any:
        return ir.Constant(ir.IntType(64), value)

    def sum_of(self, *terms: Any) -> Any:
        return reduce(self.builder.add, terms)

    def times(self, a: Any, b: Any) -> Any:
        return self.builder.mul(a, b if isinstance(b, ir.Value) else self.const(b))

    def pointer(self, base: Any, index: Any) -> Any:
        """To the vector that begins at `base[index]`."""
        return self.builder.bitcast(self.builder.gep(base, [index]), self.vector.as_pointer())

    def load(self, pointer: Any) -> Any:
        return self.builder.load(pointer, align=self.bytes)

    def store(self, value: Any, pointer: Any) -> None:
        self.builder.store(value, pointer, align=self.bytes)

    def spread(self, scalar: Any) -> Any:
        """A vector of one number."""
        nothing = ir.Constant(self.vector, ir.Undefined)
        lane_0 = self.builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(lane_0, nothing, zeros)

    def multiply_add(self, *terms: Any) -> Any:
        name = f"llvm.fmuladd.v{self.lanes}f{self.bytes * 8}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, terms)

    def emit(self, arrays: dict[str, Any], at: dict[str, Any], sums: int) -> None:
        builder, rows, panels = self.builder, range(self.shape.rows), range(self.shape.panels)
        slots = [builder.add(at["slot"], self.const(row)) for row in rows]
        offsets = [builder.load(builder.gep(arrays["offsets"], [slot])) for slot in slots]
        gate = builder.urem(at["column"], self.const(sums * self.lanes))
        totals = {}  # where they lie; and in registers, the sums of a span
        partial = {cell: cgutils.alloca_once(builder, self.vector) for cell in self.cells}
        for row, panel in self.cells:
            lane = self.const(panel * self.lanes)
            slot_sums = self.times(slots[row], sums * self.lanes)
            total = self.pointer(arrays["sums"], self.sum_of(slot_sums, gate, lane))
            first = self.sum_of(offsets[row], at["column"], lane)
            self.store(self.load(self.pointer(arrays["first_sums"], first)), total)
            totals[row, panel] = total

        depth = builder.sub(at["end"], at["begin"])
        panel_size = self.times(depth, self.lanes)
        x = [
            builder.gep(arrays["x"], [self.sum_of(self.times(slot, arrays["stride"]), at["begin"])])
            for slot in slots
        ]
        w = [
            builder.gep(arrays["panels"], [self.sum_of(at["panel"], self.times(panel_size, panel))])
            for panel in panels
        ]
        span = self.const(self.shape.span)
        rounded_up = builder.add(depth, self.const(self.shape.span - 1))
        with cgutils.for_range(builder, builder.sdiv(rounded_up, span)) as spans:
            begin = builder.mul(spans.index, span)
            end = builder.add(begin, span)
            end = builder.select(builder.icmp_signed("<", end, depth), end, depth)
            for cell in self.cells:
                builder.store(ir.Constant(self.vector, [0.0] * self.lanes), partial[cell])
            with cgutils.for_range(builder, end, begin) as loop:
                lane = self.times(loop.index, self.lanes)
                weights = [self.load(self.pointer(base, lane)) for base in w]
                factors = [self.spread(builder.load(builder.gep(base, [loop.index]))) for base in x]
                for row, panel in self.cells:
                    before = builder.load(partial[row, panel])
                    after = self.multiply_add(factors[row], weights[panel], before)
                    builder.store(after, partial[row, panel])
            for cell in self.cells:
                total = builder.fadd(self.load(totals[cell]), builder.load(partial[cell]))
                self.store(total, totals[cell])
