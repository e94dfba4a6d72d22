"""Layers and models: the protocol of masks, weights and graphs."""

import copy
import math
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

import ragmask as rm
from ragmask import layers
from tests.strategies import raggeds, with_normals

MASK = [True, False, True, True, True]


@pytest.fixture
def ids():
    """Rows of 3, 0 and 2 ids, of which the second is 0."""
    return rm.Ragged.from_rows([[4, 0, 2], [], [3, 1]], dtype="int64")


@pytest.fixture
def frames():
    """Rows of 3, 0 and 2 steps of 4 features, of which the second is masked."""
    values = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")
    return rm.Ragged.from_offsets(values, [0, 3, 3, 5], MASK)


class Drops(layers.Layer):
    """Does not say what becomes of masks."""

    def call(self, inputs):
        return layers.relu(inputs)


class Passes(Drops):
    supports_masking = True


class Sees(layers.Layer):
    """Notes the mask it is called with."""

    def call(self, inputs, mask=None):
        self.seen = mask
        return inputs


class Builds(layers.Layer):
    """Notes what it is built for."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.shapes = []

    def build(self, input_shape):
        self.shapes.append(input_shape)
        self.scale = self.add_weight("scale", (2,), "ones")

    def call(self, inputs):
        return inputs


def masks_of(batch):
    return None if batch.mask is None else batch.mask.tolist()


def kept(batch):
    """The kept steps, row after row."""
    if isinstance(batch, rm.Padded):
        return batch.values[slice(None) if batch.mask is None else batch.mask]
    if isinstance(batch, rm.Ragged):
        rows = batch.compact()
        return rows.values if rows.mask is None else rows.values[rows.mask]
    return batch


# -- names, weights and building ----------------------------------------------------------


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
    assert lstm.get_weights()[2].tolist() == [0] * 5 + [1] * 5 + [0] * 10
    assert lstm.count_params() == 80 + 100 + 20
    both = layers.Bidirectional(layers.LSTM(5, name="words"))
    both(frames)
    assert [name for name, _ in both.named_weights()] == [
        f"{both.name}/{lstm}/{weight}"
        for lstm in ("words", "backward_words")
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
    with pytest.raises(rm.InvalidInputError, match="not built yet: call it on a batch first"):
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
            self.table = self.add_weight("table", (5, 2))

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
        layer.add_weight("weight_0", (2,))
    with pytest.raises(rm.InvalidInputError, match="'bad' gave shape"):
        layer.add_weight("bad", (2,), lambda shape: np.ones(3))
    with pytest.raises(rm.InvalidInputError, match="initializer must be one of"):
        layer.add_weight("worse", (2,), "he_normal")
    assert len(layer.weights) == 1


def test_initializers():
    layers.set_random_seed(3)
    layer = layers.Layer()
    drawn = layer.add_weight("glorot", (30, 50))
    assert np.abs(drawn).max() <= math.sqrt(6 / 80)
    assert np.abs(drawn).max() > 0.95 * math.sqrt(6 / 80)
    for shape in ((4, 16), (16, 4)):
        q = layer.add_weight(f"orthogonal{shape}", shape, "orthogonal")
        product = q @ q.T if shape[0] < shape[1] else q.T @ q
        np.testing.assert_allclose(product, np.eye(4), atol=1e-6)
    normal = layer.add_weight("normal", (100, 100), "random_normal")
    assert abs(normal.std() - 0.05) < 0.002
    layers.set_random_seed(3)
    assert layers.Layer().add_weight("glorot", (30, 50)).tobytes() == drawn.tobytes()


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


# -- masks --------------------------------------------------------------------------------


def test_a_mask_is_passed_to_a_call_that_names_it(frames):
    layer = Sees()
    layer(frames)
    assert layer.seen.compact().values.tolist() == MASK
    assert layer.seen.lengths.tolist() == [3, 0, 2]
    layer(frames.to_padded())
    assert layer.seen.tolist() == [[True, False, True], [False] * 3, [True, True, False]]
    layer(np.ones((2, 3, 4)))
    assert layer.seen is None
    layer([frames, frames.compact()])
    assert len(layer.seen) == 2
    layer({"x": frames, "y": np.ones((3, 2))})
    assert layer.seen["x"].values.tolist() == MASK
    assert layer.seen["y"] is None


@pytest.mark.parametrize("form", ["ragged", "padded"])
def test_who_passes_on_and_who_drops(form, frames):
    batch = frames if form == "ragged" else frames.to_padded()
    assert masks_of(Passes()(batch)) == masks_of(batch)
    assert masks_of(Sees()(batch)) is None
    dropped = Drops()(batch)
    assert dropped.mask is None
    if form == "ragged":
        assert dropped.lengths.tolist() == [3, 0, 2]


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(2),
        layers.Activation("gelu"),
        layers.Dropout(0.5),
        layers.LSTM(2, return_sequences=True),
        layers.Bidirectional(layers.LSTM(2, return_sequences=True)),
        layers.TemporalSoftmax(),
        layers.Masking(9.0),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_our_layers_pass_masks_on(layer, frames):
    assert masks_of(layer(frames)) == MASK
    assert layer(frames.to_padded()).mask.tolist() == frames.to_padded().mask.tolist()
    mask = rm.Ragged.from_offsets(np.array(MASK), frames.offsets)
    computed = layer.compute_mask(frames, mask)
    assert isinstance(computed, rm.Ragged)
    assert computed.values.tolist() == MASK


def test_a_layer_of_its_own_that_changes_the_mask(frames):
    class Odd(layers.Layer):
        def call(self, inputs):
            return inputs

        def compute_mask(self, inputs, mask=None):
            odd = np.arange(inputs.n_steps) % 2 == 1
            return rm.Ragged(odd, inputs.starts, inputs.lengths)

    assert masks_of(Odd()(frames)) == [False, True, False, True, False]


def test_a_mask_made_inside_a_layer_is_kept(ids):
    class Encoder(layers.Layer):
        def __init__(self):
            super().__init__()
            self.embedding = layers.Embedding(5, 4, mask_zero=True)

        def call(self, inputs):
            return self.embedding(inputs)

    assert masks_of(Encoder()(ids)) == MASK
    lstm = layers.LSTM(3)
    encoder = Encoder()
    assert lstm(encoder(ids.to_padded().values)).tobytes() == lstm(encoder(ids)).tobytes()


BY_HAND = [False, True, True, False, True]


def test_a_mask_by_hand_takes_the_place_of_the_batchs(frames):
    lstm = layers.LSTM(3)
    kept_by_hand = rm.Ragged.from_offsets(frames.values, [0, 3, 3, 5], BY_HAND)
    expected = lstm(kept_by_hand).tobytes()
    mask = rm.Ragged.from_offsets(np.array(BY_HAND), [0, 3, 3, 5])
    assert lstm(frames, mask=mask).tobytes() == expected
    assert lstm(frames, mask=np.array(BY_HAND)).tobytes() == expected
    assert lstm(frames, mask=BY_HAND).tobytes() == expected
    padded = frames.to_padded()
    for array in (padded, padded.values):
        assert lstm(array, mask=mask.to_padded().values).tobytes() == expected
        assert lstm(array, mask=mask.to_padded()).tobytes() == expected
    view = rm.Ragged(frames.values[::-1], [2, 0, 0], [3, 0, 2])[::-1]
    back = rm.Ragged(np.array(BY_HAND)[::-1], [2, 0, 0], [3, 0, 2])[::-1]
    by_view = rm.Ragged(frames.values[::-1], [2, 0, 0], [3, 0, 2], np.array(BY_HAND)[::-1])[::-1]
    assert lstm(view, mask=back).tobytes() == lstm(by_view).tobytes()
    assert masks_of(Passes()(frames, mask=BY_HAND)) == BY_HAND
    assert Drops()(frames, mask=BY_HAND).mask is None


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (rm.Ragged.from_rows([[True, True], [], [True, True]]), "row 0: 3 steps and 2 steps"),
        (rm.Ragged.from_rows([[True] * 3, []]), "have 3 and 2 rows"),
        (np.ones(4, bool), r"mask has shape \(4,\); its values need \(5,\)"),
        (np.ones((3, 3), bool), r"mask has shape \(3, 3\)"),
        (np.ones(5, int), "mask must be bool"),
        ([np.ones(5, bool)], "a list of masks was given for one batch"),
    ],
)
def test_the_mask_of_another_batch(mask, match, frames):
    for layer in (layers.LSTM(3, name="words"), Passes(name="words")):
        with pytest.raises(rm.RagmaskError, match=f"(?s){match}.*in layer 'words'"):
            layer(frames, mask=mask)
    with pytest.raises(rm.InvalidInputError, match="layer 'words'"):
        layers.LSTM(3, name="words")(frames.to_padded(4), mask=np.ones((3, 3), bool))
    with pytest.raises(
        rm.InvalidInputError, match=r"(?s)the mask is a Ragged of 3 rows.*in layer 'words'"
    ):
        layers.LSTM(3, name="words")(
            frames.to_padded(), mask=rm.Ragged.from_rows([[True] * 3, [], [True] * 2])
        )


def test_a_layer_that_joins_has_to_say_what_becomes_of_masks(frames):
    class Sum(layers.Layer):
        supports_masking = True

        def call(self, inputs):
            return inputs[0] + inputs[1]

    with pytest.raises(rm.InvalidInputError, match=r"(?s)a list of masks.*in layer 'sum'"):
        Sum(name="sum")([frames, frames])


def test_embedding_masks_and_drops(ids):
    embedding = layers.Embedding(5, 2, mask_zero=True)
    assert masks_of(embedding(ids)) == MASK
    assert embedding.compute_mask(ids).values.tolist() == MASK
    masked = rm.Ragged.from_offsets(ids.values, [0, 3, 3, 5], [False, True, True, True, True])
    assert masks_of(embedding(masked)) == [False, False, True, True, True]
    assert embedding(masked.to_padded()).mask.tolist() == [
        [False, False, True],
        [False] * 3,
        [True, True, False],
    ]
    both = embedding.compute_mask(masked, masked.with_values(masked.mask))
    assert both.values.tolist() == [False, False, True, True, True]
    assert masks_of(layers.Embedding(5, 2)(masked)) is None
    assert layers.Embedding(5, 2).compute_mask(masked, masked.mask) is None
    with pytest.raises(rm.InvalidInputError, match=r"(?s)row 0, step 0: id 4.*in layer 'few'"):
        layers.Embedding(4, 2, name="few")(ids)
    with pytest.raises(rm.UnsupportedTypeError, match=r"(?s)ids must be integers.*in layer 'few'"):
        layers.Embedding(4, 2, name="few")(rm.Ragged.from_rows([[0.5]]))


def test_masking_and_the_mask_before_it(frames):
    values = frames.values.copy()
    values[3] = 0
    batch = rm.Ragged.from_offsets(values, [0, 3, 3, 5], MASK)
    assert masks_of(layers.Masking()(batch)) == [True, False, True, False, True]
    computed = layers.Masking().compute_mask(batch, batch.with_values(np.array(MASK)))
    assert computed.values.tolist() == [True, False, True, False, True]


def test_add_and_its_mask(frames):
    other = rm.Ragged.from_offsets(frames.values, [0, 3, 3, 5], BY_HAND)
    bare = rm.Ragged.from_offsets(frames.values, [0, 3, 3, 5])
    either = [one or two for one, two in zip(MASK, BY_HAND, strict=True)]
    add = layers.Add()
    assert masks_of(add([frames, other])) == either
    assert masks_of(add([frames, bare])) is None
    assert add([frames, other, bare]).values.tolist() == (frames.values * 3).tolist()
    padded = add([frames.to_padded(), other.to_padded()])
    assert padded.mask[[0, 0, 0, 2, 2], [0, 1, 2, 0, 1]].tolist() == either
    with pytest.raises(
        rm.InvalidInputError, match=r"(?s)row 0: 3 steps and 2 steps.*in layer 'sum'"
    ):
        layers.Add(name="sum")([frames, frames.truncate(2)])
    with pytest.raises(rm.UnsupportedTypeError, match="takes a list of batches; got Ragged"):
        add(frames)
    for pair in ([bare, bare.with_values(np.ones((5, 3)))], [np.ones((2, 3)), np.ones((2, 4))]):
        with pytest.raises(rm.InvalidInputError, match=r"(?s)do not fit.*in layer .sum."):
            layers.Add(name="sum")(pair)


def test_concatenate_and_its_mask(frames):
    other = rm.Ragged.from_offsets(frames.values[:, :1], [0, 3, 3, 5], BY_HAND)
    bare = rm.Ragged.from_offsets(frames.values[:, :1], [0, 3, 3, 5])
    either = [one or two for one, two in zip(MASK, BY_HAND, strict=True)]
    wide = layers.Concatenate()([frames, other])
    assert wide.item_shape == (5,)
    assert masks_of(wide) == either
    assert wide.values[:, :4].tobytes() == frames.values.tobytes()
    assert masks_of(layers.Concatenate()([frames, bare])) == [True] * 5
    assert masks_of(layers.Concatenate()([bare, bare])) is None
    padded = layers.Concatenate()([frames.to_padded(), other.to_padded()])
    assert padded.values[0].tolist() == wide[0].data.tolist()

    long = layers.Concatenate(axis=1)([frames, frames.truncate(1)])
    assert long.lengths.tolist() == [4, 0, 3]
    assert masks_of(long.compact()) == [True, False, True, True, True, True, True]
    assert layers.Concatenate()([np.ones((2, 3)), np.ones((2, 4))]).shape == (2, 7)

    named = layers.Concatenate(name="join")
    with pytest.raises(
        rm.InvalidInputError, match=r"(?s)row 0: 3 steps and 1 steps.*in layer 'join'"
    ):
        named([frames, frames.truncate(1)])
    with pytest.raises(
        rm.InvalidInputError, match=r"(?s)are numbers, not features.*in layer 'join'"
    ):
        named([rm.Ragged.from_rows([[1.0]])] * 2)
    with pytest.raises(rm.UnsupportedTypeError, match="of one kind; got Padded, Ragged"):
        named([frames, frames.to_padded()])
    with pytest.raises(rm.InvalidInputError, match="axis must be"):
        layers.Concatenate(axis=0)([frames, frames])


def test_temporal_layers(frames):
    first, second = layers.TemporalSplit(3)(frames)[:2]
    assert first.lengths.tolist() == [1, 0, 1]
    assert masks_of(second.compact()) == [False, True]
    joined = layers.TemporalConcat()(layers.TemporalSplit(3)(frames))
    assert joined.compact().values.tobytes() == frames.values.tobytes()
    assert masks_of(joined.compact()) == MASK
    shares = layers.TemporalSoftmax()(frames)
    assert not shares.values[1].any()
    np.testing.assert_allclose(rm.temporal_pool(shares, "sum")[[0, 2]], 1, 1e-6)
    for how in ("mean", "sum", "max", "first", "last"):
        pooled = layers.TemporalPool(how)(frames)
        assert pooled.tobytes() == rm.temporal_pool(frames, how).tobytes()
    with pytest.raises(rm.InvalidInputError, match=r"(?s)3 steps.*in layer 'cut'"):
        layers.TemporalSplit(2, name="cut")(frames)
    assert [len(part) for part in layers.TemporalSplit(2, width=4)(frames)] == [3, 3]
    with pytest.raises(rm.InvalidInputError, match=r"(?s)how must be one of.*in layer 'pool'"):
        layers.TemporalPool("median", name="pool")(frames)


# -- what layers compute ------------------------------------------------------------------


def numpy_activation(name, x):
    x = x.astype(float)
    if name == "softmax":
        powers = np.exp(x - x.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
    return {
        "linear": lambda: x,
        "relu": lambda: np.where(x > 0, x, 0),
        "tanh": lambda: np.tanh(x),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "gelu": lambda: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    }[name]()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["linear", "relu", "tanh", "sigmoid", "softmax", "gelu"])
def test_activations_are_numpys(name, dtype, frames):
    batch = frames.with_values((frames.values * 20).astype(dtype))
    result = layers.Activation(name)(batch)
    tolerance = 2e-6 if dtype == "float32" else 1e-12
    expected = numpy_activation(name, batch.values)
    np.testing.assert_allclose(result.values, expected, tolerance, tolerance)
    assert result.dtype == dtype
    assert masks_of(result) == MASK
    dense = layers.Dense(3, activation=name, bias_initializer="random_normal")
    result = dense(batch).values
    kernel, bias = dense.get_weights()
    expected = numpy_activation(name, batch.values.astype(float) @ kernel + bias)
    np.testing.assert_allclose(result, expected, 50 * tolerance, 50 * tolerance)


def test_activations_of_huge_numbers_are_finite():
    huge = np.array([[-1e30, 1e30], [3e38, 3e38]], "f4")
    for name in ("sigmoid", "softmax", "tanh"):
        assert np.isfinite(layers.Activation(name)(huge)).all()


@pytest.mark.parametrize("name", ["swish", np.tanh, 3])
def test_unknown_activations(name):
    for make in (layers.Activation, lambda name: layers.Dense(2, activation=name)):
        with pytest.raises(rm.InvalidInputError, match="activation must be one of 'linear'"):
            make(name)
    with pytest.raises(rm.UnsupportedTypeError, match="an LSTM's activations are tanh and sigmoid"):
        layers.LSTM(2, activation="relu")


def test_dropout():
    layers.set_random_seed(0)
    batch = rm.Ragged.from_offsets(np.ones((1000, 4), "f4"), [0, 400, 400, 1000])
    dropout = layers.Dropout(0.25)
    assert dropout(batch) is not None
    assert dropout(batch).values.tobytes() == batch.values.tobytes()
    dropped = dropout(batch, training=True)
    assert set(np.unique(dropped.values)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((dropped.values == 0).mean() - 0.25) < 0.03
    assert dropped.lengths.tolist() == [400, 0, 600]
    assert dropout(batch, training=True).values.tobytes() != dropped.values.tobytes()
    layers.set_random_seed(0)
    assert dropout(batch, training=True).values.tobytes() == dropped.values.tobytes()
    assert not layers.Dropout(1.0)(np.ones((2, 2)), training=True).any()
    for rate in (-0.1, 1.5, math.nan, "half"):
        with pytest.raises(rm.InvalidInputError, match="rate is a share"):
            layers.Dropout(rate)
    with pytest.raises(rm.UnsupportedTypeError, match="int64"):
        layers.Dropout(0.5)(np.ones((2, 2), "i8"), training=True)


def test_dropout_in_a_model_acts_in_training():
    model = layers.Sequential([layers.Sequential([layers.Dropout(1.0)])])
    ones = np.ones((2, 3), "f4")
    assert model(ones).all()
    assert not model(ones, training=True).any()


def test_any_layer_may_be_told_of_training(frames):
    dense = layers.Dense(2)
    assert dense(frames, training=True).values.tobytes() == dense(frames).values.tobytes()
    entry = layers.Input((None, 4))
    model = layers.Model(entry, layers.Dropout(1.0)(dense(entry, training=False), training=True))
    assert not model(frames).values.any()


def test_lstm_is_the_op(frames):
    lstm = layers.LSTM(5, return_sequences=True, return_state=True)
    outputs, h, c = lstm(frames)
    expected = rm.lstm(frames, rm.LSTMWeights(*lstm.get_weights()))
    assert outputs.values.tobytes() == expected.outputs.values.tobytes()
    assert h.tobytes() == expected.h.tobytes()
    assert c.tobytes() == expected.c.tobytes()
    zeroed = layers.LSTM(5, return_sequences=True, zero_output_for_mask=True)
    zeroed(frames)
    zeroed.set_weights(lstm.get_weights())
    assert not zeroed(frames).values[1].any()
    assert outputs.values[1].any()


def test_go_backwards_returns_outputs_in_the_order_they_were_computed(frames):
    lstm = layers.LSTM(5, return_sequences=True, go_backwards=True)
    outputs = lstm(frames)
    aligned = rm.lstm(frames, rm.LSTMWeights(*lstm.get_weights()), go_backwards=True).outputs
    for row in range(3):
        np.testing.assert_array_equal(outputs[row], aligned[row][::-1])
    assert masks_of(outputs) == MASK  # each row's is the same from its end
    padded = lstm(frames.to_padded())
    assert padded.mask[2].tolist() == [False, True, True]
    np.testing.assert_array_equal(kept(padded), kept(outputs))
    computed = lstm.compute_mask(frames, frames.with_values(np.array(MASK)))
    assert computed.values.tolist() == outputs.mask.tolist()
    uneven = rm.Ragged.from_offsets(frames.values[:3], [0, 3], [True, True, False])
    assert masks_of(lstm(uneven)) == [False, True, True]


def test_initial_state(frames):
    lstm = layers.LSTM(2, return_state=True)
    h, c = np.random.default_rng(1).standard_normal((2, 3, 2)).astype("f4")
    last, h_after, c_after = lstm(frames, initial_state=[h, c])
    expected = rm.lstm(frames, rm.LSTMWeights(*lstm.get_weights()), initial_state=(h, c))
    assert h_after.tobytes() == expected.h.tobytes() == last.tobytes()
    assert h_after[1].tolist() == h[1].tolist()  # a row without steps
    assert c_after[1].tolist() == c[1].tolist()
    for wrong in ([h[:2], c[:2]], h, [h]):
        with pytest.raises(
            rm.InvalidInputError, match=f"initial_state(.|\n)*in layer '{lstm.name}'"
        ):
            lstm(frames, initial_state=wrong)
    both = layers.Bidirectional(layers.LSTM(2, return_state=True))
    states = both(frames, initial_state=[h, c, h * 2, c * 2])[1:]
    for after, before in zip(states, (h, c, h * 2, c * 2), strict=True):
        assert after[1].tolist() == before[1].tolist()
    with pytest.raises(rm.InvalidInputError, match="initial_state is four arrays"):
        both(frames, initial_state=[h, c])


@pytest.mark.parametrize("form", ["ragged", "post", "pre"])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
def test_bidirectional_is_two_lstms(mode, return_sequences, form, frames):
    batch = frames if form == "ragged" else frames.to_padded(5, padding=form)
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=return_sequences), merge_mode=mode)
    merged = both(batch)
    forward, backward = (
        rm.lstm(batch, rm.LSTMWeights(*both.get_weights()[first : first + 3]), go_backwards=back)
        for first, back in ((0, False), (3, True))
    )
    one, two = (
        kept(result.outputs) if return_sequences else result.h for result in (forward, backward)
    )
    expected = {
        "concat": lambda: np.concatenate([one, two], -1),
        "sum": lambda: one + two,
        "mul": lambda: one * two,
        "ave": lambda: (one + two) / 2,
        None: lambda: [one, two],
    }[mode]()
    if mode is None:
        assert isinstance(merged, list)
        for ours, theirs in zip(merged, expected, strict=True):
            np.testing.assert_array_equal(kept(ours), theirs)
    else:
        np.testing.assert_array_equal(kept(merged), expected)
        if return_sequences:
            assert masks_of(merged) == masks_of(batch)


def test_what_bidirectional_refuses(frames):
    with pytest.raises(rm.UnsupportedTypeError, match="Bidirectional takes LSTMs; got Dense"):
        layers.Bidirectional(layers.Dense(2))
    with pytest.raises(rm.UnsupportedTypeError, match="Bidirectional takes LSTMs; got int"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=3)
    with pytest.raises(rm.InvalidInputError, match="merge_mode must be"):
        layers.Bidirectional(layers.LSTM(2), merge_mode="max")
    with pytest.raises(rm.InvalidInputError, match="both LSTMs read in one direction"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2))
    wide = layers.LSTM(3, go_backwards=True)
    assert layers.Bidirectional(layers.LSTM(2), backward_layer=wide)(frames).shape == (3, 5)
    with pytest.raises(rm.InvalidInputError, match="its two LSTMs differ in units"):
        layers.Bidirectional(layers.LSTM(2), merge_mode="sum", backward_layer=wide)
    with pytest.raises(rm.InvalidInputError, match="differ in return_sequences"):
        layers.Bidirectional(layers.LSTM(2, return_sequences=True), backward_layer=wide)


def every_layer():
    return {
        "dense": layers.Dense(7, activation="tanh"),
        "gelu": layers.Activation("gelu"),
        "softmax": layers.Activation("softmax"),
        "masking": layers.Masking(),
        "dropout": layers.Dropout(0.5),
        "lstm": layers.LSTM(5),
        "lstm sequences": layers.LSTM(5, return_sequences=True),
        "lstm backwards": layers.LSTM(5, return_sequences=True, go_backwards=True),
        "bidirectional": layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
        "temporal softmax": layers.TemporalSoftmax(),
        "pool": layers.TemporalPool("mean"),
        "model": layers.Sequential([layers.Dense(4), layers.LSTM(3)]),
    }


@pytest.mark.parametrize("name", every_layer())
@given(ragged=raggeds(dtypes=("uint8",), item_shapes=[()], masked=(False,), max_steps=6))
def test_padding_changes_nothing(name, ragged):
    """At kept steps, bit for bit; but for Dense, whose sums BLAS orders by the array's shape."""
    layer = every_layer()[name]
    batch = with_normals(ragged, "float32", (4,))
    expected = kept(layer(batch))
    for padded in (
        batch.to_padded(value=9),
        batch.to_padded(padding="pre", value=9),
        batch.to_padded(batch.max_length + 5, value=np.nan),
        batch.to_padded(batch.max_length + 1, value=np.inf),
    ):
        result = kept(layer(padded))
        if name in ("dense", "model"):
            np.testing.assert_allclose(result, expected, 1e-5, 1e-6)
        else:
            assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", every_layer())
