"""Keras models as ragmask's: the same outputs on the same rows, names, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.keras import from_keras
from tests.interpreters import run_python

TOLERANCE = 2e-6
ROWS = [[3, 1, 4], [1], [5, 0, 2, 6], [5, 3, 5, 0, 9, 7], []]

pytestmark = [
    pytest.mark.filterwarnings(  # of Keras, under numpy 2.4
        "ignore:__array__ implementation:DeprecationWarning"
    ),
    pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning"),
]


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def ids():
    return rm.Ragged.from_rows([np.array(row, "int32") for row in ROWS])


@pytest.fixture
def frames():
    values = np.random.default_rng(0).standard_normal((14, 3)).astype("float32")
    lengths = [len(row) for row in ROWS]
    return rm.Ragged(values, np.cumsum(lengths) - lengths, lengths)


def words(**options):
    return layers.Embedding(10, 4, mask_zero=True, **options)


def ids_input(name="ids"):
    return keras.Input((None,), dtype="int32", name=name)


def random_weights(model):
    random = np.random.default_rng(1)
    model.set_weights([random.normal(0, 0.5, one.shape) for one in model.get_weights()])
    return model


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, array(theirs), TOLERANCE, TOLERANCE)


def assert_same(model, *batches):
    """The model that is made of it gives what it gives, padded before and behind."""
    random_weights(model)
    converted = from_keras(model)
    one = len(batches) == 1
    outputs = converted(batches[0] if one else list(batches))
    for padding in ("pre", "post"):
        dense = [batch.to_padded(padding=padding).values for batch in batches]
        expected = model(dense[0] if one else dense)
        flat = keras.tree.flatten(outputs)
        assert len(flat) == len(keras.tree.flatten(expected))
        for ours, theirs in zip(flat, keras.tree.flatten(expected), strict=True):
            if isinstance(ours, rm.Ragged):
                padded = ours.to_padded(padding=padding)
                assert_close(padded.values[padded.mask], array(theirs)[padded.mask])
            else:
                assert_close(ours, theirs)
    return converted


# -- models -------------------------------------------------------------------------------


def test_the_guides_sequential_model(ids):
    model = keras.Sequential([ids_input(), words(name="words"), layers.LSTM(5, name="rows")])
    converted = assert_same(model, ids)
    assert type(converted) is rm.layers.Sequential
    assert converted.name == model.name
    assert [layer.name for layer in converted.layers] == ["words", "rows"]
    assert converted.input_names == ["ids"]
    for one, other in zip(converted.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert converted.get_layer("rows").get_config()["units"] == 5


def test_a_sequential_model_with_an_input_layer(ids):
    entry = layers.InputLayer((None,), dtype="int32", name="ids")
    model = keras.Sequential([entry, words(), layers.LSTM(3)])
    assert assert_same(model, ids).input_names == ["ids"]


def test_a_sequential_model_built_on_a_batch(ids):
    """Keras then takes the width for fixed, and ids for floats."""
    model = keras.Sequential([words(), layers.LSTM(3, return_sequences=True), layers.LSTM(2)])
    model(np.ones((2, ids.max_length), "int32"))
    assert_same(model, ids)


def test_the_guides_functional_model(ids):
    entry = ids_input()
    model = keras.Model(entry, layers.LSTM(5)(words()(entry)), name="guide")
    converted = assert_same(model, ids)
    assert type(converted) is rm.layers.Model
    assert converted.name == "guide"


def test_every_layer(ids):
    entry = ids_input()
    x = words(name="words")(entry)
    dense = layers.Dense(3, activation="gelu", use_bias=False)(x)
    dropped = layers.Dropout(0.5)(layers.Activation("tanh")(dense))
    wide = layers.Concatenate()([layers.Add()([dense, dropped]), x])
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True, name="half"), name="both")(
        wide
    )
    summed = layers.Bidirectional(layers.LSTM(2, return_sequences=True), "sum")(both)
    long = layers.Concatenate(axis=1)([layers.ReLU()(summed), summed])
    last = layers.LSTM(4, use_bias=False, zero_output_for_mask=True, return_sequences=True)(long)
    shares = layers.Dense(2, activation="softmax")(layers.LSTM(3, dropout=0.5)(last))
    model = keras.Model(entry, [both, shares, layers.Softmax()(layers.Dense(2)(shares))])
    ids = ids[ids.lengths > 0]
    converted = assert_same(model, ids)
    halves = [layer.name for layer in converted.get_layer("both").sublayers]
    assert halves == ["forward_half", "backward_half"]


def test_layers_of_one_step(frames):
    """Each after the other; masked, as Keras sees which steps are padding."""
    entry = keras.Input((None, 3), name="frames")
    x = layers.Masking()(entry)
    for layer in (
        layers.Dense(4, activation="elu"),
        layers.PReLU(shared_axes=[1]),
        layers.LayerNormalization(),
        layers.LeakyReLU(0.2),
        layers.BatchNormalization(),
        layers.ELU(0.5),
        layers.SpatialDropout1D(0.5),
        layers.GaussianNoise(0.5),
        layers.GaussianDropout(0.5),
        layers.AlphaDropout(0.5),
        layers.ActivityRegularization(0.1),
        layers.Identity(),
        layers.ReLU(max_value=2.0, negative_slope=0.1),
        layers.UnitNormalization(),
        layers.EinsumDense("abc,cde->abde", (None, 2, 3), activation="silu", bias_axes="de"),
        layers.TimeDistributed(layers.Dense(2)),
        layers.RMSNormalization(),
    ):
        x = layer(x)
    model = keras.Model(entry, x)
    model.build((None, None, 3))
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.2, 0.7, one.shape) for one in model.get_weights()])
    converted = from_keras(model)
    padded = frames.to_padded()
    ours, theirs = converted(frames).to_padded(), array(model(padded.values))
    np.testing.assert_allclose(ours.values[padded.mask], theirs[padded.mask], 1e-4, 1e-4)


def test_attention(ids):
    """Of rows that have a step: in others Keras's masked queries see all values."""
    first, second = ids_input("first"), ids_input("second")
    a, b = words()(first), words()(second)
    attention = layers.MultiHeadAttention(2, 3, name="looks")
    crossed = attention(a, b)
    own = layers.MultiHeadAttention(2, 3, 2, dropout=0.1, use_gate=True, output_shape=5)(
        crossed, crossed, use_causal_mask=True
    )
    plain = layers.Attention(use_scale=True)([own, own], use_causal_mask=True)
    added = layers.AdditiveAttention()([plain, own, own])
    model = keras.Model([first, second], layers.GlobalAveragePooling1D(keepdims=True)(added))
    ids = rm.Ragged.from_rows([np.array(row, "int32") for row in ([3, 1, 4], [1], [5, 2, 6, 2])])
    other = rm.Ragged.from_rows([np.array(row, "int32") for row in ([3], [1, 2], [5, 2])])
    random_weights(model)
    expected = model([ids.to_padded().values, other.to_padded().values])
    assert_close(from_keras(model)([ids, other]), expected)


