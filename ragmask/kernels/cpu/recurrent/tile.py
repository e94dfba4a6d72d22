"""The matrix product of recurrent layers, in registers: here alone speed is worth odd code.

How many panels, those of different gates, a tile takes is chosen when a kernel is compiled, from
the registers that the processor has.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ragmask.kernels.cells import Cell
from ragmask.kernels.compile import inline
from ragmask.kernels.constants import PANEL_BYTES, TILE_ROWS
from ragmask.kernels.cpu.tile import Family, Place, TileCode, family_of, lanes_of
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


class _TileCode(TileCode):
    """Writes the instructions of one tile of a cell's gates."""

    def __init__(
        self,
        builder: Any,
        cell: Cell,
        shape: Shape,
        number: Any,
        number_bytes: int,
        transposed: bool = False,
    ) -> None:
        super().__init__(builder, *shape, number, number_bytes)
        self.cell, self.shape, self.transposed = cell, shape, transposed

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
        for place in self.tile:
            builder.store(self.load(starts[place]), totals[place])
        y_step = self.const(self.lanes)
        self.add_products(totals, x, step_stride, w, y_step, at["begin"], at["end"])
        for place in self.tile:
            self.store(builder.load(totals[place]), ends[place])

    def pointers(
        self, arrays: dict[str, Any], at: dict[str, Any], slots: list[Any], gates: list[Any]
    ) -> tuple[dict[Place, Any], dict[Place, Any]]:
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
