"""Names, weights, and how layers are built."""

import copy
import math
import pickle

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers
from tests.layers.examples import (
    Builds,
    two_inputs,
)


def test_names_are_of_the_class_and_numbered():
    class TwoWordsLSTM(layers.Layer):
        pass

    assert [TwoWordsLSTM().name for _ in range(3)] == [
        "two_words_lstm",
        "two_words_lstm_1",
        "two_words_lstm_2",
    ]
    assert layers.Dense(2, name="head").name == "head"


@pytest.mark.parametrize("name", ["", "a/b", 3])
def test_names_are_words(name):
    with pytest.raises(rm.InvalidInputError, match="a layer's name is a word"):
        layers.Dense(2, name=name)


def test_weights_are_keras_shapes_in_keras_order(frames):
    dense, lstm = layers.Dense(3), layers.LSTM(5)
    dense(frames)
    lstm(frames)
    assert [array.shape for array in dense.get_weights()] == [(4, 3), (3,)]
    assert [array.shape for array in lstm.get_weights()] == [(4, 20), (5, 20), (20,)]
    for kind, shapes in (
        (layers.GRU, [(4, 15), (5, 15), (2, 15)]),
        (layers.SimpleRNN, [(4, 5), (5, 5), (5,)]),
    ):
        layer = kind(5)
        layer(frames)
        assert [array.shape for array in layer.get_weights()] == shapes
        assert not layer.get_weights()[2].any()
    assert lstm.get_weights()[2].tolist() == [0] * 5 + [1] * 5 + [0] * 10
    assert lstm.count_params() == 80 + 100 + 20
    both = layers.Bidirectional(layers.LSTM(5, name="words"))
    both(frames)
    assert [name for name, _ in both.named_weights()] == [
        f"{both.name}/{lstm}/{weight}"
        for lstm in ("forward_words", "backward_words")
        for weight in ("kernel", "recurrent_kernel", "bias")
    ]
    bare = layers.LSTM(5, use_bias=False)
    bare(frames)
    assert len(bare.weights) == 2
    biased = layers.LSTM(5, unit_forget_bias=False)
    biased(frames)
    assert not biased.get_weights()[2].any()


def test_set_weights_changes_what_was_packed(frames):
    first, second = layers.LSTM(5), layers.LSTM(5)
    expected = first(frames)
    assert np.abs(second(frames) - expected).max() > 0
    second.set_weights(first.get_weights())
    assert second(frames).tobytes() == expected.tobytes()

    class Around(layers.Layer):
        def __init__(self, lstm):
            super().__init__()
            self.lstm = lstm

        def call(self, inputs):
            return self.lstm(inputs)

    outer = Around(layers.Bidirectional(layers.LSTM(5)))
    outer(frames)
    halves = first.get_weights() * 2
    outer.set_weights(halves)
    assert outer(frames)[:, :5].tobytes() == expected.tobytes()
    model = layers.Sequential([layers.Embedding(5, 4, mask_zero=True), layers.LSTM(5)])
    words = rm.Ragged.from_rows([[1, 2], [3]])
    model(words)
    model.set_weights([np.zeros((5, 4)), *first.get_weights()])
    zeros = rm.Ragged.from_offsets(np.zeros((3, 4), "f4"), [0, 2, 3])
    np.testing.assert_allclose(model(words), first(zeros), 1e-6)


