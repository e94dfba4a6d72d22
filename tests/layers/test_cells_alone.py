"""Cells by themselves, saved, and what is none."""

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers
from tests.layers.cells import EACH, KINDS, SLOW, SLOW_LAYERS, Adds, Plain, alike, flat

# -- cells by themselves ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_is_one_step_of_its_layer(kind, frames):
    layer, cell = kind(3, return_state=True), KINDS[kind](3)
    x = frames.values[:2]
    states = [np.full((2, 3), 0.5, "f4")] * layer.record.states
    output, new = cell(x, states)
    layer.build((None, None, 4))
    alike(cell, layer)
    expected = layer(x[:, None], initial_state=states)
    for ours, theirs in zip([output, *new], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-6, 1e-6)
    assert cell.output_size == 3
    assert flat([cell.state_size]) == [3] * len(states)
    assert [one.shape for one in cell.get_initial_state(2)] == [(2, 3)] * len(states)


def test_cells_in_a_graph():
    x, h = layers.Input((4,)), layers.Input((3,))
    cell = layers.GRUCell(3)
    once, state = cell(x, h)
    twice, _ = cell(x, [state])
    model = layers.Model([x, h], [once, twice])
    rows, before = np.ones((2, 4), "f4"), np.zeros((2, 3), "f4")
    expected, state = cell(rows, before)
    for ours, theirs in zip(model([rows, before]), (expected, cell(rows, state)[0]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_cells_refuse(frames):
    cell = layers.LSTMCell(3, name="cell")
    h = np.zeros((2, 3), "f4")
    cases = [
        (frames, [h, h], "'cell' takes rows of vectors.*it is run by RNN"),
        (np.ones((2, 3, 4)), [h, h], "'cell' takes rows of vectors"),
        (np.ones((2, 4)), h, r"takes 2 states, each \(rows, 3\); got 1 state, \(2, 3\)"),
        (np.ones((2, 4)), [h, h[:, :2]], r"got 2 states, \(2, 3\), \(2, 2\)"),
        (np.ones((2, 4)), [h, h[:1]], "its inputs are 2 rows, and a state is 1"),
        (np.ones((2, 4)), [h, h.astype(str)], "takes reals; got <U"),
    ]
    for inputs, states, match in cases:
        with pytest.raises(rm.RagmaskError, match=match):
            cell(inputs, states)
    with pytest.raises(rm.InvalidInputError, match="has 2 cells; it was given the states of 1"):
        layers.StackedRNNCells([cell, layers.GRUCell(2)])(np.ones((2, 4), "f4"), [[h, h]])


class Returns(layers.Layer):
    """A cell that gives what it was told to."""

    def __init__(self, function, state_size=2, **options):
        super().__init__(**options)
        self.function, self.state_size = function, state_size

    def call(self, inputs, states):
        return self.function(np.zeros((len(inputs), 2), "f4"))


@SLOW
@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda zeros: zeros, r"gives the output and the states, .*; got ndarray"),
        (lambda zeros: (zeros, zeros, zeros), "gives the output and the states, .*; got tuple"),
        (lambda zeros: (zeros, []), "gave 0 new states; it has 1"),
        (lambda zeros: (zeros, [zeros, zeros]), "gave 2 new states; it has 1"),
        (lambda zeros: (zeros[:, :1], zeros), r"gave an output of shape \(2, 1\), .* \(2, 2\)"),
        (lambda zeros: (zeros, zeros[:1]), r"gave state 0 of shape \(1, 2\), .* \(2, 2\)"),
        (lambda zeros: (None, zeros), "gave an output of shape"),
        (lambda zeros: (zeros.astype(str), zeros), "gave an output of shape .* <U"),
    ],
)
def test_cells_that_give_something_else(function, match, frames):
    layer = layers.RNN(Returns(function, name="odd"), name="rows")
    with pytest.raises(rm.InvalidInputError, match=f"(?s)cell 'odd'.*{match}.*in layer 'rows'"):
        layer(frames)


@pytest.mark.parametrize("size", [None, 0, -1, "two", True, [], [2, 0], 2.0])
def test_state_sizes_that_are_none(size):
    with pytest.raises(rm.InvalidInputError, match=r"layer 'rows': cell 'odd' .*needs state_size"):
        layers.RNN(Returns(None, size, name="odd"), name="rows")


def test_what_is_no_cell():
    for cell in (3, None, "lstm", layers.LSTMCell, layers.LSTM(2), object()):
        with pytest.raises(rm.UnsupportedTypeError, match="layer 'rows': a cell has call"):
            layers.RNN(cell, name="rows")
    with pytest.raises(rm.InvalidInputError, match="cells is a list of one cell or more"):
        layers.RNN([])
    stack = layers.GRUCell(2)
    for _ in range(9):
        stack = layers.StackedRNNCells([stack, stack])
    with pytest.raises(rm.InvalidInputError, match="1024 cells are more than 1000"):
        layers.StackedRNNCells([stack, stack])
    for name in ("dropout", "recurrent_dropout"):
        for rate in (-0.1, 1.5, float("nan"), "half"):
            with pytest.raises(rm.InvalidInputError, match=f"'rows': {name} is a share"):
                layers.GRU(2, name="rows", **{name: rate})
    with pytest.raises(rm.InvalidInputError, match="use_cudnn is True, False or"):
        layers.LSTM(2, use_cudnn=3)


# -- saved, and made again ----------------------------------------------------------------


@SLOW
def test_saved_and_loaded(tmp_path, frames):
    x = layers.Input((None, 4))
    stack = [layers.LSTMCell(3, name="low"), layers.GRUCell(2, name="high")]
    outputs = [
        layers.RNN(stack, name="stack")(x),
        layers.RNN(Adds(4), return_state=True, stateful=True)(x),
        layers.LSTM(3, activation="relu", stateful=True)(x),
        layers.Bidirectional(layers.RNN(layers.GRUCell(3, reset_after=False)), None)(x),
        layers.Bidirectional(layers.RNN([Adds(4), layers.SimpleRNNCell(2)]), "mul")(x),
    ]
    model = layers.Model(x, outputs)
    first = [one.copy() for one in flat(model(frames))]
    model.save(tmp_path / "model")
    again = layers.load_model(tmp_path / "model")
    for one, other in zip(flat(again(frames)), first, strict=True):
        np.testing.assert_array_equal(one, other)
    names = [name for name, _ in again.named_weights()]
    assert names == [name for name, _ in model.named_weights()]
    stack = again.get_layer("stack").cell.name
    assert f"{model.name}/stack/{stack}/low/kernel" in names


@SLOW
@EACH
def test_made_again_of_its_config(name, frames):
    layer = SLOW_LAYERS[name](return_sequences=True, go_backwards=True)
    expected = layer(frames)
    if name in ("plain", "own kind"):
        return
    again = type(layer).from_config(layer.get_config())
    again.build((None, None, 4))
    alike(layer, again)
    np.testing.assert_array_equal(again(frames).values, expected.values)
    assert again.get_config() == layer.get_config()


def test_a_cell_that_is_no_layer_is_not_saved(tmp_path):
    x = layers.Input((None, 4))
    model = layers.Model(x, layers.RNN(Plain(), name="rows")(x))
    with pytest.raises(rm.UnsupportedTypeError, match="'rows' is given a Plain, which cannot be"):
        model.save(tmp_path / "model")
