"""The matrix product of recurrent layers, in registers: here alone speed is worth odd code.

A tile is a few slots by a few panels of 16 float32 (8 float64) columns. Its sums stay in vector
registers while it walks the depth, which plain loops cannot express: written as those, the
product had two thirds of this rate. How many panels a tile takes is chosen when a kernel is
compiled, from the registers that the processor has.

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
from ragmask.kernels.constants import PANEL_BYTES, SPAN, TILE_ROWS
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
    gates, sums, apart, parts = cell.gates, cell.sums, cell.apart, cell.biases
    tile = tile_of(cell)

    @inline
    def multiply(product: Any, in_flight: int, features: int, units: int, block: int) -> None:
        lanes = lanes_of(product.x)
        depth = features + units
        for part in range(parts):  # over the inputs, then the outputs before; or over both
            begin = features if part else 0
            end = depth if part == parts - 1 else features
            for gate in range(gates):
                which = gate + (apart if part and gate >= gates - apart else 0)
                column = (block * sums + which) * lanes
                for slot in range(0, in_flight, TILE_ROWS):
                    rows = min(TILE_ROWS, in_flight - slot)
                    prefetch_sums(product, slot, rows, column)
                    tile(product, rows, slot, gate, part, begin, end, depth, block)

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


class Family(NamedTuple):
    """What a tile has to know of a kind of processors."""

    name: str
    registers: int  # of vectors
    register_bytes: int
    in_flight: int  # additions that hide each other's latency: their number a cycle, times that


SSE = Family("SSE", 16, 16, 8)
AVX2 = Family("AVX2", 16, 32, 8)
AVX512 = Family("AVX-512", 32, 64, 8)
ZEN4 = Family("AVX-512 in halves", 32, 64, 4)  # a 512-bit addition a cycle
NEON = Family("NEON", 32, 16, 16)


def family_of(triple: str, cpu: str, features: str) -> Family:
    """That of a processor, from LLVM's words for it."""
    if triple.startswith(("aarch64", "arm64")):
        return NEON
    known = features.split(",")
    if "+avx512f" in known:
        return ZEN4 if cpu == "znver4" else AVX512
    return AVX2 if "+avx2" in known else SSE


class Shape(NamedTuple):
    """Of a tile: slots by panels, one of each of as many gates."""

    rows: int
    panels: int


def shapes_of(gates: int, family: Family) -> list[Shape]:
    """The tile for each number of slots, up to the most.

    As few panels as keep enough sums in flight, for few stay in the cache from tile to tile; and
    never more than there are registers for, beside the weights or the slots' numbers.
    """
    vectors = PANEL_BYTES // family.register_bytes

    def shape(rows: int) -> Shape:
        fitting = [
            panels
            for panels in range(1, gates + 1)
            if gates % panels == 0
            and rows * panels * vectors + min(rows, panels * vectors) < family.registers
        ]
        enough = [panels for panels in fitting if rows * panels * vectors >= family.in_flight]
        return Shape(rows, min(enough, default=max(fitting, default=1)))

    return [shape(rows) for rows in range(1, TILE_ROWS + 1)]


