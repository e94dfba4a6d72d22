"""Every example of "Understanding masking & padding" (Scott Zhu and François Chollet, Keras).

On its own numbers, with the masks it prints, and with the same rows as a Ragged beside its arrays.
"""

import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers

RAW_INPUTS = [[711, 632, 71], [73, 8, 3215, 55, 927], [83, 91, 1, 645, 1253, 927]]
LENGTHS = [3, 5, 6]
MASK = [
    [True, True, True, False, False, False],
    [True, True, True, True, True, False],
    [True, True, True, True, True, True],
]


EXAMPLE = Path(__file__).parents[1] / "examples" / "06_masking_guide.py"


@cache
def example():
    """The names that the example leaves, once it has run."""
    return SimpleNamespace(**runpy.run_path(str(EXAMPLE)))


def my_layer():
    return example().MyLayer()


class TemporalSplit(layers.Layer):
    """The guide's: arrays are cut by numpy, as it cuts its tensors."""

    def call(self, inputs):
        if isinstance(inputs, rm.Ragged):
            return rm.temporal_split(inputs, 2)
        return np.split(inputs.values, 2, axis=1)

    def compute_mask(self, inputs, mask=None):
        if mask is None:
            return None
        if isinstance(mask, rm.Ragged):
            return rm.temporal_split(mask, 2)
        return np.split(mask, 2, axis=1)


class TemporalSoftmax(layers.Layer):
    """The guide's, but for the axis of its sum."""

    def call(self, inputs, mask=None):
        if isinstance(inputs, rm.Ragged):
            return rm.temporal_softmax(inputs, mask=mask)
        broadcast_float_mask = np.expand_dims(mask.astype("float32"), -1)
        inputs_exp = np.exp(inputs.values) * broadcast_float_mask
        return inputs_exp / inputs_exp.sum(axis=1, keepdims=True)


@pytest.fixture
def ragged():
    return rm.Ragged.from_rows(RAW_INPUTS)


@pytest.fixture
def padded():
    return rm.pad_sequences(RAW_INPUTS, padding="post")


def features(ids):
    """Ids as 10 equal features: the guide's stand-in for an embedding."""
    if isinstance(ids, rm.Ragged):
        return ids.with_values(np.tile(ids.values[:, None], (1, 10)).astype("float32"))
    return np.tile(np.expand_dims(ids, -1), (1, 1, 10)).astype("float32")


def assert_every_step_is_kept(batch):
    assert batch.lengths.tolist() == LENGTHS
    assert batch.compact().mask.tolist() == [True] * sum(LENGTHS)


def assert_same_rows(ragged, padded):
    """The kept steps of both are the same, bit for bit."""
    rows = rm.Ragged.from_padded(padded)
    assert rows.lengths.tolist() == ragged.lengths.tolist()
    assert rows.compact().values.tobytes() == ragged.compact().values.tobytes()


def test_words_to_ids():
    sentences = [
        ["Hello", "world", "!"],
        ["How", "are", "you", "doing", "today"],
        ["The", "weather", "will", "be", "nice", "tomorrow"],
    ]
    vocabulary = rm.Vocabulary.build(sentences)
    ids = vocabulary.encode(sentences)
    assert ids.lengths.tolist() == LENGTHS
    assert sorted(ids.values) == list(range(2, 16))  # each word once; 0 is padding, 1 unknown
    assert vocabulary.decode(ids).to_pylist() == sentences
    assert vocabulary.encode([["Hello", "moon"]])[0].tolist() == [ids[0][0], 1]


def test_padding(ragged, padded):
    printed = [[711, 632, 71, 0, 0, 0], [73, 8, 3215, 55, 927, 0], [83, 91, 1, 645, 1253, 927]]
    assert padded.tolist() == printed
    assert padded.dtype == np.int32
    assert ragged.to_padded().values.tolist() == printed
    assert ragged.to_padded().mask.tolist() == MASK


