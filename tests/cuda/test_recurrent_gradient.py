"""The gradients of recurrent layers on a device, whose memory is the host's here."""

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
from tests import reference
from tests.cuda.host_memory import OnDevice, as_device, over

IS_SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
TOLERANCES = {"float32": 2e-5, "float64": 1e-12}
LENGTHS = [2, 0, 4, 1, 0]
MASK = np.array([1, 0, 0, 1, 0, 1, 0], bool)  # before, between and after; one row is masked whole


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


def run(cell, x, lengths, mask, weights, initial, backwards, gradients, wants_x):
    """Outputs, last states, and the gradients."""
    lengths = np.asarray(lengths, np.int64)
    arrays = x, np.cumsum(lengths) - lengths, lengths, mask
    rows = Input.of(rm.Ragged(*map(there, arrays))).rows
    kernel, recurrent, bias, initial, *gradients = (
        None if one is None else to_array(there(one), "one")
        for one in (*weights, initial, *gradients)
    )
    given = cell, rows, kernel, recurrent, bias, initial, backwards
    outputs, last, kept = recur_and_keep(*given)
    found = recur_gradient(*given, outputs, kept, *gradients, wants_x)
    return [None if one is None else over(one) for one in (outputs, last, *found)]


def there(array):
    return None if array is None else OnDevice(array.copy())


def expected(cell, x, lengths, mask, weights, initial, backwards, gradients, wants_x):
    name, edges = cell.name.lower(), np.cumsum(lengths)[:-1].astype(int)

    def rows_of(steps):
        return [row.tolist() for row in np.split(steps, edges)] if len(lengths) else []

    of_outputs, of_last = gradients
    of_outputs = np.zeros((len(x), initial.shape[2])) if of_outputs is None else of_outputs
    of_last = np.zeros(initial.shape) if of_last is None else of_last
    given = rows_of(x), rows_of(np.ones(len(x), bool) if mask is None else mask)
    given += tuple(one.tolist() for one in weights)
    outputs, *last = getattr(reference, name)(*given, initial.tolist(), backwards)
    steps = getattr(reference, f"{name}_step_gradient"), getattr(reference, f"{name}_step")
    results = rows_of(of_outputs), of_last.tolist(), initial.tolist(), backwards
    of_x, *others = reference.recur_gradient(*steps, cell.states, *given, *results)
    return [joined(outputs), last, joined(of_x) if wants_x else None, *others]


def joined(rows):
    return [step for row in rows for step in row]


def check(cell, x, lengths, mask, weights, initial, backwards, gradients, wants_x=True):
    """What arrives at masked steps is NaN on the device."""
    given = weights, initial, backwards
    plain = expected(cell, x, lengths, mask, *given, gradients, wants_x)
    if mask is not None:
        x, of_outputs = x.copy(), gradients[0].copy()
        x[~mask] = of_outputs[~mask] = np.nan
        gradients = of_outputs, gradients[1]
    found = run(cell, x, lengths, mask, *given, gradients, wants_x)
    tolerance = TOLERANCES[str(x.dtype)]
    for ours, theirs in zip(found, plain, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == x.dtype
            theirs = np.array(theirs, "float64").reshape(ours.shape)
            np.testing.assert_allclose(ours, theirs, tolerance, tolerance)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize(("mask", "backwards"), [(None, True), (MASK, False), (MASK, True)])
def test_they_are_those_of_the_loops(cell, mask, backwards):
    x, weights, initial, gradients = problem(cell, features=3, units=2)
    check(cell, x, LENGTHS, mask, weights, initial, backwards, gradients)


def test_in_float32():
    x, weights, initial, gradients = problem(LSTM, 4, 3, dtype="float32")
    check(LSTM, x, LENGTHS, MASK, weights, initial, False, gradients)


@pytest.mark.parametrize("units", [17] if IS_SIMULATED else [17, 33, 70, 300, 600])
def test_a_sum_in_parts(units):
    """Cut among the threads of a block, or more units than it has threads."""
    x, weights, initial, gradients = problem(LSTM, 5, units, [2, 1])
    weights = [one / np.sqrt(units) for one in weights]
    check(LSTM, x, [2, 1], None, weights, initial, True, gradients)


@pytest.mark.parametrize("cell", [LSTM, RNN], ids=lambda cell: cell.name)
def test_what_is_not_given_is_zero_and_what_is_not_wanted_is_none(cell):
    x, weights, initial, (of_outputs, of_last) = problem(cell, 3, 2, [2, 1])
    for gradients in ((of_outputs, None), (None, of_last), (None, None)):
        check(cell, x, [2, 1], None, weights, initial, False, gradients, False)


@pytest.mark.parametrize("lengths", [[], [0, 0]], ids=["no rows", "empty rows"])
def test_no_steps(lengths):
    x, weights, initial, gradients = problem(GRU, 3, 2, lengths)
    check(GRU, x, lengths, None, weights, initial, False, gradients)


def test_no_features_are_as_one_that_is_zero():
    x, weights, initial, gradients = problem(LSTM, 1, 2, [2, 1])
    given = initial, False, gradients, True
    of_zeros = run(LSTM, 0 * x, [2, 1], None, weights, *given)
    none = [weights[0][:0], *weights[1:]]
    of_none = run(LSTM, x[:, :0], [2, 1], None, none, *given)
    assert [one.shape for one in of_none[2:4]] == [(3, 0), (0, 8)]
    for number in (0, 1, 4, 5, 6):
        assert of_none[number].tobytes() == of_zeros[number].tobytes()


def test_other_rows_change_no_bit_of_a_row():
    x, weights, initial, (of_outputs, of_last) = problem(GRU, 3, 2, [2, 3, 1], "float32")
    x[:2], of_last[:, 2] = np.nan, np.inf
    together = run(GRU, x, [2, 3, 1], None, weights, initial, False, (of_outputs, of_last), True)
    middle = x[2:5], [3], None, weights, initial[:, 1:2].copy(), False
    alone = run(GRU, *middle, (of_outputs[2:5], of_last[:, 1:2].copy()), True)
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
