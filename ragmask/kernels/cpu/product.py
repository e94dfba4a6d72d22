"""Products of matrices whose rows each need a part of the depth, or of the columns, alone."""

from itertools import product
from typing import Any, NamedTuple

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ragmask.kernels.compile import part
from ragmask.kernels.constants import SPAN, TILE_ROWS
from ragmask.kernels.cpu.lanes import spaced
from ragmask.kernels.cpu.tile import TileCode, family_of, lanes_of


def _panels_at_once(typing_context: Any, array: Any) -> Any:
    """How many panels a tile takes: two of AVX-512's make as many sums as one of AVX2's."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, _most_panels(context))

    return types.intp(array), codegen


def _most_panels(context: Any) -> int:
    return 2 if family_of(*context.codegen().magic_tuple()).register_bytes == 64 else 1


panels_at_once: Any = intrinsic(_panels_at_once)


class Factor(NamedTuple):
    """A product's first factor: x[row, i] is `numbers[row · stride + i · step]`."""

    numbers: Any
    stride: int
    step: int


def _tile(
    typing_context: Any,
    x: Any,
    y: Any,
    y_step: Any,
    sums: Any,
    stride: Any,
    places: Any,
    size: Any,
    depth: Any,
    goes_on: Any,
) -> Any:
    """sums[row, column] = Σ x[row, i] · y[i, column] for i in `depth`, or added to it.

    y[i, column] is at i · y_step + column, sums[row, column] at row · stride + column. places are
    where x, y and sums begin in their arrays; size (rows, panels): at most TILE_ROWS, and
    `panels_at_once`; depth (begin, end).
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = x.types[0].dtype
        numbers, x_stride, x_step = cgutils.unpack_tuple(builder, args[0])
        x_data, y_data, sums_data = (
            context.make_array(kind)(context, builder, array).data
            for kind, array in ((x.types[0], numbers), (y, args[1]), (sums, args[3]))
        )
        x_at, y_at, sums_at = cgutils.unpack_tuple(builder, args[5])
        rows, panels = cgutils.unpack_tuple(builder, args[6])
        begin, end = cgutils.unpack_tuple(builder, args[7])
        shapes = product(range(1, TILE_ROWS + 1), range(1, _most_panels(context) + 1))
        for shape in shapes:
            code = TileCode(builder, *shape, context.get_data_type(number), number.bitwidth // 8)
            has_rows = builder.icmp_signed("==", rows, code.const(shape[0]))
            has_panels = builder.icmp_signed("==", panels, code.const(shape[1]))
            with builder.if_then(builder.and_(has_rows, has_panels)):
                of_rows = [
                    builder.gep(x_data, [builder.add(x_at, code.times(x_stride, row))])
                    for row in range(shape[0])
                ]
                of_panels = [
                    builder.gep(y_data, [builder.add(y_at, code.const(panel * code.lanes))])
                    for panel in range(shape[1])
                ]
                totals, targets = {}, {}
                for row, panel in code.tile:
                    column = builder.add(sums_at, code.const(panel * code.lanes))
                    at = builder.add(column, code.times(args[4], row))
                    targets[row, panel] = code.pointer(sums_data, at)
                    before = code.load(targets[row, panel])
                    totals[row, panel] = cgutils.alloca_once(builder, code.vector)
                    first = builder.select(args[8], before, code.zeros)
                    builder.store(first, totals[row, panel])
                code.add_products(totals, of_rows, x_step, of_panels, args[2], begin, end)
                for place in code.tile:
                    code.store(builder.load(totals[place]), targets[place])
        return context.get_dummy_value()

    of_ints = types.intp, types.UniTuple(types.intp, 3), types.UniTuple(types.intp, 2)
    return (
        types.void(x, y, types.intp, sums, *of_ints, of_ints[2], types.boolean),
        codegen,
    )


tile: Any = intrinsic(_tile)


@part
def group_of(array: Any) -> int:
    """How many columns a tile takes at most."""
    size: int = panels_at_once(array) * lanes_of(array)
    return size


@part
def multiply_columns(
    x: Any, depth: int, y: Any, sums: Any, stride: int, low: Any, high: Any
) -> None:
    """sums[row] = x[row] @ y, at least from column `low[row]` to column `high[row]`.

    x a Factor (rows, depth); y (groups, depth, columns of a group), sums (rows, stride), both flat
    and of whole groups. low and high never fall from row to row.
    """
    rows, group, lanes = low.size, group_of(y), lanes_of(y)
    for column in range(low[0] // group * group, high[rows - 1], group):
        for row in range(0, rows, TILE_ROWS):
            count = min(TILE_ROWS, rows - row)
            end = high[row + count - 1]
            if low[row] < column + group and column < end:
                panels = min(group, end - column + lanes - 1) // lanes
                places = (row * x.stride, column * depth, row * stride + column)
                tile(x, y, group, sums, stride, places, (count, panels), (0, depth), False)


@part
def multiply_depths(
    x: Any, y: Any, columns: int, sums: Any, low: Any, high: Any, is_apart: bool, goes_on: bool
) -> None:
    """sums[row] = Σ x[row, i] · y[i] for i in [low[row], high[row]), or added to it.

    x a Factor; y (depth, columns) and sums (rows, columns), both flat, with lines as far apart as
    `spaced` says, of whole lanes. low and high never fall from row to row. Rows share a tile, and x
    is to be 0 where a row needs less of the depth than its tile: from the first one's low, rounded
    down to whole spans, to the last one's high. Unless `is_apart`, where y may be NaN: that times 0
    is not 0.
    """
    rows, group, lanes = low.size, group_of(y), lanes_of(y)
    stride, at_once = spaced(columns), 1 if is_apart else TILE_ROWS
    for column in range(0, columns, group):
        panels = (min(group, columns - column) + lanes - 1) // lanes
        for row in range(0, rows, at_once):
            count = min(at_once, rows - row)
            places = (row * x.stride, column, row * stride + column)
            begin, end = low[row] // SPAN * SPAN, high[row + count - 1]
            adds = goes_on
            if is_apart and begin < low[row]:  # the spans stay the same
                first = (low[row], min(begin + SPAN, end))
                tile(x, y, stride, sums, stride, places, (count, panels), first, adds)
                begin, adds = begin + SPAN, True
            if begin < end or not adds:
                tile(x, y, stride, sums, stride, places, (count, panels), (begin, end), adds)