def test_weights_are_read_only_and_get_weights_copies(frames):
    dense = layers.Dense(3)
    before = dense(frames).values.copy()
    for weight in dense.weights:
        with pytest.raises(ValueError, match="read-only"):
            weight[...] = 0
    for weight in dense.get_weights():
        weight[...] = 0
    assert dense(frames).values.tobytes() == before.tobytes()


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ([], "has 2 weights; got 0$"),
        ([np.ones((4, 3))] * 3, "has 2 weights; got 3$"),
        ([np.ones((3, 4)), np.ones(3)], r"weight 'head/kernel' has shape \(4, 3\); got \(3, 4\)"),
        ([np.ones((4, 3)), np.ones((3, 1))], r"weight 'head/bias' has shape \(3,\)"),
        ([np.ones((4, 3)), ["a"] * 3], "weight 'head/bias' is float32; got <U1"),
        ([np.ones((4, 3), complex), np.ones(3)], "weight 'head/kernel' is float32; got complex128"),
        ([np.full((4, 3), None), np.ones(3)], "weight 'head/kernel' is float32; got object"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(weights, match, frames):
    dense = layers.Dense(3, name="head")
    before = dense(frames).values.tobytes()
    with pytest.raises(rm.RagmaskError, match=f"layer 'head'.*{match}"):
        dense.set_weights(weights)
    assert dense(frames).values.tobytes() == before


def test_weights_before_the_first_batch():
    with pytest.raises(rm.InvalidInputError, match="not built yet: call it on a batch, or build"):
        layers.Dense(3).set_weights([np.ones((4, 3)), np.ones(3)])
    assert layers.Dense(3).count_params() == 0


def test_build_is_called_once_with_none_for_rows_and_time(frames):
    layer = Builds()
    assert not layer.built
    layer(frames)
    layer(frames.to_padded())
    layer(np.ones((2, 7, 4), "f4"))
    assert layer.shapes == [(None, None, 4)]
    assert layer.built
    flat = Builds()
    flat(np.ones((2, 4)))
    assert flat.shapes == [(None, 4)]
    several = Builds()
    several([frames, np.ones((3, 2))])
    assert several.shapes == [[(None, None, 4), (None, 2)]]


def test_a_build_that_failed_is_tried_again(frames):
    layer = layers.Dense(3)
    with pytest.raises(rm.InvalidInputError, match=layer.name):
        layer(rm.Ragged.from_rows([[1.0, 2.0]]))
    assert not layer.built
    assert layer(frames).item_shape == (3,)


@pytest.mark.parametrize("make", [lambda: layers.Dense(3), lambda: layers.LSTM(3), Builds])
@pytest.mark.parametrize("form", ["ragged", "padded", "dense"])
def test_other_features_than_it_was_built_for(make, form, frames):
    layer = make()
    layer(frames)
    other = frames.with_values(np.ones((5, 6), "f4"))
    if form != "ragged":
        other = other.to_padded()
    match = rf"layer '{layer.name}' was built for inputs of shape \(·, ·, 4\); got \(·, ·, 6\)"
    with pytest.raises(rm.InvalidInputError, match=match):
        layer(other.values if form == "dense" else other)


def test_arrays_of_ids_may_have_any_width():
    class Looks(layers.Layer):
        def build(self, input_shape):
            self.table = self.add_weight((5, 2), name="table")

        def call(self, inputs):
            return rm.embedding(inputs, self.table)

    layer = Looks()
    for width in (3, 5):
        assert layer(np.ones((2, width), int)).shape == (2, width, 2)
    assert layer(rm.Ragged.from_rows([[1]])).item_shape == (2,)
    dense = layers.Dense(2)
    dense(np.ones((2, 3), int))
    with pytest.raises(rm.InvalidInputError, match=r"built for inputs of shape \(·, 3\)"):
        dense(np.ones((2, 4), int))


def test_add_weight():
    layer = layers.Layer(name="own")
    weight = layer.add_weight(shape=3, initializer=lambda shape: np.arange(3), dtype="float64")
    assert weight.tolist() == [0, 1, 2]
    assert weight.dtype == np.float64
    assert next(layer.named_weights())[0] == "own/weight_0"
    with pytest.raises(rm.InvalidInputError, match="layer 'own' has a weight 'weight_0' already"):
        layer.add_weight((2,), name="weight_0")
    with pytest.raises(rm.InvalidInputError, match="'bad' gave shape"):
        layer.add_weight((2,), lambda shape: np.ones(3), name="bad")
    with pytest.raises(rm.InvalidInputError, match="initializer must be one of"):
        layer.add_weight((2,), "he_norml", name="worse")
    assert len(layer.weights) == 1


def test_initializers():
    layers.set_random_seed(3)
    layer = layers.Layer()
    drawn = layer.add_weight((30, 50))
    assert np.abs(drawn).max() <= math.sqrt(6 / 80)
    assert np.abs(drawn).max() > 0.95 * math.sqrt(6 / 80)
    for shape in ((4, 16), (16, 4)):
        q = layer.add_weight(shape, "orthogonal")
        product = q @ q.T if shape[0] < shape[1] else q.T @ q
        np.testing.assert_allclose(product, np.eye(4), atol=1e-6)
    normal = layer.add_weight((100, 100), "random_normal")
    assert abs(normal.std() - 0.05) < 0.002
    layers.set_random_seed(3)
    assert layers.Layer().add_weight((30, 50)).tobytes() == drawn.tobytes()


def test_layers_inside_layers_are_tracked(frames):
    class Nest(layers.Layer):
        def __init__(self):
            super().__init__(name="nest")
            self.one = layers.Dense(4, name="a")
            self.more = [layers.Dense(4, name="b"), (layers.Dense(4, name="c"),)]
            self.named = {"last": layers.Dense(4, name="d"), "number": 3}
            self.again = self.one
            self._hidden = layers.Dense(4, name="e")
            self.me = self

        def call(self, inputs):
            for layer in self.sublayers:
                inputs = layer(inputs)
            return inputs

    nest = Nest()
    nest.layers = [nest.one]  # a name like any other
    assert [layer.name for layer in nest.sublayers] == list("abcde")
    nest(frames)
    assert nest.count_params() == 5 * (16 + 4)
    assert [name for name, _ in nest.named_weights()][:3] == [
        "nest/a/kernel",
        "nest/a/bias",
        "nest/b/kernel",
    ]
    nest.set_weights([np.zeros(weight.shape) for weight in nest.weights])
    assert not nest(frames).values.any()


def test_weights_that_two_layers_share_are_counted_once(frames):
    class Shares(layers.Layer):
        def __init__(self, dense):
            super().__init__(name="shares")
            self.dense = dense
            self.stack = layers.Sequential([dense])

        def call(self, inputs):
            return self.stack(self.dense(inputs))

    dense = layers.Dense(4, name="d")
    shares = Shares(dense)
    shares(frames)
    assert [name for name, _ in shares.named_weights()] == ["shares/d/kernel", "shares/d/bias"]
    x = layers.Input((None, 4))
    models = [layers.Sequential([layers.Input((None, 4)), dense]) for _ in range(2)]
    model = layers.Model(x, layers.Add()([one(x) for one in models]))
    assert model.count_params() == 20
    model.set_weights([np.eye(4), np.zeros(4)])
    np.testing.assert_array_equal(model(frames).values, frames.values * 2)


def test_a_copy_is_a_layer_of_its_own(frames):
    lstm = layers.LSTM(3)
    expected = lstm(frames)
    other = copy.deepcopy(lstm)
    assert not any(weight.flags.writeable for weight in other.weights)
    other.set_weights([np.zeros(weight.shape) for weight in other.weights])
    assert lstm(frames).tobytes() == expected.tobytes()
    assert not other(frames).any()


def test_models_can_be_pickled(ids):
    model = two_inputs()
    expected = model([ids, ids])["last"]
    other = pickle.loads(pickle.dumps(model))
    assert other([ids, ids])["last"].tobytes() == expected.tobytes()
    assert [name for name, _ in other.named_weights()] == [
        name for name, _ in model.named_weights()
    ]
    other.set_weights([np.zeros(weight.shape) for weight in other.weights])
    assert not other([ids, ids])["last"].any()
    assert model([ids, ids])["last"].tobytes() == expected.tobytes()
