"""Layers that join batches: of every kind, with masks of some, and what does not fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import layers
from tests.layers.examples import masks_of
from tests.strategies import over

OF_NUMBERS = {
    "add": layers.Add,
    "average": layers.Average,
    "maximum": layers.Maximum,
    "minimum": layers.Minimum,
    "multiply": layers.Multiply,
    "subtract": layers.Subtract,
}
MAKERS = {**OF_NUMBERS, "concatenate": layers.Concatenate, "dot": lambda: layers.Dot(1)}
MASK = [True, False, True, False]
OTHER = [True, True, False, False]


def steps(values, mask=None, offsets=(0, 3, 3, 4)):
    return rm.Ragged.from_offsets(np.array(values, "float32"), offsets, mask)


@st.composite
def several(draw):
    """Two Raggeds of the same rows of vectors, perhaps of no rows, and with masks."""
    lengths = np.array(draw(st.lists(st.integers(0, 4), max_size=4)), int)
    random = np.random.default_rng(draw(st.integers(0, 9)))

    def ragged():
        values = random.integers(-4, 5, (lengths.sum(), 3)).astype("float32")
        mask = random.random(len(values)) < 0.6 if draw(st.booleans()) else None
        return rm.Ragged(values, np.cumsum(lengths) - lengths, lengths, mask)

    return ragged(), ragged()


# -- the same rows, however they come -------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
@given(batches=several(), padding=st.sampled_from(["pre", "post"]), more=st.integers(0, 2))
def test_rows_give_the_same_numbers_and_masks_however_they_come(name, batches, padding, more):
    width = batches[0].max_length + more
    joined = MAKERS[name]()(list(batches))
    padded = MAKERS[name]()([one.to_padded(width, padding=padding) for one in batches])
    reversed_rows = MAKERS[name]()([one[::-1] for one in batches])
    if name == "dot":
        assert joined.shape == (len(batches[0]), 3, 3)
        np.testing.assert_array_equal(padded, joined)
        np.testing.assert_array_equal(reversed_rows, joined[::-1])
        return
    exists = rm.Ragged(batches[0].values, batches[0].starts, batches[0].lengths).to_padded(
        width, padding=padding
    )
    expected = joined.to_padded(width, padding=padding)
    np.testing.assert_array_equal(padded.values[exists.mask], expected.values[exists.mask])
    np.testing.assert_array_equal(padded.mask, expected.mask)
    assert [row.tolist() for row in reversed_rows] == [row.tolist() for row in joined[::-1]]


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_vector_a_row_counts_at_its_every_step(name):
    batch, rows = steps([[1, 2], [3, 4], [5, 6], [7, 8]]), np.array([[1, 2], [3, 4], [5, 6]])
    spread = batch.with_values(np.repeat(rows, batch.lengths, axis=0).astype("float32"))
    layer = OF_NUMBERS[name]()
    for pair, same in (([batch, rows], [batch, spread]), ([rows, batch], [spread, batch])):
        np.testing.assert_array_equal(layer(pair).values, layer(same).values)


def test_functions_are_layers_called_once():
    pair = [steps([1, 2, 3, 4]), steps([4, 3, 2, 1])]
    for name, make in MAKERS.items():
        function = getattr(layers, name)
        arguments = {"axes": 1} if name == "dot" else {"axis": 1} if name == "concatenate" else {}
        layer = layers.Concatenate(1) if name == "concatenate" else make()
        given, expected = function(pair, **arguments, name="once"), layer(pair)
        if isinstance(expected, rm.Ragged):
            given, expected = given.compact().values, expected.compact().values
        np.testing.assert_array_equal(given, expected)
    with pytest.raises(rm.InvalidInputError, match="in layer 'once'"):
        layers.subtract(pair * 2, name="once")


def test_integers_stay_integers_and_floats_their_own():
    ids, floats = np.ones((2, 3), "int32"), np.ones((2, 3), "float16")
    assert layers.Add()([ids, ids]).dtype == np.int32
    assert layers.Average()([ids, ids + 1]).tolist() == [[1.5] * 3] * 2
    assert layers.Average()([ids, ids]).dtype == np.float32
    assert layers.Multiply()([ids, floats]).dtype == np.float16
    assert layers.Concatenate()([ids, floats]).dtype == np.float16
    assert layers.Concatenate(1)([rm.Padded(ids), rm.Padded(floats)]).dtype == np.float16
    assert layers.Dot(-1)([ids, ids]).tolist() == [[3], [3]]
    assert layers.Dot(-1, normalize=True)([ids, ids]).dtype == np.float32
    assert layers.Dot(-1)([floats, floats]).dtype == np.float16


# -- masks ----------------------------------------------------------------------------------


def test_masked_steps():
    one, other = steps([1, 2, 3, 4], MASK), steps([5, 6, 7, 8], OTHER)
    expected = {
        "add": [6, 8, 10, 12],
        "average": [3, 4, 5, 6],
        "maximum": [5, 6, 3, 4],  # the last is masked in both
        "minimum": [1, 6, 3, 4],
        "multiply": [5, 6, 3, 0],
        "subtract": [-4, -4, -4, -4],
    }
    for name, values in expected.items():
        joined = OF_NUMBERS[name]()([one, other])
        assert joined.values.tolist() == values, name
        assert masks_of(joined) == [True, True, True, False]
        assert masks_of(OF_NUMBERS[name]()([one, steps([5, 6, 7, 8])])) is None


@pytest.mark.parametrize("bare", [rm.Padded, np.asarray])
def test_a_masked_and_an_unmasked_branch(bare):
    masked = rm.Padded(np.ones((1, 3, 2), "float32"), [[True, False, True]])
    other = bare(np.ones((1, 3, 2), "float32"))
    for pair in ([masked, other], [other, masked]):
        for make in OF_NUMBERS.values():
            joined = make()(pair)
            assert isinstance(joined, rm.Padded)
            assert joined.mask is None
        assert layers.Concatenate()(pair).mask.tolist() == [[True] * 3]
        kept = [True, False, True]
        in_time = [*kept, *[True] * 3] if pair[0] is masked else [*[True] * 3, *kept]
        assert layers.Concatenate(axis=1)(pair).mask.tolist() == [in_time]
        assert layers.TemporalConcat()(pair).mask.tolist() == [in_time]
        masks = [getattr(one, "mask", None) for one in pair]
        assert layers.TemporalConcat().compute_mask(pair, masks).tolist() == [in_time]


def test_masks_of_inputs_without_values():
    """As Keras's tests ask a layer that is called on nothing yet."""
    pair = [layers.Input((4, 5)), layers.Input((4, 5))]
    kept, masked = np.ones((2, 4), bool), np.zeros((2, 4), bool)
    for make in (layers.Add, layers.Concatenate):
        assert make().compute_mask(pair, [None, None]) is None
        assert make().compute_mask(pair, [kept, masked]).all()
    in_time = layers.Concatenate(axis=1).compute_mask(pair, [kept, masked])
    assert in_time.tolist() == [[True] * 4 + [False] * 4] * 2
    assert layers.Dot(1).compute_mask(pair, [kept, kept]) is None