def test_no_rows_and_rows_without_steps(name, frames):
    for batch, rows in ((frames[:0], 0), (frames[[1, 1]], 2), (frames[[0]][:0].compact(), 0)):
        for form in (batch, batch.to_padded(), batch.to_padded(3)):
            result = every_layer()[name](form)
            assert len(result) == rows
            values = result if isinstance(result, np.ndarray) else kept(result)
            assert np.isfinite(values).all()
            assert not values.any()


@pytest.mark.parametrize(
    "given", ["words", None, 3.5, [[1.0, 2.0], [3.0]], np.ma.MaskedArray([[1.0]], [[True]]), [], {}]
)
def test_what_is_no_batch(given):
    with pytest.raises(rm.RagmaskError, match=r"inputs|takes"):
        layers.Dense(2)(given)


# -- models -------------------------------------------------------------------------------


def words(**options):
    return layers.Input((None,), dtype="int32", **options)


def two_inputs():
    a, b = words(name="a"), words(name="b")
    embedding = layers.Embedding(5, 4, mask_zero=True, name="shared")
    joined = layers.Add(name="join")([embedding(a), embedding(b)])
    states = layers.LSTM(3, return_sequences=True, name="read")(joined)
    last = layers.TemporalPool("last", name="end")(states)
    return layers.Model([a, b], {"states": states, "last": last}, name="two")


