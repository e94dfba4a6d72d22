"""The gradients of recurrent layers on a device, whose memory is the host's here.

The host's are the oracle, over rows without their masked steps: these have no say in anything.
"""

import os

import numpy as np
import pytest

import ragmask as rm
from ragmask.arrays.coerce import to_array
from ragmask.errors import DeviceError
from ragmask.kernels import cuda
from ragmask.kernels.cells import CELLS, GRU, LSTM, RNN
from ragmask.kernels.cuda.recurrent import plan as plans
from ragmask.ops.input import Input
from ragmask.ops.recurrent import recur_and_keep, recur_gradient
from tests.cuda.host_memory import OnDevice, as_device, over

IS_SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
TOLERANCES = {"float32": 2e-5, "float64": 1e-12}
LENGTHS = [2, 0, 4, 1, 0]
MASK = np.array([1, 0, 0, 1, 1, 0, 0], bool)  # before, between and after; one row is masked whole


@pytest.fixture(autouse=True, scope="module")
def device():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield as_device(monkeypatch)


def problem(cell, features, units, lengths=LENGTHS, dtype="float64", seed=0):
    """(x, weights, initial, the gradients of outputs and of last states)."""
    random, columns = np.random.default_rng(seed), cell.gates * units
    shapes = [
        (sum(lengths), features),
        *((features, columns), (units, columns), (2, columns) if cell.apart else (columns,)),
        *((cell.states, len(lengths), units), (sum(lengths), units)),
        (cell.states, len(lengths), units),
    ]
    x, *weights, initial, of_outputs, of_last = (
        random.normal(0, 0.7, shape).astype(dtype) for shape in shapes
    )
    return x, weights, initial, (of_outputs, of_last)


def rows_of(x, lengths, mask, place):
    lengths = np.asarray(lengths, np.int64)
    arrays = x, np.cumsum(lengths) - lengths, lengths, mask
    return Input.of(rm.Ragged(*(None if one is None else place(one) for one in arrays))).rows


def host(array):
    return array


def there(array):
    return OnDevice(array.copy())


def run(cell, x, lengths, mask, weights, initial, backwards, gradients, wants_x, place):
    """(outputs, last states), and the gradients."""
    rows = rows_of(x, lengths, mask, place)
    kernel, recurrent, bias, initial, *gradients = (
        None if one is None else to_array(place(one), "one")
        for one in (*weights, initial, *gradients)
    )
    given = cell, rows, kernel, recurrent, bias, initial, backwards
    outputs, last, kept = recur_and_keep(*given)
    found = recur_gradient(*given, outputs, kept, *gradients, wants_x)
    return [None if one is None else np.asarray(over_any(one)) for one in (outputs, last, *found)]


def over_any(array):
    return array if isinstance(array, np.ndarray) else over(array)


def expected(cell, x, lengths, mask, weights, initial, backwards, gradients, wants_x):
    """What the host gives for the kept steps, spread out again; outputs of these alone."""
    keep = np.ones(len(x), bool) if mask is None else mask
    row = np.repeat(np.arange(len(lengths)), lengths)
    kept_lengths = np.bincount(row[keep], minlength=len(lengths))
    of_outputs, of_last = gradients
    of_outputs = None if of_outputs is None else of_outputs[keep]
    arguments = weights, initial, backwards, (of_outputs, of_last), wants_x, host
    outputs, last, of_x, *others = run(cell, x[keep], kept_lengths, None, *arguments)
    if of_x is not None:
        spread = np.zeros_like(x)
        spread[keep] = of_x
        of_x = spread
    return keep, outputs, [last, of_x, *others]