def test_repeated_vectors():
    entry = keras.Input((3,), name="numbers")
    model = keras.Model(entry, layers.Softmax(axis=1)(layers.RepeatVector(4)(entry)))
    x = np.arange(6, dtype="float32").reshape(2, 3)
    assert_close(from_keras(model)(x), model(x))


@pytest.mark.parametrize("kind", [layers.GRU, layers.SimpleRNN])
def test_other_recurrent_layers(ids, kind):
    """In both directions, backwards, with dropout that is for training, and from states."""
    entry = ids_input()
    steps = layers.Bidirectional(kind(3, return_sequences=True), name="both")(words()(entry))
    summed = layers.Bidirectional(kind(3, return_state=True, use_bias=False), "sum")(steps)
    last = kind(4, dropout=0.5, recurrent_dropout=0.5, go_backwards=True, name="last")(steps)
    zeroed = kind(4, return_sequences=True, zero_output_for_mask=True)(steps)
    ids = ids[ids.lengths > 0]
    converted = assert_same(keras.Model(entry, [steps, *summed, last, zeroed]), ids)
    assert type(converted.get_layer("last")) is getattr(rm.layers, kind.__name__)
    state = keras.Input((3,), name="state")
    read = kind(3, return_sequences=True)(layers.Embedding(10, 4)(entry), initial_state=state)
    model = random_weights(keras.Model([entry, state], read))
    full, given = rm.Ragged.from_rows([[1, 2, 3], [4, 5, 6]]), np.ones((2, 3), "float32")
    expected = model([full.to_padded().values, given])
    assert_close(from_keras(model)([full, given]).to_padded().values, expected)


