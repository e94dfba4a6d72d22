"""The tile of each family of processors: its sums, its bits, and the code that LLVM makes of it."""

import re

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from ragmask.kernels.cells import GRU, LSTM, RNN, Cell
from ragmask.kernels.compile import njit
from ragmask.kernels.constants import PANEL_BYTES, TILE_ROWS
from ragmask.kernels.cpu import tile as shared
from ragmask.kernels.cpu.recurrent import tile
from ragmask.kernels.packing import pack

FAMILIES = {name: getattr(shared, name) for name in ("SSE", "AVX2", "AVX512", "ZEN4", "NEON")}
# a processor of each, in LLVM's words
PROCESSORS = {
    "AVX2": ("x86_64-unknown-linux-gnu", "haswell", "+avx2,+fma"),
    "AVX512": ("x86_64-unknown-linux-gnu", "skylake-avx512", "+avx2,+avx512f,+fma"),
    "ZEN4": ("x86_64-unknown-linux-gnu", "znver4", "+avx2,+avx512f,+fma"),
    "NEON": ("aarch64-unknown-linux-gnu", "neoverse-n1", "+neon"),
}
TWO_APART = Cell("Two", gates=4, states=1, apart=2)
FEATURES, UNITS, SLOTS = 37, 19, 13


@pytest.fixture(params=FAMILIES)
def family(request, monkeypatch):
    """A family that kernels are compiled for from now on; LLVM makes any vectors run here."""
    monkeypatch.setattr(tile, "family_of", lambda *processor: FAMILIES[request.param])
    return request.param


def product_kernel(cell):
    """The product alone, for all blocks of units: (blocks, slots · sums · lanes)."""
    multiply = tile.product_of(cell)

    @njit
    def product(x, stride, panels, first_sums, offsets, features, units, out):
        nothing = np.zeros(0, np.int64)
        for block in range(len(out)):
            of_block = tile.Product(x, stride, panels, first_sums, offsets, nothing, out[block])
            multiply(of_block, len(offsets), features, units, block)

    return product


