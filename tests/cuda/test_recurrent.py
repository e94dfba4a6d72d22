"""Recurrent layers on CUDA: the input projection, and the recurrence in each of its kernels.

What the kernels do is tested on the LSTM; of other cells, that they are the CPU's in each of them.

In the simulator a unit's four threads are four of Python's, so that few units have to do there.
"""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.arrays.host import offsets_of
from ragmask.errors import DeviceError
from ragmask.kernels import cuda
from ragmask.kernels.cuda.recurrent import plan as plans
from ragmask.kernels.cuda.recurrent.lstm import LSTM
from tests import reference
from tests.cuda import running
from tests.strategies import FLOATS, assert_rows, lists_of, over, raggeds, with_normals

IS_SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
TOLERANCES = {"float16": 2e-6, "float32": 2e-6, "float64": 1e-12}
GARBAGE = 77
LIMITS = cuda.Limits(multiprocessors=2, shared_bytes=227 << 10)
PLANNERS = {
    "resident": plans.plan_resident,
    "streamed": plans.plan_streamed,
    "rows": plans.plan_rows,
}
REGIMES = [("resident", "float32")]
REGIMES += [(name, dtype) for name in ("streamed", "rows") for dtype in ("float32", "float64")]
UNITS = [1, 3, 5] if IS_SIMULATED else [1, 3, 16, 17, 33, 64, 70, 128]
LARGE = [("resident", 18)] if IS_SIMULATED else [("resident", n) for n in (3, 16, 32, 48, 64, 100)]
if not IS_SIMULATED:
    LARGE += [("resident", 128), ("streamed", 64), ("streamed", 200), ("streamed", 300)]
    LARGE += [("rows", 300)]


def weights_of(features, units, kind=rm.LSTMWeights):
    random = np.random.default_rng(0)
    columns = kind.cell.gates * units
    return kind(
        random.normal(0, 0.5, (features, columns)),
        random.normal(0, 1 / np.sqrt(units), (units, columns)),
        random.normal(0, 0.5, (2, columns) if kind.cell.apart else columns),
    )


def states_of(rows, units, seed=1):
    return tuple(np.random.default_rng(seed).standard_normal((2, rows, units)))


def batch_of(lengths, features=5, dtype="float32", masked=False, seed=0):
    random = np.random.default_rng(seed)
    lengths = np.asarray(lengths, np.int64)
    values = random.standard_normal((int(lengths.sum()), features)).astype(dtype)
    mask = random.random(len(values)) < 0.7 if masked else None
    return rm.Ragged(values, np.cumsum(lengths) - lengths, lengths, mask)


def in_blocks(planner, blocks):
    """The same kernel in so many blocks: more rows than they have slots for."""
    return lambda *arguments: planner(*arguments)._replace(blocks=blocks)


def run(batch, weights, state=None, planner=plans.plan_of, outputs=True, **how):
    """(outputs, h, c) of a Ragged, as the kernels give them: outputs end to end."""
    dtype = np.dtype("float64" if batch.dtype == "float64" else "float32")
    kernel, recurrent_kernel, bias = weights.packed_for_cuda(dtype)
    with np.errstate(invalid="ignore"):  # some of numpy's products say so of NaN and infinity
        sums = (batch.values.astype("float64") @ kernel + bias).astype(dtype)
    shape = len(batch), weights.units
    h0, c0 = np.zeros((2, *shape), dtype) if state is None else np.array(state, dtype)
    h, c = np.full((2, *shape), GARBAGE, dtype)
    out = np.full((batch.n_steps + 1 if outputs else 0, weights.units), GARBAGE, dtype)
    order = np.argsort(-batch.lengths, kind="stable")
    segments = map(running.writable, (batch.starts, batch.lengths, batch.mask))
    if weights.cell.states == 1:
        c0, c = h0, h
    weights.cell.cuda(
        cuda.RowArrays(order, *segments, offsets_of(batch.lengths)[:-1]),
        sums.reshape(-1),
        recurrent_kernel.reshape(-1),
        cuda.States(h0, c0, h, c),
        cuda.Options(how.get("go_backwards", False), how.get("zero_output_for_mask", False)),
        out,
        np.zeros(1, np.int64),
        limits=LIMITS,
        planner=planner,
    )
    assert (out[batch.n_steps :] == GARBAGE).all()
    return out[: batch.n_steps], h, c


