"""How layers are called: on several batches, with their masks, and for training or not."""

import copy
import json
import pickle

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers
from tests.layers.examples import MASK, masks_of


class Holder(layers.Layer):
    """Holds a layer, and does not speak of training itself."""

    def __init__(self, inner, **options):
        super().__init__(**options)
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)


class Told(layers.Layer):
    """Notes whether it is called for training."""

    def call(self, inputs, training=False):
        self.told = training
        return inputs


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("given", [None, False, True])
def test_training_reaches_the_layers_inside(depth, given, frames):
    layer = told = Told()
    for _ in range(depth):
        layer = Holder(layer)
    options = {} if given is None else {"training": given}
    layer(frames, **options)
    assert told.told is bool(given)


def test_training_of_the_call_itself_comes_first(frames):
    class Tells(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Told()

        def call(self, inputs):
            return self.inner(inputs, training=False)

    layer = Tells()
    layer(frames, training=True)
    assert layer.inner.told is False
    outside = Told()
    Holder(outside)(frames, training=True)
    outside(frames)  # and it ends with the call
    assert outside.told is False


@pytest.mark.parametrize("wrap", [Holder, lambda layer: layers.Sequential([layer])])
def test_a_dropout_inside_drops(wrap):
    layer = wrap(layers.Dropout(0.5))
    x = np.ones((50, 20), np.float32)
    assert (layer(x) == 1).all()
    assert set(np.unique(layer(x, training=True))) == {0, 2}


def test_training_in_a_graph(frames):
    told, fixed = Told(), Told()
    x = layers.Input((None, 4))
    model = layers.Model(x, [told(x), fixed(x, training=True)])
    for given in (False, True):
        model(frames, training=given)
        assert told.told is given
        assert fixed.told is True


# -- several batches ------------------------------------------------------------------------


class Pair(layers.Layer):
    """Takes two batches, and notes their masks."""

    supports_masking = True

    def build(self, query_shape, value_shape=None):
        self.shapes = query_shape, value_shape

    def call(self, query, value=None, query_mask=None, value_mask=None, mask=None):
        self.masks = query_mask, value_mask, mask
        return query if value is None else query + value


def test_batches_by_their_places_and_names(frames):
    other = rm.Ragged.from_offsets(frames.values, frames.offsets, ~frames.mask)
    for call in (
        lambda layer: layer(frames, other),
        lambda layer: layer(frames, value=other),
        lambda layer: layer(query=frames, value=other),
    ):
        layer = Pair()
        assert call(layer).mask.tolist() == MASK  # that of what comes first
        of_query, of_value, of_first = layer.masks
        assert of_query.values.tolist() == of_first.values.tolist() == MASK
        assert of_value.values.tolist() == (~frames.mask).tolist()
        assert layer.shapes == ((None, None, 4), (None, None, 4))
    layer = Pair()
    layer(frames)
    assert layer.masks[1] is None
    assert layer.shapes[1] is None


def test_a_mask_given_by_name_is_not_looked_up(frames):
    layer = Pair()
    layer(frames, frames, value_mask="mine")
    assert layer.masks[1] == "mine"


def test_several_batches_in_a_graph(frames):
    x, y = layers.Input((None, 4), name="x"), layers.Input((None, 4), name="y")
    for outputs in (Pair()(x, y), Pair()(query=x, value=y), Pair()(y, value=x)):
        model = layers.Model([x, y], outputs)
        expected = (frames + frames * 2).values
        np.testing.assert_allclose(model([frames, frames * 2]).values, expected)


class Sums(layers.Layer):
    """Adds up the batches of a list that are there."""

    def call(self, inputs):
        return sum(one for one in inputs if one is not None)


def test_a_batch_that_is_none(frames):
    assert Sums()([frames, None]).values.tobytes() == frames.values.tobytes()
    with pytest.raises(rm.UnsupportedTypeError, match="called on None"):
        Told()(None)
    with pytest.raises(rm.InvalidInputError, match=r"(?s)called on nothing: pass it query.*'pair"):
        Pair(name="pair")(value=frames)
    with pytest.raises(rm.InvalidInputError, match="'value' twice"):
        Pair()(frames, frames, value=frames)


# -- weights, and when they are made ------------------------------------------------------------


def test_weights_of_all_shapes():
    layer = layers.Layer(name="own")
    assert layer.add_weight().shape == ()
    assert layer.add_weight((), "ones").tolist() == 1
    assert layer.add_weight(3).shape == (3,)
    for dtype in ("int32", "bool", "uint8"):
        weight = layer.add_weight((2,), dtype=dtype)
        assert weight.dtype == dtype
        assert not weight.any()
    assert layer.add_weight((4, 4), None, "float64", name="last").any()
    with pytest.raises(rm.UnsupportedTypeError, match="shape, initializer and dtype in this order"):
        layer.add_weight("kernel", (2, 2))
    own = np.ones(2, np.float32)
    layer.add_weight((2,), lambda shape: own)
    own += 1  # is still the caller's


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_have_the_layers_dtype(dtype):
    layer = layers.Layer(dtype=dtype)
    assert layer.add_weight((2,)).dtype == dtype
    assert layers.Layer.from_config(layer.get_config()).dtype == dtype
    with pytest.raises(rm.UnsupportedTypeError, match="dtype is one of"):
        layers.Layer(dtype="bfloat16")


def test_arguments_for_training_are_kept_and_others_refused():
    layer = layers.Dense(2, kernel_regularizer="l2", trainable=False, name="last")
    assert layer.get_config()["kernel_regularizer"] == "l2"
    with pytest.raises(rm.InvalidInputError, match="'last': Dense takes no unit="):
        layers.Dense(2, unit=3, name="last")


@pytest.mark.parametrize("shape", [(None, 3), (5, 3), [2, 3]])
def test_what_is_built_by_hand_is_used(shape):
    layer = layers.Dense(2)
    layer.build(shape)
    assert layer.built
    kernel = np.arange(6, dtype=np.float32).reshape(3, 2)
    layer.set_weights([kernel, np.zeros(2)])
    x = np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(layer(x), kernel)
    layer.build(shape)  # once more changes nothing
    np.testing.assert_array_equal(layer.kernel, kernel)
    with pytest.raises(rm.InvalidInputError, match="was built for inputs of shape"):
        layer.build((None, 4))


def test_a_build_that_fails_leaves_nothing():
    class Fails(layers.Layer):
        fails = True

        def build(self, input_shape):
            self.add_weight((2,), name="first")
            if self.fails:
                raise ValueError("no")

        def call(self, inputs):
            return inputs

    layer = Fails()
    with pytest.raises(ValueError, match="no"):
        layer.build((None, 2))
    assert not layer.built
    assert layer.weights == []
    layer.fails = False
    layer.build((None, 2))
    assert len(layer.weights) == 1


def test_a_class_that_builds_on_another():
    class Two(layers.Dense):
        def build(self, input_shape):
            super().build(input_shape)
            self.extra = self.add_weight((2,), name="extra")
            self.built = True

    layer = Two(3)
    layer.build((None, 4))
    assert [weight.shape for weight in layer.weights] == [(4, 3), (3,), (2,)]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_forget_what_the_layer_was_called_on(copied):
    layer = layers.Dense(2)
    layer(layers.Input((None, 4)))
    assert layer.output.shape == (None, None, 2)
    with pytest.raises(rm.MissingAttributeError, match="was not called on an Input"):
        copied(layer).output  # noqa: B018
    x = layers.Input((None, 4))
    model = copied(layers.Model(x, layer(x)))
    assert model.layers[0].output is model.output


# -- shapes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "given", "expected"),
    [
        (lambda: layers.Dense(2), (8, 3), (8, 2)),
        (lambda: layers.Dense(2), (None, None, 3), (None, None, 2)),
        (lambda: layers.Dense(2), (4, 7, 3), (4, 7, 2)),
        (lambda: layers.Embedding(5, 2), (4, 7), (4, 7, 2)),
        (lambda: layers.Embedding(5, 2), (4, None), (4, None, 2)),
        (lambda: layers.LSTM(2), (4, 7, 3), (4, 2)),
        (lambda: layers.GRU(2, return_sequences=True), (4, 7, 3), (4, 7, 2)),
        (lambda: layers.LSTM(2, return_state=True), (4, 7, 3), [(4, 2)] * 3),
        (lambda: layers.Add(), [(4, 7), (4, 7)], (4, 7)),
        (lambda: layers.TemporalSplit(), (4, 8, 3), [(4, 4, 3)] * 2),
        (lambda: layers.Sequential([layers.Dense(5), layers.Dense(2)]), (8, 3), (8, 2)),
    ],
)
def test_compute_output_shape(make, given, expected):
    layer = make()
    before = layers.initializers.random().bit_generator.state
    assert layer.compute_output_shape(given) == expected
    assert not layer.built
    assert layers.initializers.random().bit_generator.state == before
    shapes = given if isinstance(given, list) else [given]
    dtype = "int32" if isinstance(layer, layers.Embedding) else "float32"
    batches = [np.zeros([size or 2 for size in shape], dtype) for shape in shapes]
    layer(batches if isinstance(given, list) else batches[0])
    assert layer.compute_output_shape(given) == expected


