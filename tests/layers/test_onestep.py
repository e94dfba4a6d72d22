"""Layers of one step: masks, kinds of batches, rows without steps, and what is refused."""

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers
from tests.layers.examples import MASK, masks_of

RAGGED = rm.Ragged.from_offsets(
    np.random.default_rng(0).standard_normal((5, 4)).astype("f4"), [0, 3, 3, 5], MASK
)
ALL = {
    "dense": lambda: layers.Dense(3, "silu"),
    "einsum": lambda: layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d"),
    "elu": layers.ELU,
    "leaky relu": layers.LeakyReLU,
    "prelu": lambda: layers.PReLU("he_normal", shared_axes=1),
    "softmax": layers.Softmax,
    "softmax over time": lambda: layers.Softmax(axis=1),
    "layer normalization": layers.LayerNormalization,
    "rms": layers.RMSNormalization,
    "unit": layers.UnitNormalization,
    "batch normalization": layers.BatchNormalization,
    "distributed": lambda: layers.TimeDistributed(layers.Dense(2, "relu")),
}
PASSING = [name for name in ALL if name != "einsum"]


def close(one, other):
    np.testing.assert_allclose(one, other, 1e-5, 1e-6)


@pytest.mark.parametrize("name", ALL)
def test_rows_are_the_same_however_they_lie(name):
    layer = ALL[name]()
    expected = layer(RAGGED)
    assert masks_of(expected) == (MASK if name in PASSING else None)
    view = layer(RAGGED[[2, 0, 1]])
    close(np.concatenate([view[1], view[0]]), expected.values)
    for padding in ("pre", "post"):
        padded = RAGGED.to_padded(4, padding=padding)
        whole = layer(padded)
        kept = np.zeros(padded.mask.shape, bool)
        kept[[0, 0, 2, 2]] = padded.mask[[0, 0, 2, 2]]
        steps = np.concatenate([expected.values[:3][MASK[:3]], expected.values[3:][MASK[3:]]])
        close(whole.values[kept], steps)
        assert (whole.mask is None) == (name not in PASSING)
    equal = rm.Ragged.from_offsets(RAGGED.values[:4], [0, 2, 4])
    close(layer(equal.to_padded().values).reshape(4, -1), layer(equal).values)


@pytest.mark.parametrize("name", ALL)
def test_rows_without_steps(name):
    empty = rm.Ragged.from_offsets(np.empty((0, 4), "f4"), [0, 0, 0])
    layer = ALL[name]()
    assert layer(empty).lengths.tolist() == [0, 0]
    assert len(layer(empty[:0])) == 0
    assert layer(np.empty((0, 3, 4), "f4")).shape[:2] == (0, 3)
    assert layer(np.empty((2, 0, 4), "f4")).shape[:2] == (2, 0)


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded(name, tmp_path):
    entry = layers.Input((None, 4))
    model = layers.Model(entry, ALL[name]()(entry))
    model.set_weights([np.full_like(one, 0.5) for one in model.get_weights()])
    model.save(tmp_path / "model")
    again = layers.load_model(tmp_path / "model")
    assert again(RAGGED).values.tobytes() == model(RAGGED).values.tobytes()
    (layer,) = model.layers
    twin = type(layer).from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()


@pytest.mark.parametrize("name", ALL)
def test_a_nan_stays_in_its_row(name):
    values = RAGGED.values.copy()
    values[0] = np.nan
    layer = ALL[name]()
    expected, spoilt = layer(RAGGED), layer(RAGGED.with_values(values))
    np.testing.assert_array_equal(spoilt[2], expected[2])


def test_dense_computes_in_its_weights_dtype():
    x = np.ones((2, 3))
    assert layers.Dense(2)(x).dtype == "float32"
    assert layers.Dense(2, dtype="float64")(x).dtype == "float64"
    assert layers.Dense(2)(x.astype("i8")).dtype == "float32"
    with pytest.raises(rm.UnsupportedTypeError, match="lora_rank=2 is for Keras"):
        layers.Dense(2, lora_rank=2)
    assert layers.Dense.from_config(layers.Dense(2, lora_rank=None).get_config()).units == 2


def test_ids_without_time():
    embedding = layers.Embedding(4, 3, mask_zero=True)
    ids = np.array([2, 0, 2])
    vectors = embedding(ids)
    assert vectors.shape == (3, 3)
    np.testing.assert_array_equal(vectors, embedding.embeddings[ids])
    assert layers.Embedding(4, 3)(layers.Input((), "int32")).spec.shape == (None, 3)
    table = np.ones((4, 3))
    assert layers.Embedding(4, 3, weights=table)(ids).tolist() == [[1, 1, 1]] * 3


