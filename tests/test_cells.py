"""A cell that no layer has, through the loop, the product and the packing of all."""

import numpy as np
import pytest

from ragmask.kernels.cells import Cell
from ragmask.kernels.compile import inline
from ragmask.kernels.cpu.recurrent.loop import loop_of
from ragmask.kernels.math import sigmoid, tanh
from ragmask.kernels.packing import pack, pack_for_ids

pytestmark = pytest.mark.slow  # a cell of its own is compiled

FEATURES, LENGTHS = 3, np.array([5, 0, 9, 1, 3, 3, 2, 7, 4, 4, 1])
STARTS = np.cumsum(LENGTHS) - LENGTHS

# The minimal gated unit: one gate, a candidate that is apart, and a second state that counts.
MGU = Cell("MGU", gates=2, states=2, apart=1)


@inline
def mgu_step(sums, states):
    gate, inputs, recurrent = sums
    forget = sigmoid(gate)
    candidate = tanh(inputs + forget * recurrent)
    return (forget * states[0] + (1 - forget) * candidate, states[1] + 1), ()


KERNEL = inline(loop_of(MGU, mgu_step))


def plain_mgu(x, h, kernel, recurrent_kernel, bias):
    gate, inputs = np.split(x @ kernel + bias[0], 2)
    recurrent_gate, recurrent = np.split(h @ recurrent_kernel + bias[1], 2)
    forget = 1 / (1 + np.exp(-gate - recurrent_gate))
    return forget * h + (1 - forget) * np.tanh(inputs + forget * recurrent)


def arrays_of(units):
    random, columns = np.random.default_rng(0), 2 * units
    shapes = (FEATURES, columns), (units, columns), (2, columns)
    return [random.normal(0, 0.5, shape) for shape in shapes]


def run(x, ids, mask, packed, initial, slots):
    last = tuple(np.full_like(state, np.nan) for state in initial)
    out = np.full((LENGTHS.sum(), initial[0].shape[1]), np.nan)
    order = np.argsort(-LENGTHS, kind="stable")
    rows = order, x, ids, STARTS, LENGTHS, mask
    options = slots, False, False
    KERNEL(0, len(LENGTHS), rows, tuple(packed), (initial, last), options, (STARTS, out))
    return out, *last


def expected_of(x, mask, arrays, initial):
    out, last, counts = [], [], []
    for row, (start, length) in enumerate(zip(STARTS, LENGTHS, strict=True)):
        h, count = initial[0][row], initial[1][row]
        before = np.zeros_like(h)
        for at in range(start, start + length):
            if not mask.size or mask[at]:
                before = h = plain_mgu(x[at], h, *arrays)
                count = count + 1
            out.append(before)
        last.append(h)
        counts.append(count)
    return np.array(out), np.array(last), np.array(counts)


@pytest.mark.parametrize("units", [1, 8, 17])
@pytest.mark.parametrize("masked", [False, True])
def test_a_cell_is_its_plain_loop(units, masked):
    random = np.random.default_rng(1)
    x = random.standard_normal((LENGTHS.sum(), FEATURES))
    mask = random.random(len(x)) < 0.7 if masked else np.zeros(0, bool)
    initial = tuple(random.standard_normal((2, len(LENGTHS), units)))
    arrays = arrays_of(units)
    packed = pack(MGU, *arrays, np.float64)
    expected = expected_of(x, mask, arrays, initial)
    results = [run(x, np.zeros(0, np.int64), mask, packed, initial, n) for n in (1, 2, 6, 12)]
    for result in results:
        for ours, theirs, first in zip(result, expected, results[0], strict=True):
            np.testing.assert_allclose(ours, theirs, 1e-12, 1e-12)
            assert ours.tobytes() == first.tobytes()


def test_steps_of_ids_start_from_a_table():
    random = np.random.default_rng(2)
    vectors, ids = random.standard_normal((4, FEATURES)), random.integers(0, 5, LENGTHS.sum())
    initial, arrays = (np.zeros((len(LENGTHS), 9)),) * 2, arrays_of(9)
    no_values, no_mask = np.zeros((len(ids), 0)), np.zeros(0, bool)
    result = run(no_values, ids, no_mask, pack_for_ids(MGU, *arrays, vectors), initial, 6)
    x = np.append(vectors, np.zeros((1, FEATURES)), 0)[ids]
    for ours, theirs in zip(result, expected_of(x, no_mask, arrays, initial), strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-12, 1e-12)