def tile_of(cell: Cell, transposed: bool = False) -> Callable[..., None]:
    """A tile for a number of slots.

    For the `rows` slots and the gates of its shape, adds x[slot, begin:end] @ panel to each sum,
    or to first_sums[offsets[slot]] where the sum begins here. For other gates than a shape's first
    it does nothing. Transposed, it is x[begin:end, slot], of rows `stride` numbers apart.
    """

    @intrinsic
    def tile(
        typing_context: Any,
        product: Any,
        rows: Any,
        slot: Any,
        gate: Any,
        part: Any,
        begin: Any,
        end: Any,
        depth: Any,
        block: Any,
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
            names = "rows", "slot", "gate", "part", "begin", "end", "depth", "block"
            at = dict(zip(names, args[1:], strict=True))
            number = context.get_data_type(types_[0].dtype)
            family = family_of(*context.codegen().magic_tuple())
            for shape in shapes_of(cell.gates, family):
                number_bytes = types_[0].dtype.bitwidth // 8
                code = _TileCode(builder, cell, shape, number, number_bytes, transposed)
                is_shape = builder.icmp_signed("==", at["rows"], code.const(shape.rows))
                panel = builder.urem(at["gate"], code.const(shape.panels))
                begins = builder.icmp_signed("==", panel, code.const(0))
                with builder.if_then(builder.and_(is_shape, begins)):
                    code.emit(fields, at)
            return context.get_dummy_value()

        return types.void(product, *[types.intp] * 8), codegen

    tile_: Callable[..., None] = tile
    return tile_


class _TileCode:
    """Writes the instructions of one tile."""

    def __init__(
        self,
        builder: Any,
        cell: Cell,
        shape: Shape,
        number: Any,
        number_bytes: int,
        transposed: bool = False,
    ) -> None:
        self.builder, self.cell, self.shape, self.bytes = builder, cell, shape, number_bytes
        self.transposed = transposed
        self.lanes = PANEL_BYTES // number_bytes
        self.vector = ir.VectorType(number, self.lanes)
        self.tile = [(row, panel) for row in range(shape.rows) for panel in range(shape.panels)]

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

    def emit(self, arrays: dict[str, Any], at: dict[str, Any]) -> None:
        builder, rows, panels = self.builder, range(self.shape.rows), range(self.shape.panels)
        slots = [builder.add(at["slot"], self.const(row)) for row in rows]
        gates = [builder.add(at["gate"], self.const(panel)) for panel in panels]
        x_stride, step_stride = arrays["stride"], self.const(1)
        if self.transposed:
            x_stride, step_stride = step_stride, x_stride
        x = [builder.gep(arrays["x"], [self.times(slot, x_stride)]) for slot in slots]
        first_panel = self.times(at["block"], self.cell.gates)
        w = []
        for gate in gates:
            panel = self.times(builder.add(first_panel, gate), at["depth"])
            w.append(builder.gep(arrays["panels"], [self.times(panel, self.lanes)]))
        starts, ends = self.pointers(arrays, at, slots, gates)
        totals = {place: cgutils.alloca_once(builder, self.vector) for place in self.tile}
        partial = {place: cgutils.alloca_once(builder, self.vector) for place in self.tile}
        for place in self.tile:
            builder.store(self.load(starts[place]), totals[place])

        def add_span(begin: Any, count: Any) -> None:
            for place in self.tile:
                builder.store(ir.Constant(self.vector, [0.0] * self.lanes), partial[place])
            with cgutils.for_range(builder, count) as loop:
                index = builder.add(begin, loop.index)
                lane = self.times(index, self.lanes)
                weights = [self.load(self.pointer(base, lane)) for base in w]
                step = self.times(index, step_stride)
                factors = [self.spread(builder.load(builder.gep(base, [step]))) for base in x]
                for row, panel in self.tile:
                    before = builder.load(partial[row, panel])
                    after = self.multiply_add(factors[row], weights[panel], before)
                    builder.store(after, partial[row, panel])
            for place in self.tile:
                total = builder.fadd(builder.load(totals[place]), builder.load(partial[place]))
                builder.store(total, totals[place])

        span = self.const(SPAN)  # a constant, so that LLVM unrolls the walk over it
        rest = builder.srem(builder.sub(at["end"], at["begin"]), span)
        last = builder.sub(at["end"], rest)
        with cgutils.for_range_slice(builder, at["begin"], last, span) as (begin, _):
            add_span(begin, span)
        with builder.if_then(builder.icmp_signed(">", rest, self.const(0))):
            add_span(last, rest)
        for place in self.tile:
            self.store(builder.load(totals[place]), ends[place])

    def pointers(
        self, arrays: dict[str, Any], at: dict[str, Any], slots: list[Any], gates: list[Any]
    ) -> tuple[dict[tuple[int, int], Any], dict[tuple[int, int], Any]]:
        """Where the tile's sums come from, and where they go: of gates apart, to others."""
        builder, cell = self.builder, self.cell
        in_second = builder.icmp_signed("!=", at["part"], self.const(0))
        offsets = [builder.load(builder.gep(arrays["offsets"], [slot])) for slot in slots]
        starts, ends = {}, {}
        for panel, gate in enumerate(gates):
            is_apart = builder.icmp_signed(">=", gate, self.const(cell.gates - cell.apart))
            is_other = builder.and_(is_apart, in_second)
            shift = builder.select(is_other, self.const(cell.apart), self.const(0))
            which = builder.add(gate, shift)
            of_block = builder.add(self.times(at["block"], cell.sums), which)
            goes_on = builder.and_(in_second, builder.not_(is_apart))
            for row, slot in enumerate(slots):
                of_slot = builder.add(self.times(slot, cell.sums), which)
                end = self.pointer(arrays["sums"], self.times(of_slot, self.lanes))
                column = builder.add(offsets[row], self.times(of_block, self.lanes))
                first = self.pointer(arrays["first_sums"], column)
                starts[row, panel] = builder.select(goes_on, end, first)
                ends[row, panel] = end
        return starts, ends
