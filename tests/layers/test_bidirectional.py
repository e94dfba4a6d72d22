"""Recurrent layers in both directions, of any cells."""

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers
from tests.layers.cells import SLOW, flat
from tests.layers.examples import MASK, masks_of
from tests.layers.saved_models import change, change_weights

# -- in both directions -------------------------------------------------------------------


@SLOW
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
def test_both_directions_of_any_two_layers(mode, frames):
    """Of unlike kinds too; the outputs of masked steps are 0."""
    forward = layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], return_sequences=True)
    backward = layers.SimpleRNN(3, activation="relu", return_sequences=True, go_backwards=True)
    both = layers.Bidirectional(forward, mode, backward_layer=backward)
    merged = both(frames)
    one = both.forward_layer(frames).values
    two = backward(frames)
    two = np.concatenate([row[::-1] for row in two])
    assert both.backward_layer is backward
    assert not one[~np.array(MASK)].any()
    expected = {
        "concat": lambda: [np.concatenate([one, two], -1)],
        "sum": lambda: [one + two],
        "mul": lambda: [one * two],
        "ave": lambda: [(one + two) / 2],
        None: lambda: [one, two],
    }[mode]()
    for ours, theirs in zip(flat([merged]), expected, strict=True):
        np.testing.assert_array_equal(ours.values, theirs)
        assert masks_of(ours) == MASK
    mask = both.compute_mask(frames, frames.with_values(np.array(MASK)))
    assert isinstance(mask, list) is (mode is None)


def test_both_directions_are_made_anew(frames):
    lstm = layers.LSTM(2, name="forward_words", use_cudnn=False)
    lstm(frames)
    both = layers.Bidirectional(lstm)
    both(frames)
    assert [one.name for one in both.sublayers] == ["forward_words", "backward_forward_words"]
    assert both.forward_layer is not lstm
    assert both.backward_layer.use_cudnn is False
    assert (both.get_weights()[0] != lstm.get_weights()[0]).any()


def test_a_backward_layer_as_a_config_and_weights(frames):
    backward = layers.GRU(2, go_backwards=True, name="back")
    config = {"class_name": "GRU", "config": backward.get_config()}
    layer = {"class_name": "GRU", "config": layers.GRU(2, name="fore").get_config()}
    both = layers.Bidirectional(layers.GRU(2, name="fore"), backward_layer=config)
    both.build((None, None, 4))
    again = layers.Bidirectional.from_config(
        {"layer": layer, "backward_layer": config, "weights": both.get_weights()}
    )
    assert [one.name for one in again.sublayers] == ["forward_fore", "back"]
    np.testing.assert_array_equal(again(frames), both(frames))


def test_states_of_unlike_halves(frames):
    gru = layers.GRU(2, return_state=True, go_backwards=True)
    both = layers.Bidirectional(layers.LSTM(2, return_state=True), backward_layer=gru)
    h = np.ones((3, 2), "f4")
    assert [one[1].tolist() for one in both(frames, [h, h * 2, h * 3])[1:]] == [
        [1, 1],
        [2, 2],
        [3, 3],
    ]
    with pytest.raises(
        rm.InvalidInputError,
        match="is 3 arrays: h and c of its forward LSTM, then h of its backward GRU; got 2",
    ):
        both(frames, [h, h])


def test_models_whose_halves_have_older_names(tmp_path, frames):
    """Those of before had the forward layer under the name that it was made with."""
    x = layers.Input((None, 4))
    both = layers.Bidirectional(layers.LSTM(2, name="words"), name="both")
    model = layers.Model(x, both(x))
    model.save(tmp_path / "model")

    def rename(told):
        (held,) = (one for one in told["layers"] if one["name"] == "both")
        assert held["holds"] == ["forward_words", "backward_words"]
        held["holds"][0] = "words"

    def rename_weights(weights):
        for name in [one for one in weights if "forward_words" in one]:
            weights[name.replace("forward_", "")] = weights.pop(name)

    change(tmp_path, rename)
    change_weights(tmp_path, rename_weights)
    again = layers.load_model(tmp_path / "model")
    assert [one.name for one in again.get_layer("both").sublayers] == ["words", "backward_words"]
    np.testing.assert_array_equal(again(frames), model(frames))
    again.save(tmp_path / "again")
    np.testing.assert_array_equal(layers.load_model(tmp_path / "again")(frames), model(frames))