def test_activations_by_function(tmp_path):
    entry = layers.Input((3,))
    swish = layers.activations.silu
    model = layers.Model(entry, layers.Dense(2, activation=swish)(entry))
    assert model.layers[0].get_config()["activation"] == "silu"
    model.save(tmp_path / "model")
    x = np.ones((2, 3), "f4")
    assert (layers.load_model(tmp_path / "model")(x) == model(x)).all()
    own = layers.Activation(lambda values: values[..., :1] * 2)
    assert own(RAGGED).item_shape == (1,)
    assert own.compute_output_shape((None, None, 4)) == (None, None, 1)
    with pytest.raises(rm.UnsupportedTypeError, match="cannot be saved"):
        layers.Model(entry, layers.Activation(lambda values: values)(entry)).save(tmp_path / "own")
    numbers = rm.Ragged.from_rows([[1.0, 2.0]])
    for name in ("softmax", "log_softmax", "sparsemax", "glu"):
        with pytest.raises(rm.InvalidInputError, match=f"{name} is over the features of a step"):
            layers.Activation(name)(numbers)
    with pytest.raises(rm.InvalidInputError, match="glu halves the features of a step; got 3"):
        layers.Activation("glu")(np.ones((2, 3)))


def test_masked_steps_get_no_share():
    for axis in (-1, 1):
        shares = layers.Softmax(axis)(RAGGED)
        assert not shares.values[1].any()
        assert shares.mask.tolist() == MASK
    mask = np.array([[True, False, True], [False, False, False]])
    shares = layers.Softmax()(np.ones((2, 3), "f4"), mask=mask)
    assert shares.tolist() == [[0.5, 0, 0.5], [0, 0, 0]]
    with pytest.raises(rm.InvalidInputError, match=r"mask has shape \(3, 3\), not broadcastable"):
        layers.Softmax()(np.ones((2, 3), "f4"), mask=np.ones((3, 3), bool))
    with pytest.raises(rm.InvalidInputError, match=r"axis=\(1, 2\): of a Ragged it is over time"):
        layers.Softmax((1, 2))(RAGGED)


# -- chance -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ragged", "padded", "dense"])
def test_one_choice_a_row(kind):
    ragged = rm.Ragged.from_offsets(np.ones((60, 40), "f4"), [0, 20, 40, 60])
    batch = {"ragged": ragged, "padded": ragged.to_padded(), "dense": ragged.to_padded().values}
    for layer in (layers.Dropout(0.5, (None, 1, None), 3), layers.SpatialDropout1D(0.5, 3)):
        dropped = layer(batch[kind], training=True)
        rows = (
            [dropped[row] for row in range(3)]
            if kind == "ragged"
            else list(getattr(dropped, "values", dropped))
        )
        for row in rows:
            assert (row == row[0]).all()
            assert 0 < row[0].mean() < 2
        assert not np.array_equal(rows[0], rows[1])


def test_layers_of_one_seed_choose_alike():
    made = [layers.GaussianNoise(0.5, seed=4) for _ in range(2)]
    first, second = ([layer(RAGGED, training=True) for _ in range(2)] for layer in made)
    for one, other in zip(first, second, strict=True):
        assert one.values.tobytes() == other.values.tobytes()
    assert first[0].values.tobytes() != first[1].values.tobytes()
    same = layers.Dropout(0.5, (1, None, None), seed=0)(RAGGED * 0 + 1, training=True)
    assert np.array_equal(same[0][:2], same[2])
    with pytest.raises(rm.InvalidInputError, match=r"make its time None .* or 1"):
        layers.Dropout(0.5, (None, 3, None))(RAGGED, training=True)
    with pytest.raises(rm.InvalidInputError, match="which does not fit inputs of shape"):
        layers.Dropout(0.5, (None, 1, 3))(RAGGED, training=True)
    with pytest.raises(rm.InvalidInputError, match="noise_shape is a tuple of None and of numbers"):
        layers.Dropout(0.5, (0, 1))
    with pytest.raises(rm.InvalidInputError, match="rate is below 1"):
        layers.GaussianDropout(1)


# -- pools --------------------------------------------------------------------------------