@pytest.mark.parametrize("make", [layers.Add, layers.Maximum, layers.Concatenate])
@pytest.mark.parametrize(
    ("inputs", "mask", "match"),
    [
        ([np.ones((2, 3))] * 2, np.ones((2, 3), bool), "mask should be a list"),
        (np.ones((2, 3)), [None, None], "inputs should be a list"),
        ([np.ones((2, 3))] * 2, [None], r"the same length; got 2 inputs and 1 masks"),
    ],
)
def test_masks_that_are_not_those_of_the_inputs(make, inputs, mask, match):
    with pytest.raises(rm.InvalidInputError, match=match):
        make().compute_mask(inputs, mask)


# -- what does not fit ----------------------------------------------------------------------


FLAT, DEEP = np.ones((2, 3)), np.ones((2, 4, 3))
PAIR = rm.Ragged.from_rows([[1.0], [2.0, 3.0]])
VECTORS = over(PAIR, np.ones((3, 3)))


@pytest.mark.parametrize("make", [layers.Add, layers.Multiply, layers.Minimum])
@pytest.mark.parametrize(
    ("inputs", "error", "match"),
    [
        ([], rm.UnsupportedTypeError, "takes a list of batches; got list"),
        ([FLAT, None], rm.UnsupportedTypeError, "input 1 is a NoneType"),
        ([FLAT, np.ones((3, 3))], rm.InvalidInputError, r"shapes \(2, 3\) and \(3, 3\)"),
        ([FLAT, FLAT[:1]], rm.InvalidInputError, r"shapes \(2, 3\) and \(1, 3\)"),
        ([FLAT, DEEP[..., :2]], rm.InvalidInputError, r"\(2, 3\) and \(2, 4, 2\)"),
        ([PAIR, VECTORS], rm.InvalidInputError, r"shapes \(2, ·\) and \(2, ·, 3\)"),
        ([VECTORS, FLAT[:, :2]], rm.InvalidInputError, r"\(2, ·, 3\) and \(2, 2\)"),
        ([rm.Padded(FLAT), DEEP], rm.InvalidInputError, r"\(2, 3\) and \(2, 4, 3\)"),
        ([VECTORS, DEEP], rm.UnsupportedTypeError, r"got Ragged, ndarray: .* to_padded\(\)"),
        ([VECTORS, VECTORS.to_padded()], rm.UnsupportedTypeError, "got Padded, Ragged"),
    ],
)
def test_batches_that_do_not_go_together(make, inputs, error, match):
    with pytest.raises(error, match=f"(?s){match}.*in layer 'join'"):
        make(name="join")(inputs)