OPTIONS = st.fixed_dictionaries(
    {}, optional={"go_backwards": st.booleans(), "zero_output_for_mask": st.booleans()}
)


@running.few_examples
@given(
    raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=4),
    st.sampled_from(REGIMES),
    st.sampled_from(UNITS),
    OPTIONS,
    st.booleans(),
    st.integers(1, 2),
)
def test_it_is_the_reference(ragged, regime, units, options, with_state, blocks):
    name, dtype = regime
    planner = in_blocks(PLANNERS[name], blocks)
    batch, weights = with_normals(ragged, dtype, (3,)), weights_of(3, units)
    state = states_of(len(batch), units) if with_state else None
    check(batch, weights, state, planner, **options)


def check(batch, weights, state, planner, **options):
    """Against the reference in Python's doubles."""
    outputs, h, c = run(batch, weights, state, planner, **options)
    lists = [one.tolist() for one in (weights.kernel, weights.recurrent_kernel, weights.bias)]
    initial = None if state is None else [one.tolist() for one in state]
    expected, *states = reference.lstm(*lists_of(batch), *lists, initial, **options)
    tolerance = TOLERANCES[str(batch.dtype)]
    found = rm.Ragged.from_offsets(outputs, offsets_of(batch.lengths))
    assert_rows(lists_of(found)[0], expected, tolerance)
    for ours, theirs in zip((h, c), states, strict=True):
        theirs = np.array(theirs).reshape(ours.shape)
        np.testing.assert_allclose(ours, theirs, tolerance, tolerance)


@pytest.mark.parametrize(("regime", "dtype"), REGIMES)
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
def test_masked_steps_before_between_and_after(regime, dtype, go_backwards, zero_output_for_mask):
    batch, weights = batch_of([6, 0, 2, 1, 1, 3], dtype=dtype), weights_of(5, 3)
    kept = [0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0]
    batch = rm.Ragged(batch.values, batch.starts, batch.lengths, np.array(kept, bool))
    options = {"go_backwards": go_backwards, "zero_output_for_mask": zero_output_for_mask}
    check(batch, weights, states_of(6, 3), in_blocks(PLANNERS[regime], 1), **options)


@pytest.mark.parametrize(("regime", "units"), LARGE)
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_cpu_op(regime, units, masked):
    """With rows that have nothing to read, and several rows a slot."""
    lengths = [3, 0, 5, 1, 2, 4, 2] if IS_SIMULATED else [12, 0, 9, 7, 7, 3, 1, 5, 14, 6, 2, 0] * 2
    batch, weights = batch_of(lengths, masked=masked), weights_of(5, units)
    state, how = states_of(len(batch), units), {"go_backwards": masked}
    planner = in_blocks(PLANNERS[regime], 1)
    outputs, h, c = run(batch, weights, state, planner, **how)
    expected = rm.lstm(batch, weights, initial_state=state, **how)
    np.testing.assert_allclose(outputs, expected.outputs.values, 0, 2e-6)
    np.testing.assert_allclose(h, expected.h, 0, 2e-6)
    np.testing.assert_allclose(c, expected.c, 0, 2e-6)
    alone = run(batch, weights, state, planner, outputs=False, **how)
    assert alone[1].tobytes() == h.tobytes()
    assert alone[2].tobytes() == c.tobytes()