def test_shapes_that_are_none():
    for shape in (3, "ab", (2, 3, None), ()):
        with pytest.raises(rm.InvalidInputError):
            layers.Dense(2).compute_output_shape(shape)


# -- configs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(2, "relu", name="a"),
        layers.Embedding(5, 2, mask_zero=True),
        layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum"),
        layers.Bidirectional(layers.LSTM(3), backward_layer=layers.LSTM(3, go_backwards=True)),
        layers.InputLayer((None, 3), "int32", name="ids"),
        layers.Masking(np.float32(2)),
    ],
    ids=lambda layer: layer.name,
)
def test_configs_make_layers_again(layer):
    config = layer.get_config()
    again = type(layer).from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    assert again.name == layer.name
    assert again is not layer


def test_configs_of_models():
    x = layers.Input((None, 4), name="x")
    model = layers.Model(x, layers.LSTM(2, name="read")(x * 2), name="twice")
    again = layers.model_from_json(model.to_json())
    assert type(again) is layers.Model
    again.set_weights(model.get_weights())
    batch = rm.Ragged.from_rows([[[1.0, 2.0, 3.0, 4.0]]])
    np.testing.assert_array_equal(again(batch), model(batch))
    assert layers.Model.from_config(model.get_config()).name == "twice"
    later = layers.Sequential([layers.Dense(2)])
    assert not layers.Sequential.from_config(later.get_config()).built
    with pytest.raises(rm.InvalidInputError, match="is a Model, and no Sequential"):
        layers.Sequential.from_config(model.get_config())
    with pytest.raises(rm.InvalidInputError, match=r"of format None; .*from_keras"):
        layers.model_from_json('{"class_name": "Functional"}')