@pytest.mark.parametrize(
    ("layer", "inputs", "error", "match"),
    [
        (layers.Subtract(), [FLAT] * 3, rm.InvalidInputError, "exactly 2 batches; got 3"),
        (layers.Subtract(), [FLAT > 0] * 2, rm.UnsupportedTypeError, "do not go together"),
        (layers.Add(), [np.array(["a"])] * 2, rm.UnsupportedTypeError, "strings become ids first"),
        (layers.Concatenate(), [np.array(["a"])] * 2, rm.UnsupportedTypeError, "become ids first"),
        (layers.Dot(1), [FLAT], rm.InvalidInputError, "exactly 2 batches; got 1"),
        (layers.Dot(0), [FLAT] * 2, rm.InvalidInputError, "axes=0 are not axes"),
        (layers.Dot((1, 3)), [FLAT, DEEP], rm.InvalidInputError, r"axes=\(1, 3\) are not axes"),
        (layers.Dot(1), [FLAT, DEEP], rm.InvalidInputError, r"axes 1 and 1: .* \(2, 4, 3\)"),
        (layers.Dot(1), [FLAT, FLAT[:1]], rm.InvalidInputError, r"\(2, 3\) and \(1, 3\)"),
        (layers.Dot(-1), [VECTORS] * 2, rm.UnsupportedTypeError, "MultiHeadAttention"),
        (layers.Dot((1, 2)), [VECTORS] * 2, rm.UnsupportedTypeError, "over the time of two"),
        (layers.Dot(1), [PAIR, PAIR[::-1]], rm.InvalidInputError, "row 0: 1 steps and 2 steps"),
        (layers.Dot(-1), [VECTORS, DEEP], rm.UnsupportedTypeError, "got Ragged, ndarray"),
        (layers.Concatenate(), [FLAT, DEEP], rm.InvalidInputError, r"\(2, 3\) and \(2, 4, 3\)"),
        (layers.Concatenate(2), [FLAT] * 2, rm.InvalidInputError, r"\(2, 3\); got 2"),
        (layers.Concatenate(), [DEEP, DEEP[:, :2]], rm.InvalidInputError, "more than axis 2"),
        (layers.Concatenate(), [VECTORS, DEEP], rm.UnsupportedTypeError, "got Ragged, ndarray"),
    ],
)
def test_what_one_layer_does_not_take(layer, inputs, error, match):
    with pytest.raises(error, match=match):
        layer(inputs)


@pytest.mark.parametrize("axes", ["1", 1.0, (1, 2, 3), [True, 1], None])
def test_axes_that_are_none(axes):
    with pytest.raises(rm.RagmaskError, match="axes is an integer, or two"):
        layers.Dot(axes)


@pytest.mark.parametrize("axis", ["1", 1.0, None, True])
def test_an_axis_that_is_none(axis):
    with pytest.raises(rm.UnsupportedTypeError, match="axis is an integer"):
        layers.Concatenate(axis)


# -- in models ------------------------------------------------------------------------------


def test_models_of_them_are_saved(tmp_path):
    x, rows = layers.Input((None, 3), name="x"), layers.Input((3,), name="rows")
    kept = layers.Masking()(x)
    parts = [make(name=name)([kept, x]) for name, make in OF_NUMBERS.items()]
    joined = layers.Concatenate(axis=-1)([layers.Add()([parts[0], rows]), *parts[1:]])
    scores = layers.Dot(axes=(-1, 1), normalize=True, name="scores")([x, rows])
    read = layers.Dot(axes=1, name="read")([scores, joined])
    model = layers.Model([x, rows], [joined, scores, read])
    model.save(tmp_path / "model")
    again = layers.load_model(tmp_path / "model")
    assert again.get_layer("scores").get_config() == {
        "axes": (-1, 1),
        "normalize": True,
        "name": "scores",
    }
    random = np.random.default_rng(0)
    batch = steps(random.standard_normal((4, 3)))
    vectors = random.standard_normal((3, 3)).astype("float32")
    for one, other in zip(model([batch, vectors]), again([batch, vectors]), strict=True):
        assert type(one) is type(other)
        values = [part.values if isinstance(part, rm.Ragged) else part for part in (one, other)]
        np.testing.assert_array_equal(*values)
    for name, make in MAKERS.items():
        config = make().get_config()
        assert type(make()).from_config(config).get_config() == config, name
