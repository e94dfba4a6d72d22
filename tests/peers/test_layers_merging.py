"""Layers that join batches, against Keras's: numbers and masks, of every kind of batch."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.interop.keras import from_keras
from tests.peers.keras_layers import (
    FEATURES,
    QUIET,
    ROWS,
    WIDTH,
    array,
    assert_all,
    assert_close,
    assert_steps,
    assert_twice,
    both_ways,
    few,
    frames,
    mask_on,
    tensor,
)
from tests.strategies import over

pytestmark = QUIET
OF_NUMBERS = ["Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"]
JOINING = [*[(name, {}) for name in OF_NUMBERS], ("Concatenate", {}), ("Concatenate", {"axis": 1})]


@st.composite
def several(draw, masked=(False, True)):
    """Two or three Raggeds of the same rows, some with masks."""
    first = draw(frames(masked=[False])).compact()
    random = np.random.default_rng(draw(st.integers(0, 99)))
    return [
        rm.Ragged(
            random.standard_normal(first.values.shape).astype("float32"),
            first.starts,
            first.lengths,
            random.random(first.n_steps) < 0.5 if draw(st.sampled_from(masked)) else None,
        )
        for _ in range(draw(st.integers(2, 3)))
    ]


def twins(name, **options):
    return getattr(keras.layers, name)(**options), getattr(rm.layers, name)(**options)


def as_taken(name, batches):
    return batches[:2] if name in ("Subtract", "Dot") else batches


@pytest.mark.parametrize(("name", "options"), JOINING)
@few
@given(batches=several())
def test_of_the_same_rows(name, options, batches):
    """A Ragged that has no mask is, padded, one whose mask says where its rows are."""
    batches = as_taken(name, batches)
    theirs, ours = twins(name, **options)
    padded = list(map(both_ways, batches))
    expected = theirs(list(map(tensor, padded)))
    assert_all(ours(padded), array(expected), mask_on(expected))
    assert_steps(ours(batches), array(expected), mask_on(expected))
    masks = [one.mask for one in padded]
    computed = theirs.compute_mask(list(map(tensor, padded)), masks)
    np.testing.assert_array_equal(ours.compute_mask(padded, masks), array(computed))


@pytest.mark.parametrize(("name", "options"), JOINING)
@few
@given(batches=several(), kinds=st.lists(st.sampled_from("mpd"), min_size=3, max_size=3))
def test_of_masked_and_unmasked_batches(name, options, batches, kinds):
    """Of a Padded with a mask, one without, and arrays."""
    batches = as_taken(name, batches)
    theirs, ours = twins(name, **options)
    padded = list(map(both_ways, batches))
    pairs = list(zip(padded, kinds, strict=False))
    expected = theirs([tensor(one, kind == "m") for one, kind in pairs])
    made = {
        "m": lambda one: one,
        "p": lambda one: rm.Padded(one.values),
        "d": lambda one: one.values,
    }
    assert_all(ours([made[kind](one) for one, kind in pairs]), array(expected), mask_on(expected))


@pytest.mark.parametrize("name", OF_NUMBERS)
@few
@given(batches=several())
def test_of_numbers(name, batches):
    """They are vectors of one to Keras, whose Maximum and others fail for numbers with masks."""
    batches = [over(one, one.values[:, :1]) for one in as_taken(name, batches)]
    theirs, ours = twins(name)
    padded = list(map(both_ways, batches))
    expected = theirs(list(map(tensor, padded)))
    flat = [rm.Padded(one.values[..., 0], one.mask) for one in padded]
    assert_all(ours(flat), array(expected)[..., 0], mask_on(expected))
    numbers = [over(one, one.values[:, 0]) for one in batches]
    assert_steps(ours(numbers), array(expected)[..., 0], mask_on(expected))
    bare = [one.values for one in flat]
    assert_all(ours(bare), array(theirs(bare)), None)


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("shape", [(FEATURES,), (1,), ()])
@few
@given(batches=several(masked=[True]), at=st.integers(0, 1))
def test_of_vectors_and_steps(name, shape, batches, at):
    """What has no time counts at each step, and takes the mask away."""
    theirs, ours = twins(name)
    vectors = np.random.default_rng(0).standard_normal((ROWS, *shape)).astype("float32")
    twice = np.concatenate([vectors, vectors])
    padded, ragged = both_ways(batches[0]), batches[0]

    def pair(steps, rows):
        return [steps, rows] if at else [rows, steps]

    expected = theirs(pair(tensor(padded), twice))
    assert mask_on(expected) is None
    assert_all(ours(pair(padded, twice)), array(expected), None)
    exists = both_ways(rm.Ragged(ragged.values, ragged.starts, ragged.lengths)).mask
    assert_steps(ours(pair(ragged, vectors)), array(expected), exists)


@pytest.mark.parametrize("name", OF_NUMBERS)
@few
@given(
    shapes=st.lists(
        st.sampled_from([(), (1,), (3,), (2, 3), (1, 3), (2, 1), (4, 2, 3), (1, 1, 1)]),
        min_size=2,
        max_size=3,
    ),
    dtypes=st.lists(st.sampled_from(["float32", "int32", "uint8"]), min_size=3, max_size=3),
)
def test_of_arrays_of_any_shape_and_dtype(name, shapes, dtypes):
    shapes = as_taken(name, shapes)
    theirs, ours = twins(name)
    random = np.random.default_rng(0)
    batches = [
        random.integers(0, 9, (ROWS, *shape)).astype(dtype)
        for shape, dtype in zip(shapes, dtypes, strict=False)
    ]
    expected = array(theirs(batches))
    given = ours(batches)
    assert given.shape == expected.shape
    assert given.dtype == expected.dtype
    assert_close(given, expected)


@few
@given(data=st.data(), rank=st.integers(1, 4), dtype=st.sampled_from(["float32", "int32"]))
def test_concatenate_of_arrays(data, rank, dtype):
    axis = data.draw(st.integers(-rank, rank - 1))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    random = np.random.default_rng(0)
    batches = []
    for size in sizes:
        shape = [2, 3, 1, 2][:rank]
        shape[axis] = size
        batches.append(random.integers(0, 9, shape).astype(dtype if not batches else "float32"))
    theirs, ours = twins("Concatenate", axis=axis)
    expected = array(theirs(batches))
    assert ours(batches).dtype == expected.dtype
    assert_all(ours(batches), expected, None)


# -- Dot ----------------------------------------------------------------------------------


@few
@given(
    data=st.data(),
    ranks=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    normalize=st.booleans(),
    negative=st.tuples(st.booleans(), st.booleans()),
)
def test_dot_of_arrays(data, ranks, normalize, negative):
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    axes, batches = [], []
    for rank, is_negative in zip(ranks, negative, strict=True):
        axis = data.draw(st.integers(1, rank - 1))
        shape = [ROWS, *random.integers(1, 4, rank - 1).tolist()]
        shape[axis] = 3
        axes.append(axis - rank if is_negative else axis)
        batches.append(random.standard_normal(shape).astype("float32"))
    theirs, ours = twins("Dot", axes=axes, normalize=normalize)
    expected = array(theirs(batches))
    assert ours(batches).shape == expected.shape
    assert_close(ours(batches), expected)


@pytest.mark.parametrize(
    "items", [(FEATURES, FEATURES), (1, FEATURES), (None, FEATURES), (None, None)]
)
@pytest.mark.parametrize("normalize", [False, True])
@few
@given(batches=several())
def test_dot_over_time(items, normalize, batches):
    """Padding counts in Keras, and is 0 here."""
    parts = [
        over(one, one.values[:, 0] if size is None else one.values[:, :size])
        for one, size in zip(batches, items, strict=False)
    ]
    theirs, ours = twins("Dot", axes=1, normalize=normalize)
    padded = list(map(both_ways, parts))
    expected = array(theirs([one.values for one in padded]))
    assert_twice(ours(parts), expected)
    assert_all(ours(padded), expected, None)


@pytest.mark.parametrize("normalize", [False, True])
@few
@given(batches=several(), at=st.integers(0, 1))
def test_dot_of_steps_and_vectors(normalize, batches, at):
    vectors = np.random.default_rng(0).standard_normal((ROWS, FEATURES)).astype("float32")
    theirs, ours = twins("Dot", axes=-1, normalize=normalize)
    padded, ragged = both_ways(batches[0]), batches[0]
    twice = np.concatenate([vectors, vectors])
    expected = array(theirs([padded.values, twice] if at else [twice, padded.values]))
    given = ours([padded, twice] if at else [twice, padded])
    assert isinstance(given, rm.Padded)
    assert_all(given, expected, None)
    exists = both_ways(rm.Ragged(ragged.values, ragged.starts, ragged.lengths)).mask
    assert_steps(ours([ragged, vectors] if at else [vectors, ragged]), expected, exists)


# -- models of Keras's ----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:layer .* uses masks and gets none")  # Keras says nothing
@pytest.mark.parametrize(("name", "options"), JOINING)
@few
@given(batches=several(), masked=st.lists(st.booleans(), min_size=3, max_size=3))
def test_models_with_masked_and_unmasked_branches(name, options, batches, masked):
    padded = list(map(both_ways, as_taken(name, batches)))
    entries = [keras.Input((WIDTH, FEATURES)) for _ in padded]
    branches = [
        keras.layers.Masking(0.0)(entry) if one else entry
        for entry, one in zip(entries, masked, strict=False)
    ]
    joined = getattr(keras.layers, name)(**options)(branches)
    last = keras.layers.LSTM(2, unroll=True)(joined)
    model = keras.Model(entries, [joined, last])
    arrays = [np.where(one.mask[..., None], one.values, np.float32(0)) for one in padded]
    expected = [*model(arrays)]
    given = from_keras(model)(arrays)
    masks = [
        np.any(one != 0, axis=-1) if has else None for one, has in zip(arrays, masked, strict=False)
    ]
    assert_all(given[0], array(expected[0]), array(joined_mask(name, options, arrays, masks)))
    assert_close(given[1], array(expected[1]))


def joined_mask(name, options, arrays, masks):
    return getattr(keras.layers, name)(**options).compute_mask(arrays, masks)


def test_a_model_of_everything_that_joins():
    steps, rows = keras.Input((WIDTH, FEATURES)), keras.Input((FEATURES,))
    layers = keras.layers
    masked = layers.Masking()(steps)
    summed = layers.Add()([masked, rows])
    scores = layers.Dot(axes=(2, 1), normalize=True, name="scores")([summed, rows])
    read = layers.Dot(axes=1, name="read")([scores, masked])
    less = layers.Subtract()([layers.Average()([rows, read]), layers.Maximum()([rows, read])])
    wide = layers.Concatenate()([layers.Minimum()([less, rows]), layers.Multiply()([less, rows])])
    model = keras.Model([steps, rows], [summed, scores, read, wide])
    random = np.random.default_rng(0)
    ragged = rm.Ragged.from_rows(
        [random.standard_normal((n, FEATURES)).astype("float32") for n in (3, 6, 1)]
    )
    vectors = random.standard_normal((3, FEATURES)).astype("float32")
    ours = from_keras(model)
    for padding in ("pre", "post"):
        padded = ragged.to_padded(WIDTH, padding=padding)
        expected = list(map(array, model([padded.values, vectors])))
        given = ours([padded.values, vectors])
        for one, other in zip(given, expected, strict=True):
            assert_close(one.values if isinstance(one, rm.Padded) else one, other)
    of_ragged = ours([ragged, vectors])
    assert_close(of_ragged[1].to_padded(WIDTH).values[padded.mask], expected[1][padded.mask])
    assert_close(of_ragged[3], expected[3])
