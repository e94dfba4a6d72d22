"""RNN over cells, and recurrent layers with all of their arguments, against Keras's.

Keras's are unrolled: their other loop takes a state for the output of a masked step, which of a
stack is another cell's.
"""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragmask as rm
from ragmask.interop.keras import from_keras
from tests.peers.keras_layers import (
    FEATURES,
    QUIET,
    WIDTH,
    array,
    assert_all,
    assert_close,
    assert_steps,
    assert_twice,
    both_ways,
    frames,
    mirrored,
    tensor,
)

pytestmark = [*QUIET, pytest.mark.filterwarnings("ignore::ragmask.layers.SlowCellWarning")]


@keras.saving.register_keras_serializable()
class KerasMinimal(keras.Layer):
    """The cell of Keras's documentation: one state, no activation."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, self.units), name="recurrent_kernel"
        )

    def call(self, inputs, states):
        output = keras.ops.matmul(inputs, self.kernel)
        output = output + keras.ops.matmul(states[0], self.recurrent_kernel)
        return output, [output]


@rm.layers.register
class Minimal(rm.layers.Layer):
    """The same here."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    build = KerasMinimal.build

    def call(self, inputs, states):
        output = inputs @ self.kernel + states[0] @ self.recurrent_kernel
        return output, [output]


class KerasTwo(KerasMinimal):
    """Two states of other sizes than the output."""

    def __init__(self, units, **options):
        super().__init__(units, **options)
        self.state_size, self.output_size = [units, units], 2

    def call(self, inputs, states):
        first, second = states
        output, _ = super().call(inputs, [first])
        return (output * 2)[:, :2], [output, second + output]


class Two(Minimal):
    def __init__(self, units, **options):
        super().__init__(units, **options)
        self.state_size, self.output_size = [units, units], 2

    def call(self, inputs, states):
        first, second = states
        output, _ = super().call(inputs, [first])
        return (output * 2)[:, :2], [output, second + output]


OWN = {keras: (KerasMinimal, KerasTwo), rm: (Minimal, Two)}
CELLS = {
    "lstm": lambda of: of.layers.LSTMCell(4),
    "gru": lambda of: of.layers.GRUCell(4),
    "simple": lambda of: of.layers.SimpleRNNCell(4),
    "lstm with relu": lambda of: of.layers.LSTMCell(4, activation="relu"),
    "lstm without a bias": lambda of: of.layers.LSTMCell(
        4, recurrent_activation="tanh", use_bias=False
    ),
    "gru before": lambda of: of.layers.GRUCell(4, reset_after=False),
    "gru with softmax": lambda of: of.layers.GRUCell(
        4, activation="softmax", reset_after=False, use_bias=False
    ),
    "linear": lambda of: of.layers.SimpleRNNCell(4, activation=None),
    "own": lambda of: OWN[of][0](4),
    "two states": lambda of: OWN[of][1](4),
    "lstms": lambda of: [of.layers.LSTMCell(4), of.layers.LSTMCell(3)],
    "stack": lambda of: [of.layers.GRUCell(4), of.layers.SimpleRNNCell(4), of.layers.LSTMCell(3)],
    "mixed": lambda of: [of.layers.LSTMCell(4), OWN[of][0](3), of.layers.GRUCell(4)],
}
some = settings(max_examples=2)
EACH = pytest.mark.parametrize("name", CELLS)