def test_masking_and_pooling(frames):
    entry = keras.Input((None, 3), name="frames")
    masked = layers.Masking()(entry)
    mean = layers.GlobalAveragePooling1D()(masked)
    model = keras.Model(entry, [mean, layers.LSTM(3)(masked)])
    assert_same(model, frames[frames.lengths > 0])
    converted = from_keras(model)
    assert not converted(frames)[0][-1].any()  # the mean of no steps, which is NaN in Keras


def test_maxima_of_rows_without_padding(frames):
    entry = keras.Input((None, 3))
    model = keras.Model(entry, layers.GlobalMaxPooling1D()(entry))
    converted = from_keras(model)
    for row in range(4):
        one = frames[row : row + 1]
        assert_close(converted(one), model(one.to_padded().values))


def test_several_inputs_and_outputs_and_shared_layers(ids):
    first, second = ids_input("first"), ids_input("second")
    shared, lstm = words(name="shared"), layers.LSTM(3, name="rows")
    a, b = lstm(shared(first)), lstm(shared(second))
    model = keras.Model([first, second], {"both": layers.Concatenate()([a, b]), "one": a})
    other = ids[::-1]
    converted = assert_same(model, ids, other)
    assert converted.input_names == ["first", "second"]
    assert sorted(converted.output_names) == ["both", "one"]
    assert len([layer for layer in converted.layers if layer.name == "shared"]) == 1
    by_name = converted({"first": ids, "second": other})
    np.testing.assert_array_equal(by_name["one"], converted([ids, other])["one"])


def test_inputs_as_a_dict(ids):
    first, second = ids_input("first"), ids_input("second")
    outputs = layers.Add()([words()(first), words()(second)])
    model = keras.Model({"second": second, "first": first}, layers.LSTM(2)(outputs))
    converted = from_keras(random_weights(model))
    batch = {"first": ids, "second": ids.with_values(ids.values[::-1])}
    padded = {name: one.to_padded().values for name, one in batch.items()}
    assert_close(converted(batch), model(padded))


def test_a_layer_that_gives_its_states_to_another(ids):
    """As decoders are made. No padding: with an initial_state Keras's LSTM sees no mask."""
    source, target = ids_input("source"), ids_input("target")
    embedding = layers.Embedding(10, 4)
    _, *states = layers.LSTM(3, return_state=True)(embedding(source))
    outputs = layers.LSTM(3, return_sequences=True)(embedding(target), initial_state=states)
    full = rm.Ragged.from_rows([[1, 2, 3], [4, 5, 6]])
    assert_same(keras.Model([source, target], outputs), full, full + 1)


def test_models_in_models(ids):
    inner_entry = ids_input("inner")
    x = words()(inner_entry)
    inner = keras.Model(inner_entry, [x, layers.LSTM(3)(x)], name="inside")
    head = keras.Sequential([keras.Input((3,)), layers.Dense(2, "relu")], name="head")
    entry = keras.Input((7,), dtype="int32", name="ids")  # of a fixed width in Keras
    vectors, last = inner(entry)
    model = keras.Model(entry, [vectors, layers.Add()([head(last), head(last)])])
    full = ids.to_padded(7)
    converted = from_keras(random_weights(model))
    for ours, theirs in zip(converted(full.values), model(full.values), strict=True):
        assert_close(ours.values if isinstance(ours, rm.Padded) else ours, theirs)
    assert [layer.name for layer in converted.layers][:2] == ["inside", "head"]
    assert_close(converted(ids)[1], model(full.values)[1])


def test_a_mask_goes_into_a_model_inside(ids):
    entry, vectors = ids_input(), keras.Input((None, 4))
    inner = keras.Model(vectors, layers.LSTM(3)(layers.Dense(4)(vectors)))
    assert_same(keras.Model(entry, inner(words()(entry))), ids)