def test_symbols_say_what_they_are():
    x = words(name="ids")
    assert repr(x) == "Symbol(shape (rows, time), int32, from 'ids')"
    assert x.shape == (None, None)
    assert not x.is_masked
    y = layers.Embedding(5, 4, mask_zero=True, name="e")(x)
    assert repr(y) == "Symbol(shape (rows, time, 4), float32, masked, from 'e')"
    flat = layers.Input((3,), name="flat")
    assert repr(flat) == "Symbol(shape (rows, 3), float32, from 'flat')"
    assert repr(layers.LSTM(2, name="r")(y)) == "Symbol(shape (rows, 2), float32, from 'r')"


def test_symbols_are_no_values():
    x = words()
    for use in (bool, list, np.asarray, lambda x: x + 1, layers.relu, len):
        with pytest.raises(TypeError):
            use(x)


@pytest.mark.parametrize("shape", [None, 5, (None, None), (-1,), (2.5,), (True,), "ab"])
def test_shapes_that_are_none(shape):
    with pytest.raises(rm.InvalidInputError, match="shape is that of a row"):
        layers.Input(shape)


def test_a_layer_is_tried_when_it_is_connected():
    with pytest.raises(rm.InvalidInputError, match="layer 'read' takes steps of features"):
        layers.LSTM(3, name="read")(words())
    with pytest.raises(rm.UnsupportedTypeError, match=r"(?s)must be float.*in layer 'shares'"):
        layers.TemporalSoftmax(name="shares")(words())

    class Nothing(layers.Layer):
        def call(self, inputs):
            return None

    with pytest.raises(rm.UnsupportedTypeError, match="layer 'nothing' gave a NoneType"):
        Nothing()(words())


