"""What recurrent layers keep between calls, and what they drop in training."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers
from ragmask.tables import TableModel
from tests.layers.cells import (
    KINDS,
    SLOW,
    Adds,
    alike,
    flat,
    values_of,
)

# -- stateful -----------------------------------------------------------------------------

STATEFUL = {
    **{kind.__name__: lambda kind=kind, **o: kind(3, **o) for kind in KINDS},
    "slow": lambda **o: layers.LSTM(3, activation="relu", **o),
    "rnn": lambda **o: layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], **o),
    "own": lambda **o: layers.RNN(Adds(4), **o),
}


@SLOW
@pytest.mark.parametrize("name", STATEFUL)
def test_a_stateful_layer_reads_on(name, frames):
    """Rows in two parts give what they give in one, and a row without steps keeps its state."""
    layer = STATEFUL[name](stateful=True, return_sequences=True)
    plain = STATEFUL[name](return_sequences=True)
    x = rm.Ragged(frames.values, frames.starts, frames.lengths)  # 3, 0 and 2 steps
    whole = plain(x)
    assert layer.states is None
    layer.build((None, None, 4))
    alike(plain, layer)
    first = layer(x.truncate(1))
    before = [one.copy() for one in flat(layer.states)]
    second = layer(rm.Ragged(x.values, x.starts + 1, np.maximum(x.lengths - 1, 0)))
    np.testing.assert_allclose(first.values, whole.values[[0, 3]], 1e-6, 1e-6)
    np.testing.assert_allclose(second.values, whole.values[[1, 2, 4]], 1e-6, 1e-6)
    for one, other in zip(flat(layer.states), before, strict=True):
        assert one[1].tolist() == other[1].tolist() == [0] * one.shape[1]
        assert (one[0] != other[0]).any()
    with pytest.raises(rm.InvalidInputError, match=r"batch size of 3 rows; got 2: .*reset_states"):
        layer(x[:2])
    for again in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        assert again.states is None
        np.testing.assert_allclose(again(x[:2]).values, whole.values[:3], 1e-6, 1e-6)
    layer.reset_states()
    np.testing.assert_array_equal(layer(x).values, whole.values)


def test_states_belong_to_the_layer(frames):
    layer = layers.GRU(2, stateful=True, return_state=True)
    _, state = layer(frames)
    state[...] = 9
    assert not (layer.states[0] == 9).any()
    given = np.ones((3, 2), "f4")
    after = layer(frames, initial_state=given)[1]
    np.testing.assert_array_equal(layer.states[0], after)
    assert layer.states[0][1].tolist() == [1, 1]


def test_a_call_that_fails_leaves_states_alone(frames):
    layer = layers.LSTM(2, stateful=True)
    layer(frames)
    before = [one.copy() for one in layer.states]
    with pytest.raises(rm.RagmaskError):
        layer(frames.with_values(frames.values[:, :3]))
    for one, other in zip(layer.states, before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_stateful_in_both_directions(frames):
    both = layers.Bidirectional(layers.LSTM(2, stateful=True), "sum")
    assert both.states is None
    first, second = both(frames), both(frames)
    assert (first[0] != second[0]).any()
    assert len(both.states) == 4
    both.reset_states()
    np.testing.assert_array_equal(both(frames), first)
    with pytest.raises(rm.MissingAttributeError, match="is not stateful"):
        layers.Bidirectional(layers.LSTM(2)).reset_states()


class Around(layers.Layer):
    """A layer of a user's own, whose output is found by trying."""

    def __init__(self, inner, **options):
        super().__init__(**options)
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)


def test_made_up_rows_leave_no_states(frames):
    inner = layers.GRU(2, stateful=True)
    x = layers.Input((None, 4))
    model = layers.Model(x, Around(inner)(x))
    assert inner.states is None
    first, second = model(frames), model(frames)
    assert (first[0] != second[0]).any()


