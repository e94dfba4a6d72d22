"""Operators on symbols, and brackets: the same as on the batches themselves."""

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import layers
from ragmask.layers.batch import mask_of
from tests.layers.examples import MASK, masks_of
from tests.strategies import over

OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "power": operator.pow,
    "mod": operator.mod,
    "less": operator.lt,
    "at least": operator.ge,
}
FUNCTIONS = np.exp, np.maximum, np.negative, np.abs, np.logical_and, np.tanh


def model_of(function, *shapes, dtype="float32"):
    inputs = [layers.Input(shape, dtype) for shape in shapes]
    return layers.Model(inputs, function(*inputs))


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name, frames):
    function = OPERATORS[name]
    other = rm.Ragged.from_offsets(abs(frames.values) + 1, frames.offsets)
    cases = [
        (lambda x, y: function(x, y), [frames, other]),
        (lambda x: function(x, 2), [frames]),
        (lambda x: function(2.5, x), [other]),
        (lambda x: function(x, np.arange(1, 5, dtype="float32")), [frames]),
    ]
    for call, batches in cases:
        model = model_of(call, *[(None, 4)] * len(batches))
        with np.errstate(all="ignore"):
            expected = call(*batches)
        found = model(batches)
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.dtype == expected.dtype == model.outputs[0].dtype
        assert masks_of(found) == masks_of(expected)
        padded = [one.to_padded() for one in batches]
        with np.errstate(all="ignore"):
            expected = call(*padded)
        np.testing.assert_array_equal(model(padded).values, expected.values)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.__name__)
def test_functions_of_numpy(function, frames):
    operands = function.nin
    model = model_of(lambda *x: function(*x), *[(None, 4)] * operands)
    found = model([frames] * operands)
    np.testing.assert_array_equal(found.values, function(*[frames] * operands).values)
    assert found.dtype == model.outputs[0].dtype
    assert masks_of(found) == MASK


def test_dense_rows():
    model = model_of(lambda x, y: (x - y) / 2, (3,), (3,))
    x, y = np.arange(6.0).reshape(2, 3).astype("float32"), np.ones((2, 3), "float32")
    np.testing.assert_array_equal(model([x, y]), (x - y) / 2)


def test_layers_of_operators_are_saved(frames, tmp_path):
    x = layers.Input((None, 4), name="x")
    y = np.maximum(x * np.float64(2) + np.arange(4, dtype="float32"), 0)[:, 1:, :2]
    model = layers.Model(x, [y, x[:, -1], x[..., ::-1]])
    batch = rm.Ragged.from_offsets(frames.values, [0, 3, 5])
    model.save(tmp_path / "model")
    again = layers.load_model(tmp_path / "model")
    json = layers.model_from_json(model.to_json())
    for one, other, third in zip(model(batch), again(batch), json(batch), strict=True):
        expected = getattr(one, "values", one)
        np.testing.assert_array_equal(getattr(other, "values", other), expected)
        np.testing.assert_array_equal(getattr(third, "values", third), expected)
        assert expected.dtype == np.float32


def test_what_operators_refuse(frames):
    x, y = layers.Input((None, 4), name="x"), layers.Input((4,), name="y")
    with pytest.raises(rm.UnsupportedTypeError, match="must be of one kind"):
        x + y
    with pytest.raises(rm.InvalidInputError, match="do not fit each other"):
        x + layers.Input((None, 3))
    with pytest.raises(rm.InvalidInputError, match="does not fit one step"):
        x + np.ones((2, 4))
    with pytest.raises(rm.UnsupportedTypeError, match=r"numpy\.matmul"):
        x @ np.ones((4, 2))
    for name in ("nothing", "matmul", "sum", "modf", 3):
        with pytest.raises(rm.InvalidInputError, match="no function of numpy"):
            layers.Operation(name)
    with pytest.raises(rm.InvalidInputError, match="takes 2 batches"):
        layers.Operation("add", [None, None])(frames)


# -- brackets -----------------------------------------------------------------------------

ENDS = st.none() | st.integers(-5, 5)


@st.composite
def batches(draw):
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    steps = sum(lengths) + 2
    values = np.arange(steps * 6, dtype="float32").reshape(steps, 2, 3)
    mask = draw(st.none() | st.just(np.arange(steps) % 3 > 0))
    order = draw(st.permutations(range(len(lengths))))
    return rm.Ragged(values, np.cumsum(lengths) - lengths + 1, lengths, mask)[list(order)]