def test_several_inputs_and_outputs(ids):
    model = two_inputs()
    result = model([ids, ids])
    assert list(result) == ["states", "last"]
    assert masks_of(result["states"]) == MASK
    expected = rm.temporal_pool(result["states"], "last")
    assert result["last"].tobytes() == expected.tobytes()
    for inputs in ((ids, ids), {"b": ids, "a": ids, "c": "not looked at"}):
        assert model(inputs)["last"].tobytes() == result["last"].tobytes()
    padded = model([ids.to_padded().values] * 2)
    assert padded["last"].tobytes() == result["last"].tobytes()
    assert model.input_names == ["a", "b"]
    assert model.output_names == ["states", "last"]
    assert [layer.name for layer in model.layers] == ["shared", "join", "read", "end"]
    assert model.count_params() == 20 + 4 * 12 + 3 * 12 + 12
    assert model.get_layer("read").units == 3
    with pytest.raises(rm.InvalidInputError, match="model 'two' has no layer 'raed'; it has"):
        model.get_layer("raed")


def test_a_dict_of_inputs_goes_by_its_keys(ids):
    a, b = words(name="a"), words(name="b")
    embedding = layers.Embedding(5, 2)
    model = layers.Model({"left": a, "right": b}, [embedding(b), embedding(a)])
    other = ids + 0 * ids
    right, left = model({"right": other, "left": ids})
    assert right.values.tobytes() == left.values.tobytes()
    with pytest.raises(rm.InvalidInputError, match="needs 'left'; it was called on 'a', 'b'"):
        model({"a": ids, "b": ids})


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (lambda ids: {"a": ids}, "model 'two' needs 'b'; it was called on 'a'"),
        (lambda ids: {}, "model 'two' needs 'a'; it was called on nothing"),
        (lambda ids: [ids], "model 'two' has 2 inputs; it was called on 1"),
        (lambda ids: [ids] * 3, "model 'two' has 2 inputs; it was called on 3"),
        (lambda ids: ids[:2], "model 'two' is called on a list of batches, 'a', 'b'; got a Ragged"),
        (lambda ids: [ids, ids.with_values(np.ones((5, 2), int))], "input 'b' is of shape"),
        (lambda ids: [ids, np.ones(3, int)], "input 'b' is of shape"),
        (lambda ids: [ids, ids[:2]], "layer 'join'"),
    ],
)
def test_inputs_that_do_not_fit(inputs, match, ids):
    with pytest.raises(rm.RagmaskError, match=match):
        two_inputs()(inputs(ids))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("rows", [[[1, 2], [3]], [[], [5]], [[4]]])
