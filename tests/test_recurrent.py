"""LSTM, GRU and simple recurrent layer over the kept steps of rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import FLOATS, as_kind, assert_rows, lists_of, raggeds, with_normals

# float32 against the reference in Python's doubles
TOLERANCES = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-12}


CELLS = {
    "lstm": (rm.lstm, rm.LSTMWeights, reference.lstm),
    "gru": (rm.gru, rm.GRUWeights, reference.gru),
    "rnn": (rm.rnn, rm.RNNWeights, reference.rnn),
}
of_each_cell = pytest.mark.parametrize(("op", "kind", "plain"), CELLS.values(), ids=CELLS)


def weights_of(features, units, kind=rm.LSTMWeights, seed=0):
    random = np.random.default_rng(seed)
    scales = 0.5, 1 / np.sqrt(units), 0.5
    shapes = kind.shapes(features, units)
    return kind(*(random.normal(0, *one) for one in zip(scales, shapes, strict=True)))


def states_of(rows, units, weights, seed=1):
    shape = weights.cell.states, rows, units
    return tuple(np.random.default_rng(seed).standard_normal(shape))


def expected_of(plain, batch, weights, initial_state=None, **options):
    arrays = (weights.kernel, weights.recurrent_kernel, weights.bias)
    if initial_state is not None:
        initial_state = [state.tolist() for state in initial_state]
    lists = [array.tolist() for array in arrays]
    return plain(*lists_of(batch), *lists, initial_state, **options)


def assert_same_bits(result, expected):
    """Of the outputs, and of each state."""
    outputs, *states = result
    assert outputs.values.tobytes() == expected[0].values.tobytes()
    assert [one.tobytes() for one in states] == [one.tobytes() for one in expected[1:]]


def batch_of(lengths, features=5, dtype="float32", seed=0):
    lengths = np.asarray(lengths, np.int64)
    values = np.random.default_rng(seed).standard_normal((int(lengths.sum()), features))
    return rm.Ragged(values.astype(dtype), np.cumsum(lengths) - lengths, lengths)


OPTIONS = st.fixed_dictionaries(
    {}, optional={"go_backwards": st.booleans(), "zero_output_for_mask": st.booleans()}
)


@of_each_cell
@given(
    raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=6),
    st.sampled_from(["ragged", "padded", "dense"]),
    st.sampled_from(FLOATS),
    st.sampled_from([0, 1, 3, 17]),
    st.sampled_from([1, 3, 17, 33]),
    OPTIONS,
    st.booleans(),
)
def test_it_is_the_reference(
    op, kind, plain, ragged, form, dtype, features, units, options, with_state
):
    batch = as_kind(with_normals(ragged, dtype, (features,)), form)
    weights = weights_of(features, units, kind)
    state = states_of(len(ragged), units, weights) if with_state else None
    outputs, *states = op(batch, weights, initial_state=state, **options)
    expected, *last = expected_of(plain, batch, weights, state, **options)
    tolerance = TOLERANCES[dtype]
    rows, masks = lists_of(outputs)
    assert_rows(rows, expected, tolerance)
    assert masks == lists_of(batch)[1]
    for ours, theirs in zip(states, last, strict=True):
        theirs = np.array(theirs).reshape(len(batch), units)
        np.testing.assert_allclose(ours, theirs, tolerance, tolerance)
        assert ours.dtype == dtype
    assert type(outputs) is type(batch)
    assert outputs.dtype == dtype

    none, *alone = op(batch, weights, initial_state=state, outputs=False, **options)
    assert none is None
    assert [one.tobytes() for one in alone] == [one.tobytes() for one in states]


@of_each_cell
def test_more_units_than_panels_hold(op, kind, plain):
    batch, weights = batch_of([3, 1, 4], dtype="float64"), weights_of(5, 300, kind)
    outputs, *states = op(batch, weights)
    expected, *last = expected_of(plain, batch, weights)
    assert_rows(lists_of(outputs)[0], expected, 1e-12)
    np.testing.assert_allclose(states, last, 1e-12, 1e-12)


# -- rows in flight -----------------------------------------------------------------------


@of_each_cell
@pytest.mark.parametrize("units", [3, 16, 17])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("equal", [True, False])
def test_any_number_of_rows_gives_each_its_own_bits(
    op, kind, plain, units, dtype, equal, num_threads
):
    """At every number of rows a tile and the slots may hold, and around them."""
    num_threads(1)
    lengths = np.full(97, 4) if equal else np.random.default_rng(0).integers(0, 9, 97)
    batch, weights = batch_of(lengths, dtype=dtype), weights_of(5, units, kind)
    alone = [op(batch[[row]], weights) for row in range(97)]
    for rows in (*range(1, 14), *range(46, 51), 97):
        outputs, *states = op(batch[:rows], weights)
        for row in range(rows):
            assert outputs[row].tobytes() == alone[row].outputs.values.tobytes()
            for ours, theirs in zip(states, alone[row][1:], strict=True):
                assert ours[row].tobytes() == theirs.tobytes()


@of_each_cell
def test_lengths_that_differ_by_far(op, kind, plain, num_threads):
    lengths = [2000, 0, 1, *np.random.default_rng(0).lognormal(1, 1.5, 300).astype(int), 700]
    batch, weights = batch_of(lengths), weights_of(5, 17, kind)
    result = op(batch, weights)
    for row in (0, 1, 2, 50, 150, 303):
        alone = op(batch[[row]], weights)
        assert result.outputs[row].tobytes() == alone.outputs.values.tobytes()
        assert result.h[row].tobytes() == alone.h.tobytes()
    last = np.array([row[-1] if len(row) else np.zeros(17, "f4") for row in result.outputs])
    assert result.h.tobytes() == last.tobytes()
    for threads in (1, 2, 5):
        num_threads(threads)
        assert_same_bits(op(batch, weights), result)


# -- masks and states ---------------------------------------------------------------------


@of_each_cell
def test_masked_steps_leave_the_states_alone_and_repeat_outputs(op, kind, plain):
    batch, weights = batch_of([7], dtype="float64"), weights_of(5, 3, kind)
    mask = np.array([False, True, False, False, True, True, False])
    kept = op(batch.with_values(batch.values)[[0]], weights, mask=mask)
    alone = op(rm.Ragged(batch.values[mask], [0], [3]), weights)
    first, second, third = alone.outputs.values
    nothing = np.zeros(3)
    np.testing.assert_array_equal(
        kept.outputs.values, [nothing, first, first, first, second, third, third]
    )
    zeroed = op(batch, weights, mask=mask, zero_output_for_mask=True)
    np.testing.assert_array_equal(
        zeroed.outputs.values, [nothing, first, nothing, nothing, second, third, nothing]
    )
    for result in (kept, zeroed):
        np.testing.assert_array_equal(result[1:], alone[1:])
        np.testing.assert_array_equal(result.outputs.mask, mask)


@of_each_cell
@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_row_with_no_kept_step_returns_its_initial_state(op, kind, plain, go_backwards):
    batch = batch_of([2, 0, 3]).with_values(np.full((5, 5), np.nan, np.float32))
    weights, mask = weights_of(5, 17, kind), np.zeros(5, bool)
    state = states_of(3, 17, weights)
    options = {"mask": mask, "initial_state": state, "go_backwards": go_backwards}
    outputs, *states = op(batch, weights, **options)
    np.testing.assert_array_equal(states, np.array(state, "f4"))
    assert not outputs.values.any()


@of_each_cell
def test_a_state_carries_a_row_on(op, kind, plain):
    """Two halves, the second from the state of the first, are the whole."""
    batch, weights = batch_of([6, 4, 1, 0]), weights_of(5, 17, kind)
    first, second = rm.temporal_split(batch)
    begun, *between = op(first, weights)
    done, *last = op(second, weights, initial_state=tuple(between))
    joined = rm.temporal_concat([begun, done])
    assert_same_bits((joined, *last), op(batch, weights))


@of_each_cell
def test_go_backwards_is_the_reversed_row_with_aligned_outputs(op, kind, plain):
    batch, weights = batch_of([5, 3]), weights_of(5, 17, kind)
    mask = np.array([1, 1, 0, 1, 1, 0, 1, 1], bool)
    place = np.array([4, 3, 2, 1, 0, 7, 6, 5])
    backwards = op(batch, weights, mask=mask, go_backwards=True)
    outputs, *states = op(batch.with_values(batch.values[place]), weights, mask=mask[place])
    assert_same_bits(backwards, (outputs.with_values(outputs.values[place]), *states))


@of_each_cell
def test_weights_of_another_precision(op, kind, plain):
    """Steps say what is computed in, weights are rounded to it."""
    batch, weights = batch_of([3, 2]), weights_of(5, 17, kind)
    names = ("kernel", "recurrent_kernel", "bias")
    single = kind(*(getattr(weights, name).astype("f4") for name in names))
    assert op(batch, weights).h.tobytes() == op(batch, single).h.tobytes()
    double = batch.with_values(batch.values.astype("f8"))
    assert op(double, single).h.dtype == np.float64


@pytest.mark.parametrize("op", [rm.gru, rm.rnn])
def test_one_state_may_come_alone(op):
    kind = rm.GRUWeights if op is rm.gru else rm.RNNWeights
    batch, weights = batch_of([2, 0, 1]), weights_of(5, 3, kind)
    (h,) = states_of(3, 3, weights)
    results = [op(batch, weights, initial_state=state) for state in (h, (h,), [h], h.tolist())]
    for result in results[1:]:
        assert_same_bits(result, results[0])
    for state in ((h, h), h[:2], np.zeros((3, 4)), np.zeros(3)):
        with pytest.raises(rm.InvalidInputError, match="initial_state's h has shape"):
            op(batch, weights, initial_state=state)


# -- accuracy and memory ------------------------------------------------------------------


@pytest.mark.parametrize("op", [rm.lstm, rm.gru])
def test_float32_is_close_to_float64_after_100_steps(op):
    """Keras's default initialisers: Glorot uniform, orthogonal, and ones for the forget gate."""
    kind = rm.LSTMWeights if op is rm.lstm else rm.GRUWeights
    features, units, random = 64, 128, np.random.default_rng(0)
    of_kernel, (_, columns), of_bias = kind.shapes(features, units)
    limit = np.sqrt(6 / (features + columns))
    orthogonal, _ = np.linalg.qr(random.standard_normal((columns, units)))
    bias = np.zeros(of_bias)
    if op is rm.lstm:
        bias[units : 2 * units] = 1
    kernel = random.uniform(-limit, limit, of_kernel)
    weights = kind(*(a.astype("f4") for a in (kernel, orthogonal.T, bias)))
    batch = batch_of([100] * 16, features)
    outputs, *states = op(batch, weights)
    exact, *exact_states = op(batch.with_values(batch.values.astype("f8")), weights)
    assert np.abs(outputs.values - exact.values).max() < 2e-6
    for ours, theirs in zip(states, exact_states, strict=True):
        assert np.abs(ours - theirs).max() < 4e-6