def check(cell, x, lengths, mask, *others):
    x = x.copy()
    if mask is not None:
        x[~mask] = np.nan
    keep, outputs, wanted = expected(cell, x, lengths, mask, *others)
    of_outputs, of_last = others[3]
    if mask is not None and of_outputs is not None:
        of_outputs = of_outputs.copy()
        of_outputs[~mask] = np.nan
    given = *others[:3], (of_outputs, of_last), others[4]
    found_outputs, *found = run(cell, x, lengths, mask, *given, there)
    tolerance = TOLERANCES[str(x.dtype)]
    np.testing.assert_allclose(found_outputs[keep], outputs, tolerance, tolerance)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            np.testing.assert_allclose(ours, theirs, tolerance, tolerance)
    return found_outputs, found


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize(("mask", "backwards"), [(None, True), (MASK, False), (MASK, True)])
def test_they_are_the_hosts(cell, mask, backwards):
    """With empty rows, and what arrives at masked steps is NaN."""
    x, weights, initial, gradients = problem(cell, features=3, units=2)
    check(cell, x, LENGTHS, mask, weights, initial, backwards, gradients, True)


def test_in_float32():
    x, weights, initial, gradients = problem(LSTM, 4, 3, dtype="float32")
    check(LSTM, x, LENGTHS, MASK, weights, initial, False, gradients, True)


@pytest.mark.parametrize("units", [17] if IS_SIMULATED else [17, 33, 70, 300, 600])
def test_a_sum_in_parts(units):
    """Cut among the threads of a block, or more units than it has threads."""
    x, weights, initial, gradients = problem(LSTM, 5, units, [2, 1])
    weights = [one / np.sqrt(units) for one in weights]
    check(LSTM, x, [2, 1], None, weights, initial, True, gradients, True)


@pytest.mark.parametrize("cell", [LSTM, RNN], ids=lambda cell: cell.name)
def test_what_is_not_given_is_zero_and_what_is_not_wanted_is_none(cell):
    x, weights, initial, (of_outputs, of_last) = problem(cell, 3, 2, [2, 1])
    for gradients in ((of_outputs, None), (None, of_last), (None, None)):
        check(cell, x, [2, 1], None, weights, initial, False, gradients, False)


@pytest.mark.parametrize("lengths", [[], [0, 0]], ids=["no rows", "empty rows"])
def test_no_steps(lengths):
    x, weights, initial, gradients = problem(GRU, 3, 2, lengths)
    check(GRU, x, lengths, None, weights, initial, False, gradients, True)


def test_no_features():
    """Are as one that is 0 throughout."""
    x, weights, initial, gradients = problem(LSTM, 1, 2, [2, 1])
    given = initial, False, gradients, True
    of_zeros = check(LSTM, 0 * x, [2, 1], None, weights, *given)[1]
    none = [weights[0][:0], *weights[1:]]
    of_none = run(LSTM, x[:, :0], [2, 1], None, none, *given, there)[2:]
    assert [one.shape for one in of_none[:2]] == [(3, 0), (0, 8)]
    for ours, theirs in zip(of_none[2:], of_zeros[3:], strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-12, 1e-12)


def test_other_rows_change_no_bit_of_a_row():
    x, weights, initial, (of_outputs, of_last) = problem(GRU, 3, 2, [2, 3, 1], "float32")
    x[:2], of_last[:, 2] = np.nan, np.inf
    together = run(GRU, x, [2, 3, 1], None, weights, initial, 0, (of_outputs, of_last), 1, there)
    middle = x[2:5], [3], None, weights, initial[:, 1:2].copy(), False
    alone = run(GRU, *middle, (of_outputs[2:5], of_last[:, 1:2].copy()), True, there)
    assert together[2][2:5].tobytes() == alone[2].tobytes()
    assert together[-1][:, 1].tobytes() == alone[-1][:, 0].tobytes()


def test_the_block_follows_from_the_units():
    limits = cuda.Limits(132, 227 << 10)
    for units in (1, 8, 16, 17, 64, 65, 300, 1000, 4000):
        for itemsize in (4, 8):
            threads, parts, shared_bytes = plans.gradient_block(units, itemsize, limits)
            assert threads % (32 * parts) == 0
            assert threads <= 512
            assert parts <= max(1, units // 8)
            assert shared_bytes == (6 + parts) * units * itemsize
    with pytest.raises(DeviceError, match="9000 units needs 252000 bytes of shared memory"):
        plans.gradient_block(9000, 4, limits)
