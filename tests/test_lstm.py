"""The LSTM over the kept steps of rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import FLOATS, as_kind, assert_rows, lists_of, raggeds, with_normals

# float32 against the reference in Python's doubles
TOLERANCES = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-12}


def weights_of(features, units, seed=0):
    random = np.random.default_rng(seed)
    return rm.LSTMWeights(
        random.normal(0, 0.5, (features, 4 * units)),
        random.normal(0, 1 / np.sqrt(units), (units, 4 * units)),
        random.normal(0, 0.5, 4 * units),
    )


def states_of(rows, units, seed=1):
    return tuple(np.random.default_rng(seed).standard_normal((2, rows, units)))


def expected_of(batch, weights, initial_state=None, **options):
    arrays = (weights.kernel, weights.recurrent_kernel, weights.bias)
    if initial_state is not None:
        initial_state = [state.tolist() for state in initial_state]
    lists = [array.tolist() for array in arrays]
    return reference.lstm(*lists_of(batch), *lists, initial_state, **options)


def batch_of(lengths, features=5, dtype="float32", seed=0):
    lengths = np.asarray(lengths, np.int64)
    values = np.random.default_rng(seed).standard_normal((int(lengths.sum()), features))
    return rm.Ragged(values.astype(dtype), np.cumsum(lengths) - lengths, lengths)


OPTIONS = st.fixed_dictionaries(
    {}, optional={"go_backwards": st.booleans(), "zero_output_for_mask": st.booleans()}
)


@given(
    raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=6),
    st.sampled_from(["ragged", "padded", "dense"]),
    st.sampled_from(FLOATS),
    st.sampled_from([0, 1, 3, 17]),
    st.sampled_from([1, 3, 17, 33]),
    OPTIONS,
    st.booleans(),
)
def test_it_is_the_reference(ragged, kind, dtype, features, units, options, with_state):
    batch = as_kind(with_normals(ragged, dtype, (features,)), kind)
    weights = weights_of(features, units)
    state = states_of(len(ragged), units) if with_state else None
    result = rm.lstm(batch, weights, initial_state=state, **options)
    outputs, h, c = expected_of(batch, weights, state, **options)
    tolerance = TOLERANCES[dtype]
    rows, masks = lists_of(result.outputs)
    assert_rows(rows, outputs, tolerance)
    assert masks == lists_of(batch)[1]
    for ours, expected in ((result.h, h), (result.c, c)):
        expected = np.array(expected).reshape(len(batch), units)
        np.testing.assert_allclose(ours, expected, tolerance, tolerance)
        assert ours.dtype == dtype
    assert type(result.outputs) is type(batch)
    assert result.outputs.dtype == dtype

    states_alone = rm.lstm(batch, weights, initial_state=state, outputs=False, **options)
    assert states_alone.outputs is None
    assert states_alone.h.tobytes() == result.h.tobytes()
    assert states_alone.c.tobytes() == result.c.tobytes()


def test_more_units_than_panels_hold():
    batch, weights = batch_of([3, 1, 4], dtype="float64"), weights_of(5, 300)
    outputs, _, c = expected_of(batch, weights)
    result = rm.lstm(batch, weights)
    assert_rows(lists_of(result.outputs)[0], outputs, 1e-12)
    np.testing.assert_allclose(result.c, c, 1e-12, 1e-12)


# -- rows in flight -----------------------------------------------------------------------


@pytest.mark.parametrize("units", [3, 16, 17])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("equal", [True, False])
def test_any_number_of_rows_gives_each_its_own_bits(units, dtype, equal, num_threads):
    """At every number of rows a tile and the slots may hold, and around them."""
    num_threads(1)
    lengths = np.full(97, 4) if equal else np.random.default_rng(0).integers(0, 9, 97)
    batch, weights = batch_of(lengths, dtype=dtype), weights_of(5, units)
    alone = [rm.lstm(batch[[row]], weights) for row in range(97)]
    for rows in (*range(1, 14), *range(46, 51), 97):
        outputs, h, c = rm.lstm(batch[:rows], weights)
        for row in range(rows):
            assert outputs[row].tobytes() == alone[row].outputs.values.tobytes()
            assert h[row].tobytes() == alone[row].h.tobytes()
            assert c[row].tobytes() == alone[row].c.tobytes()


def test_lengths_that_differ_by_far(num_threads):
    lengths = [2000, 0, 1, *np.random.default_rng(0).lognormal(1, 1.5, 300).astype(int), 700]
    batch, weights = batch_of(lengths), weights_of(5, 17)
    outputs, h, _ = rm.lstm(batch, weights)
    for row in (0, 1, 2, 50, 150, 303):
        alone = rm.lstm(batch[[row]], weights)
        assert outputs[row].tobytes() == alone.outputs.values.tobytes()
        assert h[row].tobytes() == alone.h.tobytes()
    last = np.array([row[-1] if len(row) else np.zeros(17, "f4") for row in outputs])
    assert h.tobytes() == last.tobytes()


# -- masks and states ---------------------------------------------------------------------


def test_masked_steps_leave_the_states_alone_and_repeat_outputs():
    batch, weights = batch_of([7], dtype="float64"), weights_of(5, 3)
    mask = np.array([False, True, False, False, True, True, False])
    kept = rm.lstm(batch.with_values(batch.values)[[0]], weights, mask=mask)
    alone = rm.lstm(rm.Ragged(batch.values[mask], [0], [3]), weights)
    first, second, third = alone.outputs.values
    nothing = np.zeros(3)
    np.testing.assert_array_equal(
        kept.outputs.values, [nothing, first, first, first, second, third, third]
    )
    zeroed = rm.lstm(batch, weights, mask=mask, zero_output_for_mask=True)
    np.testing.assert_array_equal(
        zeroed.outputs.values, [nothing, first, nothing, nothing, second, third, nothing]
    )
    for result in (kept, zeroed):
        np.testing.assert_array_equal(result.h, alone.h)
        np.testing.assert_array_equal(result.c, alone.c)
        np.testing.assert_array_equal(result.outputs.mask, mask)


@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_row_with_no_kept_step_returns_its_initial_state(go_backwards):
    batch = batch_of([2, 0, 3]).with_values(np.full((5, 5), np.nan, np.float32))
    mask = np.zeros(5, bool)
    h0, c0 = states_of(3, 17)
    result = rm.lstm(
        batch, weights_of(5, 17), mask=mask, initial_state=(h0, c0), go_backwards=go_backwards
    )
    np.testing.assert_array_equal(result.h, h0.astype("f4"))
    np.testing.assert_array_equal(result.c, c0.astype("f4"))
    assert not result.outputs.values.any()


def test_a_state_carries_a_row_on():
    """Two halves, the second from the state of the first, are the whole."""
    batch, weights = batch_of([6, 4, 1, 0]), weights_of(5, 17)
    whole = rm.lstm(batch, weights)
    first, second = rm.temporal_split(batch)
    begun = rm.lstm(first, weights)
    done = rm.lstm(second, weights, initial_state=(begun.h, begun.c))
    assert done.h.tobytes() == whole.h.tobytes()
    assert done.c.tobytes() == whole.c.tobytes()
    joined = rm.temporal_concat([begun.outputs, done.outputs])
    assert joined.values.tobytes() == whole.outputs.values.tobytes()


def test_go_backwards_is_the_reversed_row_with_aligned_outputs():
    batch, weights = batch_of([5, 3]), weights_of(5, 17)
    mask = np.array([1, 1, 0, 1, 1, 0, 1, 1], bool)
    place = np.array([4, 3, 2, 1, 0, 7, 6, 5])
    backwards = rm.lstm(batch, weights, mask=mask, go_backwards=True)
    reversed_ = rm.lstm(batch.with_values(batch.values[place]), weights, mask=mask[place])
    assert backwards.outputs.values.tobytes() == reversed_.outputs.values[place].tobytes()
    assert backwards.h.tobytes() == reversed_.h.tobytes()


def test_weights_of_another_precision():
    """Steps say what is computed in, weights are rounded to it."""
    batch, weights = batch_of([3, 2]), weights_of(5, 17)
    names = ("kernel", "recurrent_kernel", "bias")
    single = rm.LSTMWeights(*(getattr(weights, name).astype("f4") for name in names))
    assert rm.lstm(batch, weights).h.tobytes() == rm.lstm(batch, single).h.tobytes()
    double = batch.with_values(batch.values.astype("f8"))
    assert rm.lstm(double, single).h.dtype == np.float64


# -- accuracy and memory ------------------------------------------------------------------


def test_float32_is_close_to_float64_after_100_steps():
    """Keras's default initialisers: Glorot uniform, orthogonal, and ones for the forget gate."""
    features, units, random = 64, 128, np.random.default_rng(0)
    limit = np.sqrt(6 / (features + 4 * units))
    orthogonal, _ = np.linalg.qr(random.standard_normal((4 * units, units)))
    bias = np.zeros((4, units))
    bias[1] = 1
    kernel = random.uniform(-limit, limit, (features, 4 * units))
    weights = rm.LSTMWeights(*(a.astype("f4") for a in (kernel, orthogonal.T, bias.reshape(-1))))
    batch = batch_of([100] * 16, features)
    single = rm.lstm(batch, weights)
    double = rm.lstm(batch.with_values(batch.values.astype("f8")), weights)
    assert np.abs(single.outputs.values - double.outputs.values).max() < 2e-6
    assert np.abs(single.c - double.c).max() < 4e-6


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


def test_weights_must_be_weights():
    with pytest.raises(rm.UnsupportedTypeError, match="weights must be LSTMWeights; got list"):
        rm.lstm(ROWS, [np.zeros((5, 12)), np.zeros((3, 12)), np.zeros(12)])