def test_maxima_of_masked_rows_are_refused_wherever_they_are():
    entry = ids_input()
    pooled = layers.GlobalMaxPooling1D(name="largest")
    unmasked = pooled(layers.Embedding(10, 4)(entry))
    model = keras.Model(entry, [unmasked, pooled(words()(entry))])
    with pytest.raises(rm.UnsupportedTypeError, match=r"layer 'largest' .* takes masked steps too"):
        from_keras(model)
    inner_entry = keras.Input((None, 4))
    inner = keras.Model(inner_entry, pooled(inner_entry))
    model = keras.Model(entry, inner(words()(entry)))
    with pytest.raises(rm.UnsupportedTypeError, match=r"layer 'largest' .* takes masked steps too"):
        from_keras(model)


def test_vectors_without_time():
    entry = keras.Input((3,), dtype="int32", name="numbers")
    model = keras.Model(entry, layers.Dense(2)(layers.Activation("relu")(entry)))
    x = np.arange(6, dtype="int32").reshape(2, 3)
    assert_close(from_keras(model)(x), model(x))


@pytest.mark.parametrize("with_masking", [False, True])
def test_a_model_that_was_read_from_a_file(ids, tmp_path, with_masking):
    """There the masks that Keras computes are computed twice."""
    entry = ids_input()
    x = layers.Concatenate()([words()(entry), words()(entry)])
    x = layers.Masking(5.0)(layers.Dense(3)(x)) if with_masking else x
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    model = random_weights(keras.Model(entry, layers.LSTM(2)(layers.Dense(2)(x))))
    model.save(tmp_path / "model.keras")
    read = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(from_keras(read)(ids), from_keras(model)(ids))


@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("in_both_directions", [False, True])
def test_outputs_of_masked_steps(ids, zero_output_for_mask, in_both_directions):
    """Keras's Bidirectional makes them 0, whatever its LSTMs are told."""
    lstm = layers.LSTM(3, return_sequences=True, zero_output_for_mask=zero_output_for_mask)
    last = layers.Bidirectional(lstm) if in_both_directions else lstm
    model = random_weights(keras.Sequential([ids_input(), words(), last]))
    padded = ids.to_padded().values
    assert_close(from_keras(model)(padded).values, model(padded))


def test_weights_are_copied(ids):
    model = random_weights(keras.Sequential([ids_input(), words(), layers.LSTM(3)]))
    converted = from_keras(model)
    before = converted(ids)
    model.set_weights([one + 1 for one in model.get_weights()])
    np.testing.assert_array_equal(converted(ids), before)


# -- where Keras loses a mask -------------------------------------------------------------


OPERATIONS = {
    "arithmetic": lambda x: 2 * x + x / 4 - np.ones(3, "float32"),
    "signs": lambda x: abs(-x) ** 2,
    "functions": lambda x: keras.ops.maximum(keras.ops.exp(x), 1) % 2,
    "relu": lambda x: keras.ops.relu(x - 0.5),
    "features": lambda x: x[..., 1:] * x[..., :2],
    "all but the first step": lambda x: x[:, 1:],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name, frames):
    x = keras.Input((None, 3), name="x")
    frames = frames[frames.lengths > 0]
    if name.startswith("all"):
        frames = frames[np.zeros(4, int)]  # of one length: padding before is no step of a Ragged
    model = keras.Model(x, OPERATIONS[name](x))
    converted = from_keras(model)
    dense = frames.to_padded()
    np.testing.assert_allclose(converted(dense.values), array(model(dense.values)), 1e-5)
    ours = converted(frames).to_padded()
    np.testing.assert_allclose(ours.values[ours.mask], array(model(dense.values))[ours.mask], 1e-5)


def test_operations_forget_masks_as_keras_does(ids):
    x = ids_input()
    model = random_weights(keras.Model(x, layers.LSTM(3, name="read")(words()(x) * 2)))
    converted = from_keras(model)
    dense = ids.to_padded()
    with pytest.warns(rm.layers.MaskWarning, match="'read' uses masks and gets none"):
        ours = converted(dense.values)
    assert_close(ours, model(dense.values))
    last = keras.Model(x, words()(x)[:, -1])
    assert_close(from_keras(random_weights(last))(dense.values), last(dense.values))