def test_embedding_makes_a_mask(ragged, padded):
    embedding = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)
    masked_output = embedding(padded)
    assert masked_output.mask.tolist() == MASK
    assert masked_output.shape == (3, 6, 16)
    assert_every_step_is_kept(embedding(ragged))
    assert_same_rows(embedding(ragged), masked_output)
    assert layers.Embedding(5000, 16)(ragged).mask is None


def test_masking_makes_a_mask(ragged, padded):
    masked_embedding = layers.Masking()(features(padded))
    assert masked_embedding.mask.tolist() == MASK
    assert_every_step_is_kept(layers.Masking()(features(ragged)))
    assert_same_rows(layers.Masking()(features(ragged)), masked_embedding)


def sequential():
    return layers.Sequential(
        [layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True), layers.LSTM(32)]
    )


def functional():
    inputs = layers.Input(shape=(None,), dtype="int32")
    x = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)(inputs)
    return layers.Model(inputs, layers.LSTM(units=32)(x))


def functional_with_activation():
    inputs = layers.Input(shape=(None,), dtype="int32")
    x = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)(inputs)
    x = example().MyActivation()(x)
    assert x.is_masked
    return layers.Model(inputs, layers.LSTM(32)(x))


@pytest.mark.parametrize("make", [sequential, functional, functional_with_activation, my_layer])
def test_the_lstm_gets_the_mask(make, ragged, padded):
    model = make()
    output = model(padded)
    assert output.shape == (3, 32)
    assert output.dtype == np.float32
    assert output.tobytes() == model(ragged).tobytes()
    before = rm.pad_sequences(RAW_INPUTS, maxlen=11)
    assert output.tobytes() == model(before).tobytes()
    assert model.count_params() == 5000 * 16 + 16 * 128 + 32 * 128 + 128

    words, kernel, recurrent, bias = model.get_weights()
    x = words[ragged.values]
    if make is functional_with_activation:
        x = np.maximum(x, 0)
    weights = rm.LSTMWeights(kernel, recurrent, bias)
    by_hand = rm.lstm(ragged.with_values(x), weights).h
    np.testing.assert_allclose(output, by_hand, 1e-5, 1e-7)
    heedless = rm.lstm(words[padded], weights).h
    assert np.abs(output[0] - heedless[0]).max() > 1e-4  # the mask made a difference


def test_a_mask_by_hand_in_a_layer_of_layers():
    layer = my_layer()
    x = (np.random.default_rng(0).random((32, 10)) * 5).astype("int32")
    assert (x == 0).any()
    output = layer(x)
    assert output.shape == (32, 32)
    assert output.tobytes() == layer(rm.Ragged.from_padded(x)).tobytes()
    kept = rm.Ragged.from_rows([row[row != 0] for row in x])
    np.testing.assert_allclose(layer(kept), output, 1e-5, 1e-7)
    assert layer.sublayers == [layer.embedding, layer.lstm]


