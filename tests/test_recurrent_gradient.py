"""The gradients of recurrent layers on the CPU, against plain loops and finite differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.kernels.cells import GRU, LSTM, RNN
from ragmask.ops import recurrent
from tests import reference
from tests.strategies import raggeds

pytestmark = pytest.mark.slow  # two loops a cell and dtype are compiled, and the weights' product

CELLS = pytest.mark.parametrize("cell", [LSTM, GRU, RNN], ids=lambda cell: cell.name)
FEATURES = 3
TOLERANCES = {"float32": 2e-4, "float64": 1e-10}


def weights_of(cell, features, units, random, dtype="float64"):
    columns = cell.gates * units
    biases = (2, columns) if cell.apart else (columns,)
    shapes = (features, columns), (units, columns), biases
    return [random.normal(0, 0.5, shape).astype(dtype) for shape in shapes]


def gradients_of(cell, rows, weights, initial, backwards, of_outputs, of_last, wants_x=True):
    outputs, last, kept = recurrent.recur_and_keep(cell, rows, *weights, initial, backwards)
    gradients = recurrent.recur_gradient(
        cell, rows, *weights, initial, backwards, outputs, kept, of_outputs, of_last, wants_x
    )
    return outputs, last, gradients


def drawn(cell, ragged, units, dtype, random):
    """Rows end to end, and all that goes with them."""
    rows = ragged.compact()._rows
    rows = rows.over(random.normal(size=(rows.n_steps, FEATURES)).astype(dtype))
    states = (cell.states, len(rows), units)
    initial, of_last = (random.normal(size=states).astype(dtype) for _ in range(2))
    of_outputs = random.normal(size=(rows.n_steps, units)).astype(dtype)
    return rows, initial, of_outputs, of_last


def lists(rows, steps):
    return [steps[begin : begin + length].tolist() for begin, length in _places(rows)]


def _places(rows):
    return zip(rows.starts, rows.lengths, strict=True)


@CELLS
@given(
    ragged=raggeds(dtypes=("float32",), item_shapes=((),)),
    units=st.sampled_from([1, 3, 17]),
    dtype=st.sampled_from(["float32", "float64"]),
    backwards=st.booleans(),
    wants_x=st.booleans(),
)
def test_gradients_are_those_of_the_loops(cell, ragged, units, dtype, backwards, wants_x):
    random = np.random.default_rng(len(ragged))
    rows, initial, of_outputs, of_last = drawn(cell, ragged, units, dtype, random)
    weights = weights_of(cell, FEATURES, units, random, dtype)
    outputs, last, gradients = gradients_of(
        cell, rows, weights, initial, backwards, of_outputs, of_last, wants_x
    )
    name = cell.name.lower()
    kept = np.ones(rows.n_steps, bool) if rows.mask is None else rows.mask
    batch, masks = lists(rows, rows.values), lists(rows, kept)
    arrays = [array.tolist() for array in weights]
    plain_outputs, *plain_last = getattr(reference, name)(
        batch, masks, *arrays, initial.tolist(), backwards
    )
    expected = reference.recur_gradient(
        getattr(reference, f"{name}_step_gradient"),
        getattr(reference, f"{name}_step"),
        cell.states,
        batch,
        masks,
        *arrays,
        lists(rows, of_outputs),
        of_last.tolist(),
        initial.tolist(),
        backwards,
    )

    def check(found, plain):
        plain = np.asarray(plain, "float64").reshape(found.shape)
        scale = max(1.0, np.abs(plain).max(initial=0))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, plain, 0, TOLERANCES[dtype] * scale)

    check(outputs, [step for row in plain_outputs for step in row])
    check(last, plain_last)
    of_x, *others = gradients
    assert (of_x is None) == (not wants_x)
    if wants_x:
        check(of_x, [step for row in expected[0] for step in row])
    for found, plain in zip(others, expected[1:], strict=True):
        check(found, plain)


@CELLS
def test_gradients_are_the_slopes_of_the_outputs(cell):
    random, units = np.random.default_rng(0), 3
    ragged = rm.Ragged.from_rows([[0.0] * 4, [], [0.0] * 2])
    mask = np.array([True, False, True, True, True, True])
    ragged = rm.Ragged(ragged.values, ragged.starts, ragged.lengths, mask)
    rows, initial, of_outputs, of_last = drawn(cell, ragged, units, "float64", random)
    weights = weights_of(cell, FEATURES, units, random)
    of_outputs[~mask] = 0
    arrays = [rows.values, *weights, initial]

    def weighed(arrays):
        x, *weights, initial = arrays
        results = recurrent.recur_and_keep(cell, rows.over(x), *weights, initial, False)
        return (results[0] * of_outputs).sum() + (results[1] * of_last).sum()

    _, _, gradients = gradients_of(cell, rows, weights, initial, False, of_outputs, of_last)
    for number, gradient in enumerate(gradients):
        direction = random.normal(size=gradient.shape)
        ahead, behind = list(arrays), list(arrays)
        ahead[number] = arrays[number] + 1e-6 * direction
        behind[number] = arrays[number] - 1e-6 * direction
        slope = (weighed(ahead) - weighed(behind)) / 2e-6
        np.testing.assert_allclose((gradient * direction).sum(), slope, 1e-7, 1e-7)


def large(cell, units=24):
    """Enough rows for several threads and tiles, and their gradients."""
    random = np.random.default_rng(1)
    lengths = np.minimum(random.geometric(0.1, 70), 40)
    lengths[::9] = 0
    values = random.normal(size=(lengths.sum(), FEATURES)).astype("float32")
    ragged = rm.Ragged.from_offsets(values, np.cumsum([0, *lengths]))
    rows, initial, of_outputs, of_last = drawn(cell, ragged, units, "float32", random)
    weights = weights_of(cell, FEATURES, units, random, "float32")
    return rows, weights, initial, of_outputs, of_last


@CELLS
@pytest.mark.parametrize("backwards", [False, True])
def test_a_layer_that_keeps_gives_the_bits_of_one_that_does_not(cell, backwards):
    rows, weights, initial, *_ = large(cell)
    outputs, last, _ = recurrent.recur_and_keep(cell, rows, *weights, initial, backwards)
    op = getattr(rm, cell.name.lower())
    holder = getattr(rm, f"{cell.name}Weights")(*weights)
    plain = op(rm.Ragged._of(rows), holder, initial_state=tuple(initial), go_backwards=backwards)
    np.testing.assert_array_equal(outputs, plain.outputs.values)
    np.testing.assert_array_equal(last, np.stack(plain[1:]))


@CELLS
def test_threads_change_no_bit(cell, num_threads, monkeypatch):
    rows, weights, initial, of_outputs, of_last = large(cell)
    monkeypatch.setattr(recurrent, "MULTIPLY_NS", 100.0)
    seen = set()
    for count in (1, 2, 5):
        num_threads(count)
        _, _, gradients = gradients_of(cell, rows, weights, initial, False, of_outputs, of_last)
        seen.add(b"".join(gradient.tobytes() for gradient in gradients))
    assert len(seen) == 1


@CELLS
def test_a_rows_gradients_do_not_know_other_rows(cell):
    rows, weights, initial, of_outputs, of_last = large(cell)
    _, _, gradients = gradients_of(cell, rows, weights, initial, False, of_outputs, of_last)
    for row in (0, 1, 13, 69):
        begin, end = rows.starts[row], rows.starts[row] + rows.lengths[row]
        alone = rm.Ragged.from_offsets(rows.values[begin:end], [0, end - begin])._rows
        states, some = (slice(None), slice(row, row + 1)), slice(begin, end)
        first, last = (np.ascontiguousarray(array[states]) for array in (initial, of_last))
        _, _, one = gradients_of(cell, alone, weights, first, False, of_outputs[some], last)
        np.testing.assert_array_equal(one[0], gradients[0][some])
        np.testing.assert_array_equal(one[-1], gradients[-1][states])


@CELLS
def test_nan_stays_in_its_row_and_masked_steps_do_not_matter(cell):
    rows, weights, initial, of_outputs, of_last = large(cell)
    mask = np.random.default_rng(2).random(rows.n_steps) < 0.8
    rows = rows.masked(mask)
    clean = gradients_of(cell, rows, weights, initial, False, of_outputs, of_last)[2]
    values, gradients = rows.values.copy(), of_outputs.copy()
    values[~mask] = gradients[~mask] = np.nan
    spoiled = gradients_of(cell, rows.over(values), weights, initial, False, gradients, of_last)[2]
    for one, other in zip(clean, spoiled, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not clean[0][~mask].any()

    row = int(rows.lengths.argmax())
    begin, end = rows.starts[row], rows.starts[row] + rows.lengths[row]
    values = rows.values.copy()
    values[begin:end][mask[begin:end]] = np.nan
    spoiled = gradients_of(cell, rows.over(values), weights, initial, False, of_outputs, of_last)[2]
    others = np.ones(rows.n_steps, bool)
    others[begin:end] = False
    np.testing.assert_array_equal(spoiled[0][others], clean[0][others])
    assert np.isnan(spoiled[0][begin:end]).any()


@CELLS
def test_rows_without_features_or_steps(cell):
    random = np.random.default_rng(0)
    for lengths, features in (([2, 0, 1], 0), ([0, 0], 3), ([], 3)):
        values = random.normal(size=(sum(lengths), features))
        rows = rm.Ragged.from_offsets(values, np.cumsum([0, *lengths]))._rows
        weights = weights_of(cell, features, 5, random)
        initial = random.normal(size=(cell.states, len(lengths), 5))
        _, _, gradients = gradients_of(cell, rows, weights, initial, False, None, initial)
        shapes = [values.shape, *(weight.shape for weight in weights), initial.shape]
        assert [gradient.shape for gradient in gradients] == shapes
        if not sum(lengths):
            assert not any(gradient.any() for gradient in gradients[1:4])
            np.testing.assert_array_equal(gradients[4], initial)


@CELLS
def test_no_gradients_of_outputs_or_states_are_zeros(cell):
    rows, weights, initial, of_outputs, of_last = large(cell)

    def run(of_outputs, of_last):
        return gradients_of(cell, rows, weights, initial, True, of_outputs, of_last)[2]

    for given_, zeros in (
        ((None, of_last), (0 * of_outputs, of_last)),
        ((of_outputs, None), (of_outputs, 0 * of_last)),
    ):
        for one, other in zip(run(*given_), run(*zeros), strict=True):
            np.testing.assert_array_equal(one, other)