def test_masking_keeps_the_mask_it_is_given(ids):
    entry = ids_input()
    model = keras.Model(entry, layers.LSTM(3)(layers.Masking()(words()(entry))))
    plain = keras.Model(entry, model.layers[-1](model.layers[1](entry)))
    random_weights(model)
    dense = ids.to_padded().values
    assert np.abs(array(model(dense)) - array(plain(dense))).max() > 0.01  # Keras forgot it
    assert_close(from_keras(model)(ids), plain(dense))


def test_an_lstm_with_an_initial_state_sees_the_mask(ids):
    entry, state = ids_input(), keras.Input((3,), name="state")
    lstm, embedding = layers.LSTM(3), words()
    model = keras.Model([entry, state], lstm(embedding(entry), initial_state=[state, state]))
    random_weights(model)
    ids = ids[:4]  # of a row without steps, Keras gives the state on JAX and 0 on torch
    padded, given = ids.to_padded(), np.ones((4, 3), "float32")
    mask = padded.values != 0
    expected = lstm(embedding(padded.values), mask=mask, initial_state=[given, given])
    lost = model([padded.values, given])
    assert np.abs(array(lost) - array(expected)).max() > 0.01
    assert_close(from_keras(model)([ids, given]), expected)


# -- what is refused ----------------------------------------------------------------------


class Doubled(layers.Dense):
    def call(self, inputs):
        return 2 * super().call(inputs)


class OwnCell(layers.SimpleRNNCell):
    pass


@keras.saving.register_keras_serializable()
class OwnGRU(layers.GRU):
    pass


class OwnCall(keras.Model):
    def call(self, inputs):
        return inputs


def of_frames(*given, dtype="float32"):
    return keras.Sequential([keras.Input((None, 3), dtype=dtype), *given])


def masked_by_another(x):
    one, other = layers.Dense(2)(x), layers.Dense(2)(x)
    mask = layers.Masking().compute_mask(other)
    return layers.LSTM(2, name="rows")(layers.Masking()(one), mask=mask)