def test_temporal_split_changes_the_mask(ragged, padded):
    masked_embedding = layers.Masking()(features(padded))
    first_half, second_half = TemporalSplit()(masked_embedding)
    assert first_half.mask.tolist() == [[True, True, True]] * 3
    assert second_half.mask.tolist() == [
        [False, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert first_half.values[:, :, 0].tolist() == padded[:, :3].tolist()
    assert second_half.values[:, :, 0].tolist() == padded[:, 3:].tolist()

    first_rows, second_rows = TemporalSplit()(layers.Masking()(features(ragged)))
    assert first_rows.lengths.tolist() == [3, 3, 3]
    assert second_rows.lengths.tolist() == [0, 2, 3]
    assert_same_rows(first_rows, first_half)
    assert_same_rows(second_rows, second_half)
    halves = layers.TemporalSplit()(masked_embedding)
    for ours, theirs in zip(halves, (first_half, second_half), strict=True):
        assert ours.mask.tolist() == theirs.mask.tolist()
        assert ours.values.tolist() == theirs.values.tolist()


def test_temporal_split_in_a_graph(ragged):
    inputs = layers.Input(shape=(None,), dtype="int32")
    x = layers.Embedding(5000, 16, mask_zero=True)(inputs)
    first, second = TemporalSplit()(x)
    assert first.is_masked
    assert second.is_masked
    model = layers.Model(inputs, [layers.LSTM(4)(first), layers.LSTM(4)(second)])
    heads, tails = model(ragged)
    assert heads.shape == tails.shape == (3, 4)
    assert not tails[0].any()  # no step of the first row is there
    assert tails[1:].any(axis=1).all()


def test_custom_embedding_makes_a_mask():
    printed = [
        [True, True, False, True, False, False, True, True, True, True],
        [True, True, True, False, True, False, True, True, True, True],
        [True, True, True, True, True, True, False, True, True, True],
    ]
    x = np.where(printed, np.random.default_rng(0).integers(1, 9, (3, 10)), 0)
    layer = example().CustomEmbedding(10, 32, mask_zero=True)
    y = layer(x)
    assert layer.compute_mask(x).tolist() == printed
    assert y.mask.tolist() == printed
    assert y.values.tobytes() == layer.get_weights()[0][x].tobytes()

    cut = rm.Ragged.from_padded(x, lengths=[10, 4, 0])
    assert layer.compute_mask(cut).to_padded().values.tolist() == [
        printed[0],
        [*printed[1][:4], *[False] * 6],
        [False] * 10,
    ]
    assert layer(cut).mask.tolist() == printed[0] + printed[1][:4]
    assert layer(x[:, :7]).mask.tolist() == [row[:7] for row in printed]  # another width
    assert isinstance(example().CustomEmbedding(10, 32)(x), np.ndarray)


def test_a_custom_embedding_keeps_what_its_ids_had_masked():
    ids = rm.Ragged([3, 4, 0, 5], [0, 2], [2, 2], mask=[True, False, True, True])
    layer = example().CustomEmbedding(10, 2, mask_zero=True)
    assert layer(ids).mask.tolist() == [True, False, False, True]
    assert layer(ids.to_padded()).mask.tolist() == [[True, False], [False, True]]


def test_my_activation_passes_the_mask_on(ragged, padded):
    embedding = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)
    output = example().MyActivation()(embedding(padded))
    assert output.mask.tolist() == MASK
    assert output.values.min() == 0
    assert_every_step_is_kept(example().MyActivation()(embedding(ragged)))
    assert_same_rows(example().MyActivation()(embedding(ragged)), output)


def test_without_supports_masking_the_mask_ends(ragged, padded):
    class Destroys(layers.Layer):
        def call(self, inputs):
            return layers.relu(inputs)

    embedding = layers.Embedding(input_dim=5000, output_dim=16, mask_zero=True)
    assert Destroys()(embedding(padded)).mask is None
    assert Destroys()(embedding(ragged)).mask is None
    assert Destroys()(embedding(ragged)).lengths.tolist() == LENGTHS


@pytest.mark.parametrize("softmax", [TemporalSoftmax, layers.TemporalSoftmax])
def test_temporal_softmax_uses_the_mask(softmax):
    inputs = layers.Input(shape=(None,), dtype="int32")
    x = layers.Embedding(input_dim=10, output_dim=32, mask_zero=True)(inputs)
    x = layers.Dense(1)(x)
    model = layers.Model(inputs, softmax()(x))
    ids = np.random.default_rng(0).integers(0, 10, (32, 100))
    y = model(ids)
    values = y if isinstance(y, np.ndarray) else y.values
    assert values.shape == (32, 100, 1)
    assert (values[ids == 0] == 0).all()
    assert (values[ids != 0] > 0).all()
    np.testing.assert_allclose(values.sum(axis=1), 1, 1e-5)

    rows = model(rm.Ragged.from_padded(ids))
    np.testing.assert_allclose(rows.values.reshape(32, 100, 1), values, 1e-5)
    words, kernel, bias = model.get_weights()
    scores = np.exp(words[ids].astype(float) @ kernel + bias) * (ids != 0)[..., None]
    np.testing.assert_allclose(values, scores / scores.sum(axis=1, keepdims=True), 1e-5)