def test_global_pools():
    for cls, how in ((layers.GlobalAveragePooling1D, "mean"), (layers.GlobalMaxPooling1D, "max")):
        expected = layers.TemporalPool(how)(RAGGED)
        assert not expected[1].any()
        for batch in (RAGGED, RAGGED.to_padded()):
            close(cls()(batch), expected)
            close(cls(keepdims=True)(batch), expected[:, None])
            close(layers.TemporalPool(how, keepdims=True)(batch), expected[:, None])
            with pytest.raises(rm.UnsupportedTypeError, match="which is for arrays"):
                cls("channels_first")(batch)
        dense = np.arange(24, dtype="f4").reshape(2, 3, 4)
        close(cls("channels_first")(dense), cls()(dense.swapaxes(1, 2)))
    assert layers.GlobalAvgPool1D is layers.GlobalAveragePooling1D
    assert layers.GlobalMaxPool1D is layers.GlobalMaxPooling1D
    assert layers.GlobalAveragePooling1D()(np.ones((2, 3, 1), "i8")).dtype == "float32"
    mask = np.array([[1, 0, 0], [0, 0, 1]])
    given = layers.GlobalAveragePooling1D()(np.arange(6.0).reshape(2, 3, 1), mask)
    assert given.tolist() == [[0], [5]]


# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.LayerNormalization(1)(RAGGED), "axis=1: it is over features, and the fir"),
        (lambda: layers.LayerNormalization(5)(RAGGED), "axis=5: it is out of bounds"),
        (lambda: layers.LayerNormalization("last"), "axis is a number, or a list of numbers"),
        (lambda: layers.UnitNormalization(1)(RAGGED), "axis=1: it is over features"),
        (lambda: layers.BatchNormalization(1)(RAGGED), "axis=1: of inputs .* rows or time"),
        (lambda: layers.BatchNormalization(renorm=True), "renorm=True"),
        (lambda: layers.PReLU()(RAGGED), r"share them in time, with shared_axes=\[1\]"),
        (lambda: layers.PReLU(shared_axes=[3])(RAGGED), r"shared_axes=\[3\]; .* they are 1 to 2"),
        (lambda: layers.EinsumDense("abc,cd->adb", (2, None))(RAGGED), "pass it to_padded"),
        (lambda: layers.EinsumDense("abc,de->abe", (None, 2))(RAGGED), "size of 'd' .* not known"),
        (lambda: layers.EinsumDense("abc;cd", 2), r"an equation is \[X\],\[Y\]->\[Z\]"),
        (lambda: layers.EinsumDense("ab,bc->ac", 2)(RAGGED), "is not of inputs of 3 axes"),
        (lambda: layers.TimeDistributed("dense"), "holds a layer, an instance of one"),
        (lambda: layers.TimeDistributed(layers.Dense(2))(np.ones((2, 3))), "steps that are arrays"),
        (lambda: layers.RepeatVector(2)(RAGGED), "repeats vectors, an array"),
        (lambda: layers.ReLU(-1.0), "max_value must be at least 0"),
    ],
)
def test_refused(make, message):
    with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError), match=f"(?s){message}"):
        make()


@pytest.mark.parametrize("name", ALL)
def test_steps_of_another_size_are_refused(name):
    layer = ALL[name]()
    layer(RAGGED)
    if layer.weights:
        with pytest.raises(rm.InvalidInputError, match="was built for inputs of shape"):
            layer(rm.Ragged.from_rows([[[1.0, 2.0]]]))


STRANGE = {
    "no features": np.empty((3, 0), "f4"),
    "not finite": np.array([[np.inf, -np.inf], [1, 2], [np.nan, 0]], "f4"),
    "huge": np.full((3, 2), 3e38, "f4"),
    "large halves": np.full((3, 2), 6e4, "f2"),
    "bools": np.ones((3, 2), bool),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("values", STRANGE)
@pytest.mark.parametrize("name", [*ALL, "dropout"])
def test_strange_numbers(name, values, training):
    """They give numbers, and no warning: warnings are errors in tests."""
    x = STRANGE[values]
    for mask in (None, np.zeros(3, bool)):
        ragged = rm.Ragged.from_offsets(x, [0, 2, 3], mask)
        for batch in (ragged, ragged.to_padded(), ragged.to_padded().values):
            layer = {**ALL, "dropout": lambda: layers.Dropout(0.5)}[name]()
            if (name, values, training) == ("dropout", "bools", True):
                with pytest.raises(rm.UnsupportedTypeError, match="which bool cannot hold"):
                    layer(batch, training=training)
            else:
                assert type(layer(batch, training=training)) is type(batch)
