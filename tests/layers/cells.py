"""Cells and layers that tests of recurrent layers run, fast and slow."""

import pytest

from ragmask import layers

SLOW = pytest.mark.filterwarnings("ignore::ragmask.layers.SlowCellWarning")
KINDS = {
    layers.LSTM: layers.LSTMCell,
    layers.GRU: layers.GRUCell,
    layers.SimpleRNN: layers.SimpleRNNCell,
}


@layers.register
class Adds(layers.Layer):
    """The sum of all inputs so far, in a state, and as a second one how many there were."""

    def __init__(self, size, **options):
        super().__init__(**options)
        self.size, self.state_size, self.output_size = size, [size, 1], size
        self.rows = []  # of each step

    def build(self, input_shape):
        self.scale = self.add_weight((self.size,), "ones", name="scale")

    def call(self, inputs, states):
        total, count = states
        self.rows.append(len(inputs))
        total = total + inputs * self.scale
        return total, [total, count + 1]


class Plain:
    """A cell that is no layer; its output is half of its state."""

    state_size = 4
    output_size = 2

    def call(self, inputs, states):
        h = states[0] + inputs
        return h[:, :2], h


class Negative(layers.LSTMCell):
    """A cell of ours, whose call is another one."""

    def call(self, inputs, states, training=False):
        output, states = super().call(inputs, states, training)
        return -output, states


def flat(outputs):
    return (
        [one for part in outputs for one in flat(part)] if isinstance(outputs, list) else [outputs]
    )


def alike(one, other):
    """Two layers with the same weights."""
    other.set_weights(one.get_weights())
    return one, other


def values_of(batch):
    return getattr(batch, "values", batch)


SLOW_LAYERS = {
    "activation": lambda **o: layers.LSTM(3, activation="relu", **o),
    "recurrent activation": lambda **o: layers.GRU(3, recurrent_activation="tanh", **o),
    "reset before": lambda **o: layers.GRU(3, reset_after=False, **o),
    "linear": lambda **o: layers.SimpleRNN(3, activation=None, **o),
    "cell": lambda **o: layers.RNN(layers.GRUCell(3, reset_after=False), **o),
    "own cell": lambda **o: layers.RNN(Adds(4), **o),
    "own kind": lambda **o: layers.RNN(Negative(3), **o),
    "plain": lambda **o: layers.RNN(Plain(), **o),
    "stack": lambda **o: layers.RNN([layers.LSTMCell(4), Adds(4), layers.GRUCell(2)], **o),
}
EACH = pytest.mark.parametrize("name", SLOW_LAYERS)