def sums_of(kernel, cell, dtype, slots, features=FEATURES, units=UNITS):
    """What the kernel makes, and what it should: both (slots, sums, units)."""
    random = np.random.default_rng(0)
    columns = cell.gates * units
    bias = random.standard_normal((2, columns) if cell.apart else columns)
    weights = random.standard_normal((features, columns)), random.standard_normal((units, columns))
    x = random.standard_normal((SLOTS, features + units)).astype(dtype)[:slots]
    lanes = PANEL_BYTES // x.itemsize
    blocks = -(-units // lanes)
    out = np.full((blocks, slots * cell.sums * lanes), np.nan, dtype)
    packed = pack(cell, *weights, bias, dtype)
    offsets = np.zeros(slots, np.int64)
    kernel(x.reshape(-1), features + units, *packed, offsets, features, units, out)
    found = np.moveaxis(out.reshape(blocks, slots, cell.sums, lanes), 0, 2)
    found = found.reshape(slots, cell.sums, -1)
    assert not found[..., units:].any()

    of_input = x[:, :features].astype("f8") @ weights[0].astype(dtype).astype("f8")
    of_outputs = x[:, features:].astype("f8") @ weights[1].astype(dtype).astype("f8")
    biases = bias if cell.apart else (bias, 0)
    of_input, of_outputs = of_input + biases[0], of_outputs + biases[1]
    joint = (cell.gates - cell.apart) * units
    expected = np.concatenate([of_input, of_outputs[:, joint:]], axis=1)
    expected[:, :joint] += of_outputs[:, :joint]
    return found[..., :units], expected.reshape(slots, cell.sums, units)


@pytest.fixture(scope="module")
def seen():
    """The bits of other families before."""
    return {}


@pytest.mark.slow  # a product of each family is compiled for each cell
@pytest.mark.parametrize("cell", [LSTM, GRU, RNN, TWO_APART], ids=lambda cell: cell.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_familys_tile_sums_up_the_same(family, cell, dtype, seen):
    kernel = product_kernel(cell)
    alone = []
    for slots in range(1, SLOTS + 1):
        found, expected = sums_of(kernel, cell, dtype, slots)
        tolerance = 1e-5 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(found, expected, tolerance, 10 * tolerance)
        alone.append(found[-1].tobytes())
        assert [slot.tobytes() for slot in found] == alone
    assert seen.setdefault((cell, dtype), alone) == alone


@pytest.mark.slow  # a product is compiled for each
@pytest.mark.parametrize("features", [0, 1, 16, 48])
def test_depths_of_no_whole_span_and_of_some(features):
    kernel = product_kernel(GRU)
    for units in (1, 16, 32, 33):
        found, expected = sums_of(kernel, GRU, "float32", 7, features, units)
        np.testing.assert_allclose(found, expected, 1e-5, 1e-4)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("gates", [1, 2, 3, 4])
def test_sums_fit_into_the_registers_and_hide_each_others_latency(name, gates):
    family = FAMILIES[name]
    vectors = PANEL_BYTES // family.register_bytes
    shapes = tile.shapes_of(gates, family)
    assert [shape.rows for shape in shapes] == list(range(1, TILE_ROWS + 1))
    for rows, panels in shapes:
        assert gates % panels == 0
        assert panels == 1 or rows * panels * vectors < family.registers
    if gates > 1 and name != "SSE":  # which has not the registers
        most = shapes[-1]
        assert most.rows * most.panels * vectors >= family.in_flight


@pytest.mark.parametrize(
    ("triple", "cpu", "features", "name"),
    [
        ("x86_64-unknown-linux-gnu", "x86-64", "+sse2", "SSE"),
        ("x86_64-unknown-linux-gnu", "sandybridge", "+sse2,+avx", "SSE"),
        ("x86_64-pc-windows-msvc", "znver3", "+avx,+avx2,-avx512f,+fma", "AVX2"),
        ("x86_64-unknown-linux-gnu", "sapphirerapids", "+avx2,+avx512f,+fma", "AVX512"),
        ("x86_64-unknown-linux-gnu", "znver4", "+avx2,+avx512f,+fma", "ZEN4"),
        ("x86_64-unknown-linux-gnu", "znver5", "+avx2,+avx512f,+fma", "AVX512"),
        ("arm64-apple-darwin23.1.0", "apple-m1", "+neon", "NEON"),
        ("aarch64-unknown-linux-gnu", "neoverse-v1", "", "NEON"),
    ],
)
def test_a_processor_is_of_the_family_that_its_registers_make(triple, cpu, features, name):
    assert shared.family_of(triple, cpu, features) == FAMILIES[name]


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize(("gates", "transposed"), [(3, False), (4, False), (1, False), (1, True)])
def test_the_walk_over_the_depth_stays_in_registers(name, gates, transposed):
    """Assembled for a processor of each family, wherever the test runs."""
    cell = Cell("Any", gates=gates, states=1)
    family = FAMILIES[name]
    shape = tile.shapes_of(gates, family)[-1]
    assembly = assemble(module_of(cell, shape, transposed), *PROCESSORS[name])
    multiply = re.compile(r"\tfmla\t" if name == "NEON" else r"\tvfmadd\w+ps\t")
    walks = [
        block[multiply.search(block).start() : [*multiply.finditer(block)][-1].end()]
        for block in re.split(r"^\.?L?[\w.$]+:", assembly, flags=re.M)
        if len(multiply.findall(block))
        >= shape.rows * shape.panels * PANEL_BYTES // family.register_bytes
    ]
    assert walks
    for walk in walks:
        assert not re.findall(r"\(%rsp|\[sp", walk), walk


def module_of(cell, shape, transposed):
    """A module with one tile of float32 as its only function."""
    number, index = ir.FloatType(), ir.IntType(64)
    numbers, indices = number.as_pointer(), index.as_pointer()
    arrays = {"x": numbers, "panels": numbers, "first_sums": numbers, "sums": numbers}
    arrays |= {"offsets": indices, "stride": index}
    places = dict.fromkeys(["slot", "gate", "part", "begin", "end", "depth", "block"], index)
    module = ir.Module()
    kind = ir.FunctionType(ir.VoidType(), [*arrays.values(), *places.values()])
    function = ir.Function(module, kind, "tile")
    for argument in function.args:
        if argument.type.is_pointer:
            argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block())
    arrays = dict(zip(arrays, function.args, strict=False))
    at = dict(zip(places, function.args[len(arrays) :], strict=True))
    tile._TileCode(builder, cell, shape, number, 4, transposed).emit(arrays, at)
    builder.ret_void()
    return module


def assemble(module, triple, cpu, features):
    """The module's code for a processor, as Numba has LLVM optimise it."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3)
    module.triple, module.data_layout = triple, str(machine.target_data)
    code = llvm.parse_assembly(str(module))
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(3))
    builder.getModulePassManager().run(code, builder)
    return machine.emit_assembly(code)