@pytest.mark.parametrize("kind", [rm.GRUWeights, rm.RNNWeights])
@pytest.mark.parametrize(("regime", "dtype"), REGIMES)
def test_other_cells_are_the_cpu_ops(kind, regime, dtype):
    lengths, units = [3, 0, 2, 1], 3
    batch = batch_of(lengths, dtype=dtype, masked=True)
    weights = weights_of(5, units, kind)
    (h0, _), how = states_of(len(batch), units), {"go_backwards": True}
    op = {rm.GRUWeights: rm.gru, rm.RNNWeights: rm.rnn}[kind]
    expected = op(batch, weights, initial_state=h0, **how)
    planner = in_blocks(PLANNERS[regime], 1)
    outputs, h, _ = run(batch, weights, (h0, h0), planner, **how)
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(outputs, expected.outputs.values, tolerance, tolerance)
    np.testing.assert_allclose(h, expected.h, tolerance, tolerance)
    alone = run(batch[[2]], weights, (h0[[2]], h0[[2]]), planner, **how)[1]
    assert alone.tobytes() == h[2].tobytes()


@pytest.mark.parametrize("regime", PLANNERS)
def test_slots_blocks_and_other_rows_change_no_bit(regime):
    lengths = [2, 1, 0, 3, 1, 2] if IS_SIMULATED else [9, 3, 0, 7, 12, 4, 4, 5, 1, 8, 30, 2] * 3
    units = 3 if IS_SIMULATED else 40
    batch, weights = batch_of(lengths, masked=True), weights_of(5, units)
    h = run(batch, weights, planner=in_blocks(PLANNERS[regime], 1))[1]
    assert run(batch, weights, planner=in_blocks(PLANNERS[regime], 3))[1].tobytes() == h.tobytes()
    for row in range(0, len(batch), 3):
        alone = run(batch[[row]], weights, planner=PLANNERS[regime])[1]
        assert alone.tobytes() == h[row].tobytes()


def test_a_row_that_overflows_harms_no_other():
    """Not in its own warps either, nor through the units that fill a block up."""
    batch, weights = batch_of([2, 2, 2]), weights_of(5, 3)
    values = batch.values.copy()
    values[2:4] = [[np.nan], [np.inf]]
    for regime in PLANNERS:
        planner = in_blocks(PLANNERS[regime], 1)
        h = run(over(batch, values), weights, planner=planner)[1]
        expected = run(batch, weights, planner=planner)[1]
        assert h[[0, 2]].tobytes() == expected[[0, 2]].tobytes()
        assert np.isnan(h[1]).all()


def test_no_rows():
    outputs, h, c = run(batch_of([]), weights_of(5, 3))
    assert outputs.shape == h.shape == c.shape == (0, 3)


# -- which kernel -------------------------------------------------------------------------