# -- what is refused ----------------------------------------------------------------------

ROWS = batch_of([2, 0, 1])


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (batch_of([2], features=4), {}, r"x has steps of shape \(4,\); .* made for \(5,\)"),
        (rm.Ragged.from_rows([[1.0]]), {}, r"x has steps of shape \(\)"),
        (np.zeros((2, 3, 5, 1), "f4"), {}, r"x has steps of shape \(5, 1\)"),
        (ROWS.with_values(np.zeros((3, 5), int)), {}, "must be float16, .*; got int64: convert"),
        (ROWS.with_values(np.zeros((3, 5), "g")), {}, "must be float16, .*; got float128"),
        (ROWS, {"mask": np.ones(4, bool)}, r"mask has shape \(4,\); its values need \(3,\)"),
        (ROWS, {"initial_state": np.zeros((2, 3, 3))}, r"a pair \(h, c\), .* got ndarray"),
        (ROWS, {"initial_state": (np.zeros((3, 3)),)}, r"is a pair \(h, c\)"),
        (ROWS, {"initial_state": (np.zeros((3, 3)), np.zeros((2, 3)))}, r"c has shape \(2, 3\)"),
        (ROWS, {"initial_state": (np.zeros((3, 4)), np.zeros((3, 3)))}, r"h has shape \(3, 4\)"),
        (ROWS, {"initial_state": (np.zeros((3, 3), complex), np.zeros((3, 3)))}, "h holds no real"),
        (ROWS, {"initial_state": (np.zeros((3, 3)), [["a"]])}, "initial_state's c has dtype <U1"),
    ],
)
def test_what_does_not_fit_is_refused(x, options, message):
    with pytest.raises(rm.RagmaskError, match=message):
        rm.lstm(x, weights_of(5, 3), **options)


@of_each_cell
def test_weights_must_be_weights(op, kind, plain):
    with pytest.raises(rm.UnsupportedTypeError, match=f"must be {kind.__name__}; got list"):
        op(ROWS, [np.zeros((5, 12)), np.zeros((3, 12)), np.zeros(12)])
    other = rm.GRUWeights if op is rm.lstm else rm.LSTMWeights
    with pytest.raises(rm.UnsupportedTypeError, match=f"{kind.__name__}; got {other.__name__}"):
        op(ROWS, weights_of(5, 3, other))


@of_each_cell
@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_no_rows_in_a_foreign_byte_order_reach_no_kernel(op, kind, plain, dtype):
    result = op(np.zeros((0, 4, 5), dtype), weights_of(5, 3, kind))
    assert result.outputs.shape == (0, 4, 3)
    assert result.h.shape == (0, 3)