# -- models -----------------------------------------------------------------------------


def test_a_sequential_is_built_by_hand():
    for shape, batch in (
        ((None, None, 3), rm.Ragged.from_rows([[[1.0, 2.0, 3.0]]])),
        ((None, 3), np.ones((2, 3), np.float32)),
        ((5, 7, 3), np.ones((2, 9, 3), np.float32)),
    ):
        model = layers.Sequential([layers.Dense(2)])
        model.build(shape)
        assert model.built
        model.set_weights([np.ones((3, 2)), np.zeros(2)])
        assert (
            (model(batch) == model.layers[0](batch)).values.all()
            if isinstance(batch, rm.Ragged)
            else (model(batch) == 3).all()
        )
    model = layers.Sequential([layers.Embedding(5, 2), layers.LSTM(3)])
    model.build((None, 10))
    assert model(rm.Ragged.from_rows([[1, 2], [3]])).shape == (2, 3)
    for shape in (None, 3, [(2, 3), (2, 3)], (2,)):
        with pytest.raises(rm.InvalidInputError, match="takes one batch, of shape"):
            layers.Sequential([layers.Dense(2)]).build(shape)


def test_the_first_layer_may_say_what_it_takes():
    model = layers.Sequential([layers.Dense(2, input_shape=(3,)), layers.Dense(1)])
    assert model.built
    assert model.count_params() == 8 + 3
    assert model.input.shape == (None, 3)
    steps = layers.Sequential([layers.LSTM(2, input_shape=(None, 3))])
    assert steps.input.shape == (None, None, 3)


def test_layers_of_one_name_are_refused_when_they_are_added():
    model = layers.Sequential([layers.Dense(2, name="one")])
    with pytest.raises(rm.InvalidInputError, match="two layers named 'one'"):
        model.add(layers.Dense(2, name="one"))
    assert len(model.layers) == 1