def functional(function):
    entry = keras.Input((None, 3), name="frames")
    return keras.Model(entry, function(entry))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: of_frames(layers.Conv1DTranspose(2, 2, name="steps")),
            r"layer 'steps' \(Conv1DTranspose\) is not here yet",
        ),
        (
            lambda: of_frames(layers.RNN([layers.GRUCell(2), OwnCell(2)], name="rows")),
            r"layer 'rows' \(RNN\) has cell=OwnCell; LSTMCell, .* and StackedRNNCells are known",
        ),
        (lambda: of_frames(Doubled(2, name="twice")), r"layer 'twice' \(Doubled\) is not one of"),
        (
            lambda: of_frames(layers.Dense(2, activation=keras.ops.sin, name="d")),
            r"layer 'd' \(Dense\) has activation='sin'; ragmask knows 'linear', 'relu'",
        ),
        (
            lambda: of_frames(layers.Dense(2, activation=layers.ReLU(), name="d")),
            r"layer 'd' \(Dense\) has activation=",
        ),
        (
            lambda: of_frames(layers.Activation(lambda x: x, name="a")),
            r"layer 'a' \(Activation\) has activation='<lambda>'",
        ),
        (
            lambda: of_frames(layers.Bidirectional(OwnGRU(2), name="both")),
            r"layer 'both' \(Bidirectional\) has layer=OwnGRU, backward_layer=OwnGRU; LSTM, GRU",
        ),
        (
            lambda: of_frames(
                layers.Bidirectional(
                    layers.LSTM(2, go_backwards=True), backward_layer=layers.LSTM(2), name="both"
                )
            ),
            r"layer 'both' \(Bidirectional\) has a forward layer with go_backwards=True",
        ),
        (
            lambda: of_frames(layers.BatchNormalization(renorm=True, name="b")),
            r"layer 'b' \(BatchNormalization\) has renorm=True; False is known",
        ),
        (
            lambda: functional(
                lambda x: layers.MultiHeadAttention(2, 2, attention_axes=(0, 1), name="m")(x, x)
            ),
            r"layer 'm' \(MultiHeadAttention\) has attention_axes=\(0, 1\); time, \(1,\), is",
        ),
        (
            lambda: functional(
                lambda x: layers.MultiHeadAttention(2, 2, name="m")(x, x, attention_mask=x > 0)
            ),
            r"layer 'm' \(MultiHeadAttention\) is called with attention_mask",
        ),
        (
            lambda: keras.Model(
                entry := keras.Input((None, 4, 3)),
                layers.TimeDistributed(layers.Conv1DTranspose(2, 2), name="t")(entry),
            ),
            r"layer 't' \(TimeDistributed\) holds a Conv1DTranspose",
        ),
        (
            lambda: functional(
                layers.GlobalAveragePooling1D(data_format="channels_first", name="p")
            ),
            r"layer 'p' \(GlobalAveragePooling1D\) has data_format='channels_first'",
        ),
        (
            lambda: of_frames(layers.Masking(), layers.GlobalMaxPooling1D(name="p")),
            r"layer 'p' \(GlobalMaxPooling1D\) takes masked steps too",
        ),
        (
            lambda: of_frames(layers.Masking(float("nan"), name="m")),
            r"layer 'm' \(Masking\) masks nothing in Keras, and NaN here: leave it out",
        ),
        (
            lambda: of_frames(layers.Dense(2, dtype="float16", name="d")),
            r"layer 'd' \(Dense\) has dtype='float16'; float32 is known",
        ),
        (
            lambda: functional(lambda x: keras.ops.cumsum(x, 1)),
            r"operation '.*' \(Cumsum\) is not a layer",
        ),
        (
            lambda: functional(lambda x: layers.Dropout(0.5, name="d")(x, training=True)),
            r"layer 'd' \(Dropout\) is called with training=True",
        ),
        (
            lambda: functional(lambda x: layers.LSTM(2, name="rows")(x, mask=x[:, :, 0] > 0)),
            r"layer 'rows' \(LSTM\) is given a mask by hand",
        ),
        (
            lambda: functional(
                lambda x: layers.LSTM(2, name="rows")(
                    layers.Masking(0.0)(x), mask=layers.Masking(1.0).compute_mask(x)
                )
            ),
            r"layer 'rows' \(LSTM\) is given a mask by hand",
        ),
        (
            lambda: functional(masked_by_another),
            r"layer 'rows' \(LSTM\) is given a mask by hand",
        ),
        (
            lambda: keras.Model(
                entry := keras.Input((None, 4, 3)),
                layers.Concatenate(axis=0, name="c")([entry] * 2),
            ),
            r"layer 'c' \(Concatenate\) has axis=0; features and time are known",
        ),
        (
            lambda: keras.Model(*[keras.Input((2,), dtype="string", name="texts")] * 2),
            r"layer 'texts' \(InputLayer\) has dtype='string'",
        ),
        (OwnCall, r"layer 'own_call' \(OwnCall\) has a call\(\) of its own"),
    ],
)
def test_what_ragmask_does_not_have_is_refused(make, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        from_keras(make())


def test_a_model_that_is_not_built():
    with pytest.raises(rm.InvalidInputError, match="model 'bare' is not built"):
        from_keras(keras.Sequential([layers.Dense(2)], name="bare"))


def test_only_models_are_taken():
    with pytest.raises(rm.UnsupportedTypeError, match=r"takes a keras.Model; got Dense"):
        from_keras(layers.Dense(2))


@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
def test_a_stream_given_to_keras_is_told_what_to_use(use):
    model = keras.Sequential([keras.Input((None, 12)), layers.LSTM(2)])
    model.compile("sgd", "mse")
    stream = rm.stream(JAPANESE_VOWELS, ["frames"]).batch(rows=64)
    with pytest.raises(rm.MissingAttributeError, match=r"interop.keras.StreamDataset\(stream, x="):
        getattr(model, use)(stream)


@pytest.mark.parametrize("missing", ["keras", "jax"])
def test_without_keras_or_its_backend_the_module_says_so(missing):
    code = f"""
import sys
import ragmask as rm

sys.modules[{missing!r}] = None
try:
    import ragmask.interop.keras
except rm.MissingExtraError as error:
    print(error)
"""
    said = run_python(code, KERAS_BACKEND="jax")
    assert said.startswith("ragmask.interop.keras needs keras and a backend for it")
    assert missing in said
