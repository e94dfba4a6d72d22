"""What becomes of masks."""

from typing import get_args

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers
from ragmask.ops.pool import How
from tests.layers.examples import BY_HAND, MASK, Drops, Passes, Sees, masks_of


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
        layers.GRU(2, return_sequences=True),
        layers.SimpleRNN(2, return_sequences=True),
        layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True),
        layers.Bidirectional(layers.GRU(2, return_sequences=True)),
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
        with pytest.raises(
            rm.InvalidInputError, match=r"(?s)its inputs do not fit.*in layer 'sum'"
        ):
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
    for how in get_args(How):
        pooled = layers.TemporalPool(how)(frames)
        assert pooled.tobytes() == rm.temporal_pool(frames, how).tobytes()
    with pytest.raises(rm.InvalidInputError, match=r"(?s)3 steps.*in layer 'cut'"):
        layers.TemporalSplit(2, name="cut")(frames)
    assert [len(part) for part in layers.TemporalSplit(2, width=4)(frames)] == [3, 3]
    with pytest.raises(rm.InvalidInputError, match=r"(?s)how must be one of.*in layer 'pool'"):
        layers.TemporalPool("median", name="pool")(frames)