def test_plain_numbers_for_steps_of_one_say_what_to_do(rows, dtype):
    x = layers.Input((None, 1), dtype, name="x")
    model = layers.Model(x, layers.TemporalPool("sum")(x))
    series = rm.Ragged.from_rows(rows, dtype)
    with pytest.raises(rm.InvalidInputError, match=r"x\.with_values\(x\.values\[:, None\]\)"):
        model(series)
    assert model(series.with_values(series.values[:, None])).tolist() == [[sum(r)] for r in rows]
    with pytest.raises(rm.InvalidInputError, match=r"(?m)got steps of shape \(2,\)$"):
        model(series.with_values(np.ones((series.n_steps, 2), dtype)))


def test_one_input_is_one_batch(ids):
    x = words(name="ids")
    model = layers.Model(x, layers.Embedding(5, 2)(x), name="one")
    with pytest.raises(rm.UnsupportedTypeError, match="called on one batch, 'ids'; got a list"):
        model([ids])
    with pytest.raises(rm.InvalidInputError, match="needs 'ids'; it was called on 'words'"):
        model({"words": ids})
    assert model({"ids": ids}).values.tobytes() == model(ids).values.tobytes()
    assert model([[1, 2], [3, 4]]).shape == (2, 2, 2)  # numbers are an array


