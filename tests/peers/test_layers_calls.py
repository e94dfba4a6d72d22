"""How layers and models are called, against Keras: operators, training, shapes, parts of models."""

import operator

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragmask as rm
from tests.peers.keras_layers import array, assert_close

pytestmark = pytest.mark.filterwarnings(  # of Keras, in its get_weights() under numpy 2.4
    "ignore:__array__ implementation:DeprecationWarning"
)
few = settings(max_examples=10)
SHAPES = st.sampled_from([(3,), (4, 3), (2, 1, 3)])


def both(function, *shapes):
    """Models of the same function of inputs, in both libraries."""
    models = []
    for library, model in ((keras, keras.Model), (rm, rm.layers.Model)):
        inputs = [library.layers.Input(shape) for shape in shapes]
        models.append(model(inputs, function(*inputs)))
    return models


def batches(*shapes):
    random = np.random.default_rng(0)
    return [random.uniform(0.5, 2, (3, *shape)).astype("float32") for shape in shapes]


OPERATORS = "add", "sub", "mul", "truediv", "pow", "lt", "le", "gt", "ge", "floordiv", "mod"


@pytest.mark.parametrize("name", OPERATORS)
@few
@given(shape=SHAPES, other=st.sampled_from([2, 0.5, None]), reflected=st.booleans())
def test_operators(name, shape, other, reflected):
    function = getattr(operator, name)

    def call(x, y=other):
        return function(y, x) if reflected else function(x, y)

    shapes = [shape] if other is not None else [shape, shape]
    theirs, ours = both(call, *shapes)
    given = batches(*shapes)
    np.testing.assert_allclose(ours(given), array(theirs(given)), 1e-5)


@pytest.mark.parametrize("name", ["neg", "abs"])
def test_signs(name):
    theirs, ours = both(lambda x: getattr(operator, name)(x - 1), (4, 3))
    given = batches((4, 3))
    assert_close(ours(given), array(theirs(given)))


ENDS = st.none() | st.integers(-4, 4)


@few
@given(
    at=st.integers(-4, 3),
    ends=st.tuples(ENDS, ENDS),
    items=st.sampled_from([..., 1, -1, slice(1, None), slice(None, -1)]),
)
def test_brackets(at, ends, items):
    rest = () if items is ... else (items,)
    given = batches((4, 3))
    for key in ((slice(None), at, *rest), (slice(None), slice(*ends), *rest), (..., items)):
        if key == (..., ...):
            continue
        theirs, ours = both(lambda x, key=key: x[key], (4, 3))
        np.testing.assert_array_equal(ours(given), array(theirs(given)))


@pytest.mark.parametrize("given", [None, False, True])
@pytest.mark.parametrize("fixed", [None, False, True])
@pytest.mark.parametrize("in_model", [False, True])
def test_training(given, fixed, in_model):
    """What the layers inside are told."""

    def told_by(library, model):
        told = []

        class Told(library.layers.Layer):
            def call(self, inputs, training=None):
                told.append(training)
                return inputs

        class Holder(library.layers.Layer):
            def __init__(self):
                super().__init__()
                self.inner = Told()

            def call(self, inputs):
                return self.inner(inputs) if fixed is None else self.inner(inputs, training=fixed)

        layer = Holder()
        called = layer
        if in_model:
            x = library.layers.Input((2,))
            called = model(x, layer(x))
        told.clear()
        called(np.ones((1, 2), np.float32), **{} if given is None else {"training": given})
        return told[-1]

    assert bool(told_by(rm, rm.layers.Model)) is bool(told_by(keras, keras.Model))


LAYERS = {
    "dense": lambda of: of.Dense(5),
    "embedding": lambda of: of.Embedding(7, 5),
    "masking": lambda of: of.Masking(),
    "activation": lambda of: of.Activation("relu"),
    "dropout": lambda of: of.Dropout(0.3),
    "lstm": lambda of: of.LSTM(5),
    "lstm of steps": lambda of: of.LSTM(5, return_sequences=True),
    "gru with state": lambda of: of.GRU(5, return_state=True),
    "both ways": lambda of: of.Bidirectional(of.LSTM(5, return_sequences=True)),
    "both ways, mean": lambda of: of.Bidirectional(of.GRU(5), merge_mode="ave"),
    "add": lambda of: of.Add(),
    "concatenate": lambda of: of.Concatenate(),
    "concatenate in time": lambda of: of.Concatenate(axis=1),
}


@pytest.mark.parametrize("name", LAYERS)
@few
@given(rows=st.none() | st.integers(1, 5), steps=st.none() | st.integers(1, 5))
def test_shapes(name, rows, steps):
    theirs, ours = (LAYERS[name](one) for one in (keras.layers, rm.layers))
    shape = (rows, steps) if name == "embedding" else (rows, steps, 4)
    given = [shape, shape] if name.startswith(("add", "concat")) else shape
    expected = theirs.compute_output_shape(given)
    found = ours.compute_output_shape(given)
    several = isinstance(expected[0], tuple)
    assert (list(found) if several else found) == (list(expected) if several else expected)