@pytest.mark.parametrize("is_built", [False, True])
def test_pop(is_built):
    model = layers.Sequential([layers.Dense(2), layers.Dense(3), layers.Dense(4)])
    x = np.ones((2, 5), np.float32)
    if is_built:
        model(x)
    last = model.layers[-1]
    assert model.pop() is last
    assert model(x).shape == (2, 3)
    assert model.outputs[0].shape == (None, 3)
    model.add(layers.Dense(7))
    assert model(x).shape == (2, 7)
    for _ in range(3):
        model.pop()
    assert not model.built
    with pytest.raises(rm.InvalidInputError, match="no layers to take away"):
        model.pop()
    model.add(layers.Dense(1))
    assert model(np.ones((2, 5), np.float32)).shape == (2, 1)


def test_inputs_and_outputs_are_lists():
    x = layers.Input(batch_shape=(None, None, 4), name="x")
    assert x.shape == (None, None, 4)
    hidden, last = layers.Dense(3, name="hidden"), layers.Dense(2, name="last")
    model = layers.Model(x, last(hidden(x)))
    assert model.inputs == [x]
    assert model.input is x
    assert model.outputs == [model.output] == [last.output]
    assert hidden.input is x
    assert model.get_layer(index=0) is hidden
    assert layers.InputLayer(batch_shape=(2, 3)).output.shape == (None, 3)
    with pytest.raises(rm.InvalidInputError, match="one of them"):
        layers.Input((3,), batch_shape=(None, 3))


def test_a_model_from_inside_another(frames, tmp_path):
    x = layers.Input((None, 4), name="x")
    first, second, last = (layers.Dense(4, name=name) for name in ("first", "second", "last"))
    middle = first(x)
    model = layers.Model(x, last(layers.Add()([second(middle), middle])))
    end = layers.Model(middle, model.output, name="end")
    assert [layer.name for layer in end.layers if "add" not in layer.name] == ["second", "last"]
    np.testing.assert_array_equal(end(first(frames)).values, model(frames).values)
    end.save(tmp_path / "end")
    again = layers.load_model(tmp_path / "end")
    np.testing.assert_array_equal(again(first(frames)).values, model(frames).values)
    begin = layers.Model(model.inputs, middle)
    np.testing.assert_array_equal(begin(frames).values, first(frames).values)
    assert masks_of(begin(frames)) == MASK
    with pytest.raises(rm.InvalidInputError, match="need the input 'x'"):
        layers.Model(second.output, model.output)


def test_an_input_of_a_width_takes_masked_arrays():
    x = layers.Input((3, 4), name="x")
    model = layers.Model(x, layers.LSTM(2)(x))
    padded = rm.Padded(np.ones((2, 3, 4), np.float32), np.tri(3, dtype=bool)[:2])
    np.testing.assert_array_equal(model(padded), model.layers[0](padded))
    for other in (rm.Ragged.from_padded(padded.values), rm.Padded(padded.values[:, :2])):
        with pytest.raises(rm.InvalidInputError, match="input 'x' is of shape"):
            model(other)


def test_structures_of_inputs():
    a, b, c = (layers.Input((size,), name=name) for size, name in ((1, "a"), (2, "b"), (3, "c")))
    model = layers.Model({"a": a, "more": {"b": b, "c": [c]}}, {"x": a * 2, "more": [b, c]})
    batches = [np.ones((2, size), np.float32) for size in (1, 2, 3)]
    given = {"a": batches[0], "more": {"b": batches[1], "c": [batches[2]]}}
    outputs = model(given)
    assert outputs["x"].tolist() == [[2], [2]]
    assert [one.shape for one in outputs["more"]] == [(2, 2), (2, 3)]
    assert model.output_shape == {"x": (None, 1), "more": [(None, 2), (None, 3)]}
    for wrong, match in (
        ({"a": batches[0]}, "needs 'more'"),
        ({**given, "more": batches[1]}, "for 'more' on a dict of batches, 'b', 'c'; got"),
        (
            {**given, "more": {"b": batches[1], "c": batches[2]}},
            "for 'c' on a list of batches, 'c'",
        ),
        ({**given, "a": None}, "input 'a' takes a batch, and is not optional"),
    ):
        with pytest.raises(rm.RagmaskError, match=match):
            model(wrong)


def test_an_input_that_may_be_none(tmp_path):
    class Perhaps(layers.Layer):
        def call(self, x, y=None):
            return x if y is None else x + y

    x, y = layers.Input((2,), name="x"), layers.Input((2,), name="y", optional=True)
    model = layers.Model([x, y], Perhaps()(x, y))
    ones = np.ones((3, 2), np.float32)
    assert (model([ones, ones]) == 2).all()
    assert (model([ones, None]) == 1).all()
    with pytest.raises(rm.UnsupportedTypeError, match="'x' takes a batch"):
        model([None, ones])