def alike(theirs, ours):
    """Both with the same weights, which go both ways.

    Small ones: with relu, gates that are no shares multiply what rounding differs in at each step.
    """
    for one in (theirs, ours):
        one.build((None, WIDTH, FEATURES))
    random = np.random.default_rng(0)
    theirs.set_weights([random.normal(0, 0.2, one.shape) for one in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())
    theirs.set_weights(ours.get_weights())
    return theirs, ours


def rnns(name, **options):
    return alike(
        keras.layers.RNN(CELLS[name](keras), unroll=True, **options),
        rm.layers.RNN(CELLS[name](rm), **options),
    )


def flat(outputs):
    nested = isinstance(outputs, list | tuple)
    return [one for part in outputs for one in flat(part)] if nested else [outputs]


def shaped(outputs):
    """How outputs lie in lists."""
    return [shaped(one) for one in outputs] if isinstance(outputs, list | tuple) else "array"


def assert_alike(theirs, ours, ragged, go_backwards=False, return_sequences=False):
    """Padded before and behind, and as a Ragged: sequences, and then last outputs and states."""
    padded = both_ways(ragged)
    expected = theirs(padded.values, mask=padded.mask)
    of_ragged, of_padded = ours(ragged), ours(padded)
    assert shaped(of_ragged) == shaped(of_padded) == shaped(expected)
    mask = mirrored(padded.mask, go_backwards)
    for at, (one, other, right) in enumerate(
        zip(*map(flat, (of_ragged, of_padded, expected)), strict=True)
    ):
        if at == 0 and return_sequences:
            assert_steps(one, array(right), mask)
            assert_all(other, array(right), mask)
        else:
            assert_twice(one, array(right))
            assert_close(other, array(right))


@EACH
@pytest.mark.parametrize("go_backwards", [False, True])
@some
@given(ragged=frames(), return_sequences=st.booleans(), return_state=st.booleans())
def test_rnn(name, go_backwards, ragged, return_sequences, return_state):
    options = {"go_backwards": go_backwards, "return_sequences": return_sequences}
    theirs, ours = rnns(name, return_state=return_state, **options)
    assert_alike(theirs, ours, ragged, **options)
    dense = both_ways(ragged).values
    for one, other in zip(flat(ours(dense)), flat(theirs(dense)), strict=True):
        assert_close(one, array(other))
    shape = theirs.compute_output_shape((8, WIDTH, FEATURES))
    if "gru" not in name and name not in ("stack", "mixed"):  # of which Keras's says less
        assert keras.tree.flatten(ours.compute_output_shape((8, WIDTH, FEATURES))) == (
            keras.tree.flatten(shape)
        )


@EACH
@some
@given(ragged=frames(masked=[False]), seed=st.integers(0, 9))
def test_initial_states(name, ragged, seed):
    """Rows with a step: before its first Keras gives zeros, for it is unrolled."""
    ragged = ragged[ragged.lengths > 0]
    theirs, ours = rnns(name, return_state=True)
    padded = both_ways(ragged)
    random = np.random.default_rng(seed)

    def drawn(like, rows):
        if isinstance(like, list | tuple):
            return [drawn(one, rows) for one in like]
        return random.standard_normal((rows, like.shape[1])).astype("float32")

    states = drawn(theirs.get_initial_state(batch_size=1), len(padded.values))
    half = keras.tree.map_structure(lambda one: one[: len(ragged)], states)
    expected = theirs(padded.values, initial_state=states, mask=padded.mask)
    for one, other in zip(flat(ours(padded, states)), flat(expected), strict=True):
        assert_close(one, array(other))
    again = flat(ours(ragged, initial_state=half))
    for one, other in zip(again, flat(ours(padded, states)), strict=True):
        assert_close(one, other[: len(ragged)])


LAYERS = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "lstm with relu": ("LSTM", {"activation": "relu", "unit_forget_bias": False}),
    "lstm with softmax": ("LSTM", {"recurrent_activation": "softmax", "use_bias": False}),
    "gru before": ("GRU", {"reset_after": False}),
    "gru with relu": ("GRU", {"activation": "relu", "recurrent_activation": "tanh"}),
    "simple": ("SimpleRNN", {"activation": "relu"}),
}


def layer_of(library, name, **options):
    kind, own = LAYERS[name]
    more = {"unroll": True} if library is keras else {}
    return getattr(library.layers, kind)(4, **own, **options, **more)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("go_backwards", [False, True])
@some
@given(ragged=frames(), return_sequences=st.booleans(), return_state=st.booleans())
def test_layers(name, go_backwards, ragged, return_sequences, return_state):
    options = {"go_backwards": go_backwards, "return_sequences": return_sequences}
    both = (layer_of(one, name, return_state=return_state, **options) for one in (keras, rm))
    assert_alike(*alike(*both), ragged, **options)


@pytest.mark.parametrize("name", ["lstm with relu", "gru before", "lstm"])
@some
@given(ragged=frames(masked=[True]))
def test_zero_output_for_mask(name, ragged):
    """Which Keras heeds where it is not unrolled."""
    kind, own = LAYERS[name]
    options = {"return_sequences": True, "zero_output_for_mask": True, **own}
    theirs, ours = alike(*(getattr(one.layers, kind)(4, **options) for one in (keras, rm)))
    padded = both_ways(ragged)
    assert_all(ours(padded), array(theirs(tensor(padded))), padded.mask)
    whole = both_ways(ours(ragged))
    assert not whole.values[~whole.mask].any()


# -- stateful -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lstm", "gru before", "simple"])
@pytest.mark.parametrize("in_both_directions", [False, True])
@some
@given(raggeds=st.tuples(frames(), frames(), frames()))
def test_stateful_layers(name, in_both_directions, raggeds):
    theirs, ours = (layer_of(one, name, stateful=True) for one in (keras, rm))
    if in_both_directions:
        theirs, ours = keras.layers.Bidirectional(theirs), rm.layers.Bidirectional(ours)
    rows = 2 * len(raggeds[0])
    theirs.build((rows, WIDTH, FEATURES))
    ours.build((rows, WIDTH, FEATURES))
    ours.set_weights(theirs.get_weights())
    twice = []
    for ragged in raggeds:
        padded = both_ways(ragged)
        expected = theirs(padded.values, mask=padded.mask)
        twice.append(ours(padded))
        has_step = padded.mask.any(axis=1)  # of others, Keras's output is 0, unrolled
        assert_close(twice[-1][has_step], array(expected)[has_step])
    for one, other in zip(flat(ours.states), flat(theirs.states), strict=True):
        assert_close(one, array(other.value))
    ours.reset_states()
    theirs.reset_state()
    for ragged, before in zip(raggeds, twice, strict=True):
        assert_close(ours(ragged), before[: len(ragged)])