DEVICES = {
    "T4": cuda.Limits(40, 64 << 10),
    "A100": cuda.Limits(108, 163 << 10),
    "H100": cuda.Limits(132, 227 << 10),
    "RTX 5090": cuda.Limits(170, 99 << 10),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("single", [True, False])
def test_the_kernel_follows_from_units_dtype_and_device(device, single):
    limits = DEVICES[device]
    for units in (1, 16, 17, 64, 65, 128, 129, 300, 1024, 1365):
        found = [plans.plan_of(LSTM, rows, units, single, limits) for rows in (1, 100, 10**6)]
        assert len({plan.kernel for plan in found}) == 1
        for rows, plan in zip((1, 100, 10**6), found, strict=True):
            assert 1 <= plan.blocks <= rows
            assert plan.threads % 32 == 0
            assert plan.threads <= (256 if plan.slots else 1024)
            assert plan.shared_bytes + plans.STATIC_BYTES <= limits.shared_bytes


def test_an_lstm_that_no_block_has_room_for():
    with pytest.raises(DeviceError, match="6000 units needs 77120 bytes"):
        plans.plan_of(LSTM, 1, 6000, True, DEVICES["T4"])


def test_the_weights_stay_where_there_is_room_for_them():
    kept = {
        name: [
            units
            for units in range(1, 200)
            if plans.plan_of(LSTM, 99, units, True, limits).kernel in LSTM.resident.values()
        ]
        for name, limits in DEVICES.items()
    }
    assert {name: max(units) for name, units in kept.items()} == {
        "T4": 96,
        "A100": 128,
        "H100": 128,
        "RTX 5090": 96,
    }


class Configured:
    """Stands in for what numba-cuda makes of `kernel[blocks, ...]`, and keeps."""

    def __init__(self):
        self.pre_launch_callbacks, self.launches = [], 0

    def __call__(self):
        self.launches += 1


def test_more_shared_memory_than_is_granted_is_asked_for():
    granted, more = Configured(), Configured()
    kernel = {(1, 32, 0, 48 << 10): granted, (1, 32, 0, (48 << 10) + 4): more}
    for _ in range(2):
        cuda.launch_blocks(kernel, 1, 32, shared_bytes=48 << 10)
        cuda.launch_blocks(kernel, 1, 32, shared_bytes=(48 << 10) + 4)
        cuda.launch_blocks(kernel, 0, 32)
    assert granted.launches == more.launches == 2
    assert granted.pre_launch_callbacks == []
    assert len(more.pre_launch_callbacks) == 1


# -- the input projection -----------------------------------------------------------------


def project(x, kernel, bias):
    out = np.full((len(x) + 1, len(bias)), GARBAGE, kernel.dtype)
    cuda.project(x, kernel, bias, out[:-1])
    assert (out[-1] == GARBAGE).all()
    return out[:-1]


def unaligned(array):
    """A copy at an address that is a multiple of its item's size alone."""
    flat = np.empty(array.size + 1, array.dtype)[1:]
    flat[:] = array.reshape(-1)
    return flat.reshape(array.shape)


@running.few_examples
@given(
    st.sampled_from([0, 1, 5, 130]),
    st.sampled_from([0, 1, 4, 18] if IS_SIMULATED else [0, 1, 3, 4, 16, 20, 33, 100]),
    st.sampled_from([1, 3, 17]),
    st.sampled_from(FLOATS),
    st.booleans(),
)
def test_the_projection_is_a_product(steps, features, units, dtype, is_aligned):
    random = np.random.default_rng(0)
    number = np.dtype("float64" if dtype == "float64" else "float32")
    x = random.standard_normal((steps, features)).astype(dtype)
    kernel = random.standard_normal((features, 4 * units)).astype(number)
    bias = random.standard_normal(4 * units).astype(number)
    out = project(x if is_aligned else unaligned(x), kernel, bias)
    expected = x.astype("float64") @ kernel.astype("float64") + bias
    tolerance = TOLERANCES[dtype] * 5
    np.testing.assert_allclose(out, expected, tolerance, tolerance)
    if steps:
        assert project(x[-1:], kernel, bias).tobytes() == out[-1].tobytes()


@pytest.mark.parametrize("kind", [rm.LSTMWeights, rm.GRUWeights, rm.RNNWeights])
def test_the_sums_of_a_unit_lie_side_by_side(kind):
    """Of a gate whose sums stay apart, that of the input comes first; what is not there is 0."""
    weights = weights_of(2, 3, kind)
    gates, apart = kind.cell.gates, kind.cell.apart
    nothing = np.zeros(3)
    for packed, plain, first in zip(
        weights.packed_for_cuda("float64"),
        (weights.kernel, weights.recurrent_kernel, weights.bias),
        (True, False, None),
        strict=True,
    ):
        of_input, of_outputs = plain if first is None and apart else (plain, plain)
        expected = [of_input[..., gate * 3 : gate * 3 + 3] for gate in range(gates)]
        last = [of_outputs[..., gate * 3 : gate * 3 + 3] for gate in range(gates)]
        if first is None and apart:
            for gate in range(gates - apart):
                expected[gate] = expected[gate] + last[gate]
        if first is False:
            expected[gates - apart :] = [nothing] * apart
        if apart:
            expected += [nothing] if first else last[gates - apart :]
        expected += [nothing] * (4 - len(expected))
        for number, columns in enumerate(expected):
            assert (packed[..., number::4] == columns).all()
    assert weights.packed_for_cuda("float32")[0].dtype == np.float32