class Own(layers.Model):
    """A model with a call of its own."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.words, self.read = layers.Embedding(5, 3, mask_zero=True), layers.LSTM(units)

    def call(self, inputs, training=None):
        self.told = training
        return self.read(self.words(inputs))


def test_a_model_with_a_call_of_its_own(ids):
    model = Own(4, name="own")
    assert model(ids, training=True).shape == (3, 4)
    assert model.told is True
    assert model.layers == [model.words, model.read]
    assert len(model.weights) == 4
    again = Own.from_config(model.get_config())
    again(ids)
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(ids), model(ids))
    outer = layers.Sequential([layers.Input((None,), "int32"), model, layers.Dense(1)])
    assert outer(ids).shape == (3, 1)
    with pytest.raises(rm.MissingAttributeError, match="has no inputs and outputs"):
        model.inputs  # noqa: B018
    with pytest.raises(rm.UnsupportedTypeError, match="its inputs are Symbols"):
        layers.Model()


def test_shapes_for_build_go_by_their_names(frames):
    class Named(layers.Layer):
        def build(self, value_shape, query_shape):
            self.shapes = query_shape, value_shape

        def call(self, query, value=None):
            return query

    layer = Named()
    layer(frames, frames.with_values(frames.values[:, :2]))
    assert layer.shapes == ((None, None, 4), (None, None, 2))

    class Unnamed(Named):
        def build(self, query_shape, other):
            pass

    with pytest.raises(rm.InvalidInputError, match=r"each is NAME_shape.*got other"):
        Unnamed()(frames)


def test_what_is_trained():
    class Counted(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = layers.Dense(2)
            self.count = self.add_weight((), "zeros", trainable=False, name="count")

        def call(self, inputs):
            return self.inner(inputs)

    layer = Counted()
    layer(np.ones((1, 3), np.float32))
    assert [one.shape for one in layer.trainable_weights] == [(3, 2), (2,)]
    assert [one.shape for one in layer.non_trainable_weights] == [()]
    layer.trainable = False
    assert not layer.inner.trainable
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_variables) == len(layer.variables) == 3
    with pytest.raises(rm.InvalidInputError, match="to be a boolean"):
        layers.Dense(2, trainable="no")


def test_a_mask_by_its_place(frames):
    x = rm.Ragged(frames.values, frames.starts, frames.lengths)
    pool = layers.TemporalPool("sum")
    np.testing.assert_array_equal(pool(x, frames.mask), pool(frames))
    lstm = layers.LSTM(2)
    np.testing.assert_array_equal(lstm(x, None, frames.mask), lstm(frames))


def test_shapes_by_their_names():
    layer = layers.MultiHeadAttention(2, 3)
    layer.build(query_shape=(2, 4, 8), value_shape=(2, 5, 6))
    assert layer.count_params() == 8 * 6 + 6 + 2 * (6 * 6 + 6) + 6 * 8 + 8
    dense = layers.Dense(2)
    dense.build(input_shape=(None, 3))
    assert dense.built


def test_configs_have_defaults_and_reprs_have_not():
    config = layers.Dense(2, name="d").get_config()
    assert config["use_bias"] is True
    assert config["activation"] is None
    assert repr(layers.Dense.from_config(config)) == "Dense('d', units=2)"
    assert layers.GlobalMaxPooling1D().name.startswith("global_max_pooling1d")
    assert layers.PReLU().name.startswith("p_re_lu")


class Demands(layers.Layer):
    """Cannot be tried on made-up rows, and says by its shape what it gives."""

    supports_masking = True

    def call(self, inputs, mask=None):
        assert len(inputs) > 1
        return inputs * 2

    def compute_output_shape(self, input_shape):
        return input_shape


def test_a_shape_that_a_class_declares_stands_for_a_try(frames):
    x = layers.Input((None, 4))
    model = layers.Model(x, layers.LSTM(2)(Demands()(layers.Masking()(x))))
    assert model.layers[1].output.spec == model.layers[0].output.spec
    expected = model.layers[2](layers.Masking()(frames) * 2)
    np.testing.assert_array_equal(model(frames), expected)
    flat = layers.Input((3,))
    assert Demands()(flat).spec == flat.spec

    class Refuses(layers.Layer):
        def call(self, inputs):
            assert len(inputs) > 1

    with pytest.raises(AssertionError):
        Refuses()(x)