@EACH
@some
@given(raggeds=st.tuples(frames(masked=[False]), frames(masked=[True])))
def test_stateful_cells(name, raggeds):
    theirs, ours = (
        keras.layers.RNN(CELLS[name](keras), unroll=True, stateful=True),
        rm.layers.RNN(CELLS[name](rm), stateful=True),
    )
    theirs.build((2 * len(raggeds[0]), WIDTH, FEATURES))
    ours.build((None, WIDTH, FEATURES))
    ours.set_weights(theirs.get_weights())
    for ragged in raggeds:
        padded = both_ways(ragged)
        theirs(padded.values, mask=padded.mask)
        ours(padded)
    for one, other in zip(flat(ours.states), flat(keras.tree.flatten(theirs.states)), strict=True):
        assert_close(one, array(other.value))


# -- dropout ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_what_dropout_leaves(kind):
    """Choices are drawn otherwise; the same ones give the same, in kernels and step by step."""
    options = {"dropout": 0.5, "recurrent_dropout": 0.5}
    theirs, ours = (getattr(one.layers, f"{kind}Cell")(4, **options) for one in (keras, rm))
    for one in (theirs, ours):
        one.build((None, FEATURES))
    ours.set_weights(theirs.get_weights())
    random = np.random.default_rng(0)
    x = random.standard_normal((3, 2, FEATURES)).astype("float32")
    states = ours.get_initial_state(3)
    layer = rm.layers.RNN(ours, return_sequences=True)
    for step in range(2):
        output, states = ours(x[:, step], states, training=True)
        if step == 0:
            inputs, outputs = (
                [np.array(one) for one in ours._kept[which]] for which in ("inputs", "states")
            )
            single = kind == "SimpleRNN"
            theirs._dropout_mask = inputs[0] if single else inputs
            theirs._recurrent_dropout_mask = outputs[0] if single else outputs
            before = theirs.get_initial_state(3)
        expected, before = theirs(x[:, step], before, training=True)
        assert_close(output, array(expected))
    kept, layer.cell._kept = ours._kept, dict(ours._kept)
    assert_close(layer(x, training=True)[:, 1], output)
    assert set(kept) == {"inputs", "states"}


# -- in both directions -------------------------------------------------------------------


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@some
@given(ragged=frames(), return_sequences=st.booleans(), return_state=st.booleans())
def test_both_directions_of_unlike_layers(merge_mode, ragged, return_sequences, return_state):
    """Unrolled, Keras's does not see that outputs of masked steps are to be 0."""
    options = {"return_sequences": return_sequences, "return_state": return_state}

    def both(of):
        more = options | ({"unroll": True} if of is keras else {})
        forward = of.layers.RNN([of.layers.GRUCell(3), of.layers.LSTMCell(4)], **more)
        backward = of.layers.GRU(4, reset_after=False, go_backwards=True, **more)
        return of.layers.Bidirectional(forward, merge_mode, backward_layer=backward)

    theirs, ours = alike(both(keras), both(rm))
    padded = both_ways(ragged)
    expected = theirs(padded.values, mask=padded.mask)
    outputs = 1 if merge_mode else 2
    has_step = padded.mask.any(axis=1)
    found, whole = flat(ours(ragged)), flat(ours(padded))
    for at, (one, other, right) in enumerate(zip(found, whole, flat(expected), strict=True)):
        if at < outputs and return_sequences:
            assert_steps(one, array(right), padded.mask)
            assert_close(other.values[padded.mask], array(right)[padded.mask])
            assert not other.values[~padded.mask].any()
        else:
            rows = has_step if at < outputs else slice(None)
            assert_close(np.concatenate([one, one])[rows], array(right)[rows])
            assert_close(other[rows], array(right)[rows])


# -- models -------------------------------------------------------------------------------


@some
@given(ragged=frames())
def test_models_with_cells_are_read(ragged):
    x = keras.Input((None, FEATURES), batch_size=8)
    masked = keras.layers.Masking(9.0)(x)
    steps = keras.layers.RNN(
        [keras.layers.LSTMCell(3, dropout=0.2), keras.layers.GRUCell(4, reset_after=False)],
        return_sequences=True,
    )(masked)
    both = keras.layers.Bidirectional(
        keras.layers.RNN(keras.layers.SimpleRNNCell(2, activation="relu"))
    )(steps)
    read = keras.layers.GRU(3, activation="relu", stateful=True)(steps)
    cell = keras.layers.LSTMCell(3, recurrent_dropout=0.2)
    low = keras.layers.RNN(cell, return_state=True)(steps)
    model = keras.Model(x, [both, read, *low])
    ours = from_keras(model)
    ragged = rm.Ragged(ragged.values, ragged.starts, ragged.lengths)[ragged.lengths > 0][[0] * 4]
    padded = np.concatenate(
        [ragged.to_padded(WIDTH, padding=side, value=9.0).values for side in ("pre", "post")]
    )
    for _ in range(2):
        for one, other in zip(ours(padded), model(padded), strict=True):
            assert_close(one, array(other))
    assert ours.layers[1].cell.cells[0].dropout == 0.2
