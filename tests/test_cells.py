"""Cells that are no LSTM, through the loop, the product and the packing of all."""

import numpy as np
import pytest

from ragmask.kernels.cells import Cell
from ragmask.kernels.compile import inline
from ragmask.kernels.cpu.recurrent.loop import loop_of
from ragmask.kernels.math import sigmoid, tanh
from ragmask.kernels.packing import pack, pack_for_ids
from ragmask.weights.recurrent import RecurrentWeights

pytestmark = pytest.mark.slow  # cells of their own are compiled

FEATURES, LENGTHS = 3, np.array([5, 0, 9, 1, 3, 3, 2, 7, 4, 4, 1])
STARTS = np.cumsum(LENGTHS) - LENGTHS


@inline
def rnn_step(sums, states):
    return (tanh(sums[0]),)


@inline
def gru_step(sums, states):
    """With the recurrent sum of the candidate kept apart: it is multiplied by the reset gate."""
    z, r, h, recurrent_z, recurrent_r, recurrent_h = sums
    update = sigmoid(z + recurrent_z)
    candidate = tanh(h + sigmoid(r + recurrent_r) * recurrent_h)
    return (update * states[0] + (1 - update) * candidate,)


def plain_rnn(x, h, kernel, recurrent_kernel, bias):
    return np.tanh(x @ kernel + h @ recurrent_kernel + bias)


def plain_gru(x, h, kernel, recurrent_kernel, bias):
    z, r, inputs = np.split(x @ kernel + bias[0], 3)
    recurrent_z, recurrent_r, recurrent = np.split(h @ recurrent_kernel + bias[1], 3)
    update, reset = (1 / (1 + np.exp(-s)) for s in (z + recurrent_z, r + recurrent_r))
    return update * h + (1 - update) * np.tanh(inputs + reset * recurrent)


RNN = Cell("RNN", gates=1, states=1)
GRU = Cell("GRU", gates=3, states=1, apart=True)
CELLS = {
    "RNN": (RNN, inline(loop_of(RNN, rnn_step)), plain_rnn),
    "GRU": (GRU, inline(loop_of(GRU, gru_step)), plain_gru),
}


def arrays_of(cell, units, seed=0):
    random = np.random.default_rng(seed)
    columns = cell.gates * units
    bias = (2, columns) if cell.apart else (columns,)
    shapes = (FEATURES, columns), (units, columns), bias
    return [random.normal(0, 0.5, shape) for shape in shapes]


def run(kernel, x, ids, mask, packed, h0, slots):
    h = np.full_like(h0, np.nan)
    out = np.full((LENGTHS.sum(), h0.shape[1]), np.nan)
    order = np.argsort(-LENGTHS, kind="stable")
    rows = order, x, ids, STARTS, LENGTHS, mask
    options = slots, False, False
    kernel(0, len(LENGTHS), rows, tuple(packed), ((h0,), (h,)), options, (STARTS, out))
    return out, h


def expected_of(step, x, mask, arrays, h0):
    out, last = [], []
    for row, (start, length) in enumerate(zip(STARTS, LENGTHS, strict=True)):
        h, before = h0[row], np.zeros_like(h0[row])
        for at in range(start, start + length):
            if not mask.size or mask[at]:
                before = h = step(x[at], h, *arrays)
            out.append(before)
        last.append(h)
    return np.array(out), np.array(last)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("units", [1, 8, 17])
@pytest.mark.parametrize("masked", [False, True])
def test_a_cell_is_its_plain_loop(name, units, masked):
    cell, kernel, step = CELLS[name]
    random = np.random.default_rng(1)
    x = random.standard_normal((LENGTHS.sum(), FEATURES))
    mask = random.random(len(x)) < 0.7 if masked else np.zeros(0, bool)
    h0 = random.standard_normal((len(LENGTHS), units))
    arrays = arrays_of(cell, units)
    packed = pack(cell, *arrays, np.float64)
    expected = expected_of(step, x, mask, arrays, h0)
    results = [run(kernel, x, np.zeros(0, np.int64), mask, packed, h0, n) for n in (1, 2, 6, 12)]
    for result in results:
        for ours, theirs, first in zip(result, expected, results[0], strict=True):
            np.testing.assert_allclose(ours, theirs, 1e-12, 1e-12)
            assert ours.tobytes() == first.tobytes()


@pytest.mark.parametrize("name", CELLS)
def test_steps_of_ids_start_from_a_table(name):
    cell, kernel, step = CELLS[name]
    random = np.random.default_rng(2)
    vectors, ids = random.standard_normal((4, FEATURES)), random.integers(0, 5, LENGTHS.sum())
    h0, arrays = np.zeros((len(LENGTHS), 9)), arrays_of(cell, 9)
    nothing = np.zeros((len(ids), 0)), np.zeros(0, bool)
    packed = pack_for_ids(cell, *arrays, vectors)
    result = run(kernel, nothing[0], ids, nothing[1], packed, h0, 6)
    x = np.append(vectors, np.zeros((1, FEATURES)), 0)[ids]
    for ours, theirs in zip(result, expected_of(step, x, nothing[1], arrays, h0), strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-12, 1e-12)


def test_the_weights_of_a_cell_take_its_record_alone():
    class GRUWeights(RecurrentWeights):
        """Of three gates, with two biases each."""

        __slots__ = ()
        cell = GRU

    kernel, recurrent_kernel, bias = arrays_of(GRU, 2)
    weights = GRUWeights(kernel, recurrent_kernel, bias)
    assert repr(weights) == "GRUWeights(3 features, 2 units, float64)"
    assert not GRUWeights.from_keras([kernel, recurrent_kernel]).bias.any()
    state = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent_kernel.T}
    state |= {"bias_ih_l0": bias[0], "bias_hh_l0": bias[1]}
    np.testing.assert_array_equal(GRUWeights.from_torch(state).bias, bias)
    with pytest.raises(ValueError, match=r"bias has shape \(1, 6\); \(2, 6\) goes with 2 units"):
        GRUWeights(kernel, recurrent_kernel, bias[:1])
    with pytest.raises(ValueError, match=r"\(units, 3 · units\) is needed"):
        GRUWeights(kernel, recurrent_kernel[:1], bias)
    by_unit = weights.packed_for_cuda("float64")[0].reshape(FEATURES, 2, 3)
    np.testing.assert_array_equal(by_unit, np.swapaxes(kernel.reshape(FEATURES, 3, 2), 1, 2))