def test_a_streams_batch_is_an_input(tmp_path):
    rows = [[{"a": 1, "b": 2}, {"a": 0, "b": 1}], [{"a": 3, "b": 4}], []]
    table = pa.table(
        {"w": rows, "a": [[1, 2], [], [3]], "b": [[0, 2], [], [4]], "label": [0, 1, 0]}
    )
    pq.write_table(table, tmp_path / "f")
    batch = next(iter(rm.stream(tmp_path / "f").batch(rows=3)))
    result = two_inputs()(batch)
    assert masks_of(result["states"]) == [True, True, True]
    fields = words(name="w.a")
    model = layers.Model(fields, layers.Embedding(5, 2, mask_zero=True)(fields))
    assert masks_of(model(batch)) == [True, False, True]
    x = words(name="x")
    other = layers.Model(x, layers.Embedding(5, 2)(x))
    with pytest.raises(rm.InvalidInputError, match="needs 'x'; it was called on 'w', 'a', 'b'"):
        other(batch)


def test_what_is_no_graph():
    a, b = words(name="a"), words(name="b")
    y = layers.Embedding(5, 2)(a)
    refused = [
        ([a, b], y, "no output needs its input 'b'"),
        (b, y, "need the input 'a', which is not among its inputs"),
        (y, layers.Dense(2)(y), "need the input 'a'"),
        ([a, y], layers.Dense(2)(y), "its inputs come from Input"),
        ([a, a], y, "2 of its inputs are 'a'"),
    ]
    for inputs, outputs, match in refused:
        with pytest.raises(rm.InvalidInputError, match=match):
            layers.Model(inputs, outputs)
    for inputs, outputs in ((3, y), (a, 3), ([a, 3], y), (a, [y, None]), ([], y), (a, {})):
        with pytest.raises(rm.UnsupportedTypeError, match="puts are Symbols, as Input"):
            layers.Model(inputs, outputs)
    same = [words(name="same"), words(name="same")]
    with pytest.raises(rm.InvalidInputError, match="2 of its inputs are 'same'"):
        layers.Model(same, layers.Add()([layers.Embedding(5, 2)(one) for one in same]))
    with pytest.raises(rm.InvalidInputError, match="two layers named 'd': give one a name="):
        layers.Model(a, layers.Dense(2, name="d")(layers.Dense(2, name="d")(y)))


