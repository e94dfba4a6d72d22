"""A tile of a matrix product, whose sums stay in vector registers while it walks the depth.

Plain loops cannot express that: written as those, the product of recurrent layers had two thirds of
this rate. A tile is a few rows by a few panels of 16 float32 (8 float64) columns.

Each sum runs over the depth in order, span by span, one fused multiply-add at a time, whatever the
tile's shape: how rows are grouped into tiles changes no bit of a result.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils
from numba.extending import overload

from ragmask.kernels.constants import PANEL_BYTES, SPAN

Place = tuple[int, int]  # in a tile: which row, which panel


def lanes_of(array: Any) -> int:
    """How many of the array's numbers make a panel's width: a constant in compiled code."""
    return PANEL_BYTES // int(array.itemsize)


@overload(lanes_of)
def _lanes_of(array: Any) -> Any:
    lanes = PANEL_BYTES * 8 // array.dtype.bitwidth

    def constant(array: Any) -> Any:
        return lanes

    return constant


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


class TileCode:
    """Writes the instructions of one tile."""

    def __init__(
        self, builder: Any, rows: int, panels: int, number: Any, number_bytes: int
    ) -> None:
        self.builder, self.bytes = builder, number_bytes
        self.lanes = PANEL_BYTES // number_bytes
        self.vector = ir.VectorType(number, self.lanes)
        self.tile = [(row, panel) for row in range(rows) for panel in range(panels)]

    @property
    def zeros(self) -> Any:
        return ir.Constant(self.vector, [0.0] * self.lanes)

    def const(self, value: int) -> Any:
        return ir.Constant(ir.IntType(64), value)

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

    def add_products(
        self,
        totals: dict[Place, Any],
        x: list[Any],
        x_step: Any,
        y: list[Any],
        y_step: Any,
        begin: Any,
        end: Any,
    ) -> None:
        """Adds x[row][i · x_step] · y[panel][i · y_step] to each total, for i in [begin, end).

        Of x a number is read, of y a vector; totals are places on the stack, which LLVM keeps in
        registers.
        """
        builder = self.builder
        partial = {place: cgutils.alloca_once(builder, self.vector) for place in self.tile}

        def add_span(begin: Any, count: Any) -> None:
            for place in self.tile:
                builder.store(self.zeros, partial[place])
            with cgutils.for_range(builder, count) as loop:
                index = builder.add(begin, loop.index)
                lane = self.times(index, y_step)
                weights = [self.load(self.pointer(base, lane)) for base in y]
                step = self.times(index, x_step)
                factors = [self.spread(builder.load(builder.gep(base, [step]))) for base in x]
                for row, panel in self.tile:
                    before = builder.load(partial[row, panel])
                    after = self.multiply_add(factors[row], weights[panel], before)
                    builder.store(after, partial[row, panel])
            for place in self.tile:
                total = builder.fadd(builder.load(totals[place]), builder.load(partial[place]))
                builder.store(total, totals[place])

        span = self.const(SPAN)  # a constant, so that LLVM unrolls the walk over it
        rest = builder.srem(builder.sub(end, begin), span)
        last = builder.sub(end, rest)
        with cgutils.for_range_slice(builder, begin, last, span) as (first, _):
            add_span(first, span)
        with builder.if_then(builder.icmp_signed(">", rest, self.const(0))):
            add_span(last, rest)