def test_parts_of_models():
    def parts(library, model):
        x = library.layers.Input((3,))
        first = library.layers.Dense(4, activation="tanh", name="first")
        second = library.layers.Dense(2, name="second")
        whole = model(x, second(first(x)))
        return whole, model(whole.inputs, first.output), model(first.output, whole.outputs)

    theirs, ours = parts(keras, keras.Model), parts(rm, rm.layers.Model)
    ours[0].set_weights(theirs[0].get_weights())
    (x,) = batches((3,))
    hidden = array(theirs[1]([x]))
    assert_close(ours[1](x), hidden)
    assert_close(ours[2](hidden), array(keras.tree.flatten(theirs[2](hidden))[0]))
    assert_close(ours[0](x), array(theirs[0](x)))


@pytest.mark.parametrize("shape", [(None, 3), (2, 3), (None, 5, 3)])
def test_sequential_models_are_built_and_shortened(shape):
    theirs, ours = (
        of([library.layers.Dense(4), library.layers.Dense(2), library.layers.Dense(1)])
        for of, library in ((keras.Sequential, keras), (rm.layers.Sequential, rm))
    )
    for model in (theirs, ours):
        model.build(shape)
        assert model.built
        model.pop()
    ours.set_weights(theirs.get_weights())
    (x,) = batches(shape[1:])
    assert_close(ours(x), array(theirs(x)))
    assert ours.output_shape[-1] == theirs.output_shape[-1]


def scored(library):
    class Scored(library.layers.Layer):
        """Takes several batches, and notes the masks that it is shown."""

        def __init__(self):
            super().__init__()
            self.supports_masking = True

        def call(self, query, value=None, query_mask=None, value_mask=None):
            self.__dict__["seen"] = query_mask, value_mask
            return query if value is None else query + value

    return Scored()


@pytest.mark.parametrize("by_name", [False, True])
@few
@given(st.data())
def test_masks_of_several_batches(by_name, data):
    from keras.src.backend import set_keras_mask

    masks = [data.draw(st.booleans()) for _ in range(2)]
    drawn = np.random.default_rng(data.draw(st.integers(0, 9))).random((2, 3, 4)) < 0.5
    values = batches((4, 2), (4, 2))
    theirs, ours = scored(keras), scored(rm)
    tensors = [keras.ops.convert_to_tensor(one) for one in values]
    padded = []
    for tensor, value, mask, has in zip(tensors, values, drawn, masks, strict=True):
        if has:
            set_keras_mask(tensor, keras.ops.convert_to_tensor(mask))
        padded.append(rm.Padded(value, mask if has else None))
    if by_name:
        theirs(query=tensors[0], value=tensors[1])
        ours(query=padded[0], value=padded[1])
    else:
        theirs(*tensors)
        ours(*padded)
    for one, other in zip(ours.seen, theirs.seen, strict=True):
        np.testing.assert_equal(one, None if other is None else array(other))


@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith(("both", "add"))])
def test_configs_of_keras_make_layers(name):
    theirs = LAYERS[name](keras.layers)
    ours = type(LAYERS[name](rm.layers)).from_config(theirs.get_config())
    assert ours.name == theirs.name
    config = theirs.get_config()
    known = {
        key: config[key] for key in ours.get_config() if isinstance(config.get(key), int | str)
    }
    assert {key: ours.get_config()[key] for key in known} == known


def branched(library, model):
    """Two ways of unequal length to one output, and a layer that is called twice."""
    x, y = library.layers.Input((4,), name="x"), library.layers.Input((4,), name="y")
    dense = {name: library.layers.Dense(4, name=name) for name in "abcdefg"}
    short = dense["a"](x)
    long = dense["d"](dense["c"](dense["b"](y)))
    shared = [dense["e"](short), dense["e"](dense["f"](long))]
    joined = library.layers.Add()([short, long, *shared])
    return model([x, y], [dense["g"](joined), library.layers.Multiply()([short, shared[1]])])


def test_weights_of_models_are_in_keras_order():
    theirs, ours = branched(keras, keras.Model), branched(rm, rm.layers.Model)
    names = [
        layer.name for layer in theirs.layers if len(layer.name) == 1 and layer.name not in "xy"
    ]
    assert [layer.name for layer in ours.layers if len(layer.name) == 1] == names
    random = np.random.default_rng(0)
    theirs.set_weights([random.normal(0, 0.5, one.shape) for one in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())
    given = batches((4,), (4,))
    for one, other in zip(ours(given), theirs(given), strict=True):
        assert_close(one, array(other))


@given(st.data())
@settings(max_examples=8)
def test_layers_of_drawn_graphs_are_in_keras_order(data):
    ways = [data.draw(st.tuples(st.integers(0, at), st.integers(0, at))) for at in range(5)]

    def make(library, model):
        values = [library.layers.Input((2,))]
        for at, (one, other) in enumerate(ways):
            added = library.layers.Add()([values[one], values[other]])
            values.append(library.layers.Dense(2, name=f"d{at}")(added))
        return model(values[0], values[-2:])

    theirs, ours = make(keras, keras.Model), make(rm, rm.layers.Model)
    named = [
        [layer.name for layer in model.layers if layer.name[0] == "d"] for model in (theirs, ours)
    ]
    assert named[0] == named[1]