def test_a_shared_layer_has_one_set_of_weights(frames):
    x = layers.Input((None, 4))
    dense = layers.Dense(4)
    model = layers.Model(x, dense(dense(x)))
    assert model.layers == [dense]
    assert model.count_params() == 20
    np.testing.assert_allclose(model(frames).values, dense(dense(frames)).values, 1e-6)


def test_a_model_is_a_layer(ids):
    inner = two_inputs()
    a, b = words(name="p"), words(name="q")
    outer = layers.Model([a, b], layers.LSTM(2, name="top")(inner([a, b])["states"]))
    assert outer.layers[0] is inner
    assert outer.count_params() == inner.count_params() + 3 * 8 + 2 * 8 + 8
    expected = outer.get_layer("top")(inner([ids, ids])["states"])
    assert outer([ids, ids]).tobytes() == expected.tobytes()
    stacked = layers.Sequential(
        [layers.Sequential([layers.Embedding(5, 4, mask_zero=True)]), layers.LSTM(2)]
    )
    assert stacked(ids).tobytes() == stacked(ids.to_padded().values).tobytes()


def test_masks_and_states_by_hand_in_a_graph(frames):
    x, keep = layers.Input((None, 4)), layers.Input((None,), dtype="bool", name="keep")
    h, c = layers.Input((2,)), layers.Input((2,))
    lstm = layers.LSTM(2)
    model = layers.Model([x, keep, h, c], lstm(x, mask=keep, initial_state=[h, c]))
    state = list(np.random.default_rng(0).standard_normal((2, 3, 2)).astype("f4"))
    mask = rm.Ragged.from_offsets(np.array(BY_HAND), [0, 3, 3, 5])
    expected = lstm(frames, mask=mask, initial_state=state)
    assert model([frames, mask, *state]).tobytes() == expected.tobytes()
    padded = model([frames.to_padded(), mask.to_padded().values, *state])
    assert padded.tobytes() == expected.tobytes()
    encoder, h_after, c_after = layers.LSTM(2, return_state=True)(x)
    decoded = layers.LSTM(2, return_sequences=True)(x, initial_state=[h_after, c_after])
    assert layers.Model(x, [encoder, decoded])(frames)[1].item_shape == (2,)


def test_a_split_in_a_graph(frames):
    x = layers.Input((None, 4))
    parts = layers.TemporalSplit(3)(x)
    assert len(parts) == 3
    model = layers.Model(x, layers.TemporalConcat()(parts[::-1]))
    joined = model(frames)
    assert joined.lengths.tolist() == [3, 0, 2]
    assert joined.compact().values[:3].tobytes() == frames.values[[2, 1, 0]].tobytes()
    assert masks_of(joined.compact()) == [True, False, True, True, True]
    with pytest.raises(rm.InvalidInputError, match="3 steps"):
        layers.Model(x, layers.TemporalSplit(2)(x))(frames)


def test_a_split_into_any_number_of_parts():
    x = layers.Input((None, 4))
    inner = layers.Model(x, layers.TemporalSplit(11)(x))
    y = layers.Input((None, 4))
    last = inner(y)[-1]
    model = layers.Model(y, layers.TemporalPool("sum")(last))
    ones = rm.Ragged.from_offsets(np.ones((33, 4), "f4"), [0, 22, 33])
    assert model(ones).tolist() == [[2.0] * 4, [0.0] * 4]


def test_a_layer_that_gives_another_number_of_batches_than_it_did(frames):
    class PerRow(layers.Layer):
        def call(self, inputs):
            return [inputs] * len(inputs)

    x = layers.Input((None, 4))
    model = layers.Model(x, PerRow(name="per_row")(x))
    with pytest.raises(rm.InvalidInputError, match="layer 'per_row' gave 3 batches, and 1 when"):
        model(frames)


def test_sequential(ids):
    model = layers.Sequential([layers.Embedding(5, 4, mask_zero=True)], name="steps")
    assert not model.built
    assert repr(model) == "Sequential('steps', 1 layer, 0 numbers)"
    assert masks_of(model(ids)) == MASK
    model.add(layers.LSTM(2))
    assert model(ids).shape == (3, 2)
    first = layers.Sequential([words(), layers.Embedding(5, 4), layers.LSTM(2)])
    assert first.built
    assert first.count_params() == 20 + 4 * 8 + 2 * 8 + 8
    dense = layers.Dense(3)
    twice = layers.Sequential([layers.Input((3,)), dense, dense])
    assert twice.layers == [dense]
    assert twice.count_params() == 12
    assert layers.Sequential([layers.Dense(2)])(np.ones((2, 3), "f4")).shape == (2, 2)
    assert layers.Sequential([layers.LSTM(2)])(np.ones((2, 3, 4), "f4")).shape == (2, 2)


def test_what_sequential_refuses(ids):
    model = layers.Sequential([layers.Embedding(5, 4)], name="steps")
    with pytest.raises(rm.InvalidInputError, match="model 'steps': an Input comes first"):
        model.add(words())
    with pytest.raises(rm.UnsupportedTypeError, match="is made of layers; got int"):
        model.add(3)
    with pytest.raises(rm.UnsupportedTypeError, match="takes one batch; got a list"):
        model([ids, ids])
    with pytest.raises(rm.InvalidInputError, match="'none' has no layers: add some"):
        layers.Sequential(name="none")(ids)
    model(ids)
    for layer in (layers.Embedding(2, 2), layers.Dense(2, name=model.layers[0].name)):
        with pytest.raises(rm.RagmaskError):
            model.add(layer)
        assert len(model.layers) == 1
        assert model(ids).item_shape == (4,)
    with pytest.raises(rm.InvalidInputError, match=r"input .* got steps of shape \(2,\)"):
        model(ids.with_values(np.ones((5, 2), int)))
    with pytest.raises(rm.UnsupportedTypeError, match="save it with"):
        model.get_config()