@given(batch=batches(), start=ENDS, stop=ENDS, backwards=st.booleans(), item=ENDS)
def test_slices_of_time(batch, start, stop, backwards, item):
    key = slice(None, None, -1) if backwards else slice(start, stop)
    items = slice(item, None)
    model = model_of(lambda x: x[:, key, :, items], (None, 2, 3))
    found = model(batch)
    masks, kept_masks = (
        over(one, np.ones(len(one.values), bool) if one.mask is None else one.mask)
        for one in (batch, found)
    )
    for row, out, mask, kept in zip(batch, found, masks, kept_masks, strict=True):
        np.testing.assert_array_equal(out, row[key, :, items])
        np.testing.assert_array_equal(kept, mask[key])
    padded = batch.to_padded()
    if padded.values.shape[1]:
        np.testing.assert_array_equal(model(padded).values, padded.values[:, key, :, items])
        np.testing.assert_array_equal(model(padded).mask, padded.mask[:, key])


@given(batch=batches(), at=st.integers(-5, 5))
def test_one_step(batch, at):
    model = model_of(lambda x: x[:, at], (None, 2, 3))
    assert model.output.spec.shape == (None, 2, 3)
    if all(-len(row) <= at < len(row) for row in batch):
        np.testing.assert_array_equal(model(batch), [row[at] for row in batch])
    else:
        with pytest.raises(rm.InvalidInputError, match=r"row \d has \d steps, and none at"):
            model(batch)


def test_dense_arrays():
    x = np.arange(24, dtype="float32").reshape(2, 3, 4)
    for key in ((..., 1), (slice(None), 0), (slice(None), slice(1, None)), (slice(None), -1, 2)):
        inputs = layers.Input((3, 4))
        model = layers.Model(inputs, inputs[key])
        np.testing.assert_array_equal(model(x), x[key])
        assert model.outputs[0].shape[1:] == x[key].shape[1:] or x[key].ndim > 2
    rows = layers.Input((4,))
    np.testing.assert_array_equal(layers.Model(rows, rows[:, 1:3])(x[:, 0]), x[:, 0, 1:3])


def test_keys_that_do_not_fit():
    x = layers.Input((None, 3), name="x")
    for key, match in (
        ((0,), "rows are taken whole"),
        ((slice(1, None),), "rows are taken whole"),
        ((slice(None), slice(None, None, 2)), "in steps of 1 or -1"),
        ((slice(None), slice(None), 3), "no 3 in an axis of 3"),
        ((slice(None),) * 4, "4 entries is given for 3 axes"),
        ((..., 0, ...), "one ... at most"),
    ):
        with pytest.raises(rm.InvalidInputError, match=match):
            x[key]
    for key in (None, "a", 1.5, True, [0, 1]):
        with pytest.raises(rm.UnsupportedTypeError, match="is indexed by numbers"):
            x[:, key]
    with pytest.raises(rm.InvalidInputError, match="no 8 in an axis of 8"):
        layers.Input((8, 3))[:, 8]


def test_an_array_beside_a_masked_one():
    x, y = layers.Input((3, 4), name="x"), layers.Input((3, 4), name="y")
    masked = rm.Padded(np.ones((2, 3, 4), np.float32), np.tri(3, dtype=bool)[:2])
    sums = layers.Model([x, y], layers.Masking()(x) + y)([masked, masked.values])
    np.testing.assert_array_equal(sums.mask, masked.mask)
    assert (sums.values[sums.mask] == 2).all()


def test_masks_computed_by_hand(frames):
    padded = frames.to_padded()
    for key in (slice(1, None), slice(None, None, -1)):
        layer = layers.GetItem([slice(None), key])
        for batch in (frames, padded):
            found = layer.compute_mask(batch, mask_of(batch))
            expected = mask_of(layer(batch))
            np.testing.assert_array_equal(found.values, getattr(expected, "values", expected))
    assert layers.GetItem([slice(None), 0]).compute_mask(padded, padded.mask) is None
    forgets = layers.Operation("negative", keeps_mask=False)
    assert forgets(padded).mask is forgets.compute_mask(padded, padded.mask) is None
    assert masks_of(layers.Operation("negative")(frames)) == MASK