# -- dropout ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["ragged", "padded", "dense"])
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_inputs_is_one_a_row(kind, form):
    """A row's features are dropped at all of its steps, or scaled up."""
    layers.set_random_seed(3)
    layer = kind(4, use_bias=False, dropout=0.5, return_sequences=True)
    plain = kind(4, use_bias=False, return_sequences=True)
    x = rm.Ragged.from_offsets(np.tile(np.eye(2, dtype="f4"), (6, 1)), [0, 4, 4, 8, 12])
    if form != "ragged":
        x = x[[0, 2, 3]].to_padded()
        x = x if form == "padded" else x.values
    expected = plain(x)
    layer.build((None, None, 2))
    alike(plain, layer)
    np.testing.assert_array_equal(values_of(layer(x)), values_of(expected))
    seen = set()
    for _ in range(20):
        factors = np.asarray(values_of(layer.dropped(x))).reshape(-1, 2, 2, 2)
        assert (factors[:, 0] == factors[:, 1]).all()
        seen |= set(np.unique(factors))
    assert seen == {0, 2}
    layers.set_random_seed(0)
    one = layer(x, training=True)
    layers.set_random_seed(0)
    np.testing.assert_array_equal(values_of(one), values_of(plain(layer.dropped(x))))


@SLOW
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reset_after", [True, False])
def test_recurrent_dropout_is_one_a_row(kind, reset_after):
    """With all of the outputs before dropped, steps that are the same give the same."""
    options = {"reset_after": reset_after} if kind is layers.GRU else {}
    x = np.ones((5, 4, 3), "f4")
    layer = kind(6, recurrent_dropout=1.0, return_sequences=True, **options)
    np.testing.assert_array_equal(layer(x), layer(x))
    half = kind(6, recurrent_dropout=0.5, return_sequences=True, **options)
    plain = half(x)
    dropped = half(x, training=True)
    np.testing.assert_allclose(dropped[:, 0], plain[:, 0], 1e-5, 1e-5)  # before it are zeros
    assert (dropped[:, 1] != plain[:, 1]).any()
    assert len(np.unique(dropped[:, 2:], axis=0)) > 1
    if kind is layers.SimpleRNN:
        outputs = layer(x, training=True)
        np.testing.assert_array_equal(outputs[:, 1:], outputs[:, :-1])
    layers.set_random_seed(0)
    one = half(x, training=True)
    layers.set_random_seed(0)
    np.testing.assert_array_equal(one, half(x, training=True))


def test_dropout_of_a_cell_that_is_called_by_hand():
    cell = layers.SimpleRNNCell(3, dropout=0.5, use_bias=False)
    x, state = np.ones((4, 8), "f4"), np.zeros((4, 3), "f4")
    first, _ = cell(x, state, training=True)
    np.testing.assert_array_equal(cell(x, state, training=True)[0], first)
    assert (cell(x, state)[0] != first).any()
    cell.reset_dropout_mask()
    assert (cell(x, state, training=True)[0] != first).any()


@pytest.mark.parametrize("rates", [(0.9, 0.0), (0.0, 0.9)])
def test_a_fused_layer_drops_in_training(rates):
    dropout, recurrent_dropout = rates
    layer = layers.LSTM(16, dropout=dropout, recurrent_dropout=recurrent_dropout)
    model = layers.Sequential([layers.Input((None,), "int32"), layers.Embedding(5, 16), layer])
    ids = rm.Ragged.from_rows([[1, 2, 3], [4, 4]])
    plain = model(ids)
    np.testing.assert_array_equal(model(ids), plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", layers.SlowCellWarning)
        assert (model(ids, training=True) != plain).any()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_fused(kind):
    ids = layers.Input((None,), "int32")
    options = [{"stateful": True}, {"activation": "relu"}, {"dtype": "float64"}]
    options += [{"reset_after": False}] if kind is layers.GRU else []
    for option in options:
        model = layers.Sequential([ids, layers.Embedding(5, 16), kind(16, **option)])
        assert not any(hasattr(step, "embedding") for step in model._steps), option
    assert hasattr(layers.Sequential([ids, layers.Embedding(5, 16), kind(16)])._steps[-1], "node")


def test_a_model_forgets_the_states_of_all_layers_inside(frames):
    inner = layers.Sequential([layers.Input((None, 4)), layers.GRU(3, stateful=True)])
    both = layers.Bidirectional(layers.LSTM(2, stateful=True))
    x = layers.Input((None, 4))
    model = layers.Model(x, [inner(x), both(x)])
    first = model(frames)
    assert not np.array_equal(model(frames)[0], first[0])
    model.reset_states()
    for again, expected in zip(model(frames), first, strict=True):
        np.testing.assert_array_equal(again, expected)


def test_tables_are_not_for_stateful_models():
    for layer in (
        layers.LSTM(2, stateful=True),
        layers.Bidirectional(layers.GRU(2, stateful=True)),
    ):
        model = layers.Sequential([layers.Input((None, 4)), layer])
        with pytest.raises(rm.InvalidInputError, match="is stateful: it goes on from the rows"):
            TableModel(model)