# -- masks that get lost ------------------------------------------------------------------


def losing(*between):
    x = words()
    y = layers.Embedding(5, 4, mask_zero=True)(x)
    for layer in between:
        y = layer(y)
    return layers.Model(x, layers.LSTM(3, name="read")(y))


def test_a_lost_mask_is_told_once(ids):
    model = losing(Drops(name="loser"), Passes())
    told = "layer 'read' uses masks and gets none: layer 'loser' before it dropped the mask"
    with pytest.warns(layers.MaskWarning, match=told) as caught:
        model(ids)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    model(ids)  # warnings are errors here
    with pytest.warns(layers.MaskWarning, match="layer 'loser'"):
        losing(Passes(), Drops(name="loser"))(ids.to_padded())
    stacked = layers.Sequential(
        [layers.Embedding(5, 4, mask_zero=True), Drops(name="loser"), layers.TemporalSoftmax()]
    )
    with pytest.warns(layers.MaskWarning, match="layer 'loser'") as caught:
        stacked(ids)
    assert caught[0].filename == __file__


def test_a_layer_that_uses_the_mask_may_lose_it_too(ids):
    with pytest.warns(layers.MaskWarning, match="layer 'sees' before it dropped the mask"):
        losing(Sees(name="sees"))(ids)


def test_nothing_lost_is_nothing_told(ids):
    losing(Passes())(ids)
    losing(layers.Dense(4), layers.Dropout(0.5), layers.Activation("relu"))(ids)
    x = words()
    bare = Drops()(layers.Embedding(5, 4)(x))  # lengths are no mask to drop
    layers.Model(x, layers.LSTM(3)(bare))(ids)
    y = layers.Embedding(5, 4, mask_zero=True)(x)
    pooled = Drops()(layers.TemporalPool("mean")(y))
    layers.Model(x, [pooled, layers.LSTM(3)(y)])(ids)
    dropped = Drops()(y)  # which nobody misses
    layers.Model(x, [dropped, layers.LSTM(3)(y)])(ids)
    keep = layers.Input((None,), dtype="bool")  # and here another one takes its place
    by_hand = layers.LSTM(3)(Drops()(y), mask=keep)
    layers.Model([x, keep], by_hand)([ids, ids > 1])


# -- summaries ----------------------------------------------------------------------------


def fates(model, capsys):
    """{layer: what the table says of its mask}."""
    model.summary()
    lines = capsys.readouterr().out.splitlines()
    begin, end = lines[1].index("mask"), lines[1].index("from")
    return {line.split(" ")[0]: line[begin:end].strip() for line in lines[3:-1]}


def test_summary_says_where_masks_go(capsys):
    x = words(name="ids")
    y = layers.Embedding(5, 4, mask_zero=True, name="makes")(x)
    y = layers.Dense(4, name="passes")(y)
    first, second = layers.TemporalSplit(name="changes")(y)
    y = layers.TemporalConcat(name="joins")([first, second])
    y = layers.LSTM(4, return_sequences=True, name="uses")(y)
    y = Drops(name="drops")(y)
    y = layers.Dense(2, name="bare")(y)
    y = layers.TemporalPool(name="misses")(y)
    assert fates(layers.Model(x, y), capsys) == {
        "ids": "",
        "makes": "made",
        "passes": "passed",
        "changes": "changed",
        "joins": "changed",
        "uses": "used, passed",
        "drops": "dropped",
        "bare": "",
        "misses": "",
    }


def test_summary_of_those_that_use_masks(capsys):
    x = words(name="ids")
    y = layers.Embedding(5, 4, mask_zero=True, name="makes")(x)
    seen = Sees(name="sees")(y)
    back = layers.LSTM(2, return_sequences=True, go_backwards=True, name="back")(y)
    last = layers.LSTM(2, name="last")(y)
    told = fates(layers.Model(x, [seen, back, last]), capsys)
    assert told["sees"] == "used, dropped"
    assert told["back"] == "used, changed"
    assert told["last"] == "used"


def test_summary_is_a_table(capsys):
    two_inputs().summary()
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "Model 'two'"
    assert out.splitlines()[-1] == "116 numbers in all"
    assert "join (Add)          (rows, time, 4)  0        changed       shared" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("shared (Embedding)")]
    assert rows[0][-3:] == ["20", "made", "a"]
    assert rows[1][-2:] == ["made", "b"]
    assert "20" not in rows[1]  # shared weights are counted once
    layers.Sequential([layers.Dense(2, name="d")], name="s").summary()
    told = capsys.readouterr().out
    assert told == "Model 's': d; built on the first batch it is called on\n"


def test_layers_and_models_print_as_they_were_made():
    assert repr(layers.Embedding(10, 4, mask_zero=True, name="e")) == (
        "Embedding('e', input_dim=10, output_dim=4, mask_zero=True)"
    )
    assert repr(layers.LSTM(3, name="r", return_state=True)) == (
        "LSTM('r', units=3, return_state=True)"
    )
    assert repr(Drops(name="d")) == "Drops('d')"
    both = layers.Bidirectional(layers.LSTM(3, name="r"), name="b")
    assert repr(both) == "Bidirectional('b', layer=LSTM('r', units=3))"
    assert repr(two_inputs()) == "Model('two', 4 layers, 116 numbers)"


def test_get_config_makes_the_layer_again():
    layer = layers.Dense(3, "relu", use_bias=False, name="d")
    again = layers.Dense(**layer.get_config())
    assert repr(again) == repr(layer)
    assert (again.units, again.activation, again.use_bias) == (3, "relu", False)
    first = layers.Bidirectional(layers.LSTM(3, return_sequences=True, use_bias=False))
    assert first.backward_layer.use_bias is False
    assert first.backward_layer.go_backwards is True
