"""One table of the ops that work on any layout, for the tests of what all of them promise."""

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest

import ragmask as rm
from ragmask.ops.pool import How

FEATURES = 5
VOCABULARY = 8

_random = np.random.default_rng(0)
TABLE = _random.standard_normal((VOCABULARY, 3)).astype(np.float32)
TABLE[-1] = np.nan
UNITS = 17
CONV = _random.standard_normal((4, FEATURES))


def weights_of(kind):
    kernel, recurrent_kernel, bias = kind.shapes(FEATURES, UNITS)
    scales = (kernel, 2), (recurrent_kernel, 4), (bias, 1)
    return kind(*(_random.standard_normal(shape) / scale for shape, scale in scales))


LSTM, GRU, RNN = map(weights_of, (rm.LSTMWeights, rm.GRUWeights, rm.RNNWeights))


class Operation(NamedTuple):
    """`run` takes a batch of steps that `draw` made.

    It gives a batch of outputs, or None, and arrays with a number for each row. `garbage` is
    what no op may read, and `poison` spoils every step that an output comes from.
    """

    run: Callable[[Any], tuple[Any, tuple[Any, ...]]]
    draw: Callable[[Any, int], Any]
    garbage: float
    poison: float


def _on_ids(run):
    def draw(random, steps):
        return random.integers(0, VOCABULARY - 1, steps)

    return Operation(run, draw, -(2**40), VOCABULARY - 1)


def _on_vectors(run, dtype=np.float32):
    def draw(random, steps):
        vectors = random.standard_normal((steps, FEATURES))
        return np.where(random.random((steps, 1)) < 0.2, 0, vectors).astype(dtype)

    return Operation(run, draw, np.nan, np.nan)


def _on_numbers(run):
    def draw(random, steps):
        return random.standard_normal(steps).astype(np.float32)

    return Operation(run, draw, np.nan, np.nan)


def _recurrent(op, weights, **options):
    def run(x):
        outputs, *states = op(x, weights, **options)
        return outputs, tuple(states)

    return run


def _pool(how):
    return lambda x: (None, (rm.temporal_pool(x, how),))


# but where padding lies tells where in a row a step is, and nothing spoils a count
POOLS = [how for how in get_args(How) if how not in ("argmax", "count")]


OPERATIONS = {
    "embedding": _on_ids(lambda x: (rm.embedding(x, TABLE), ())),
    "embedding, mask_zero": _on_ids(lambda x: (rm.embedding(x, TABLE, mask_zero=True), ())),
    "masking": _on_vectors(lambda x: (rm.masking(x), ())),
    "softmax": _on_vectors(lambda x: (rm.temporal_softmax(x), ())),
    "softmax, float64": _on_vectors(lambda x: (rm.temporal_softmax(x), ()), np.float64),
    **{f"pool, {how}": _on_vectors(_pool(how)) for how in POOLS},
    "repeat": _on_vectors(lambda x: (rm.temporal_repeat(rm.temporal_pool(x), x), ())),
    "cumsum": _on_vectors(lambda x: (rm.temporal_cumsum(x), ())),
    "conv": _on_vectors(lambda x: (rm.temporal_conv(x, CONV, CONV[0]), ())),
    "conv, centred and dilated": _on_vectors(
        lambda x: (rm.temporal_conv(x, CONV, causal=False, dilation=2), ()), np.float64
    ),
    "attention": _on_vectors(lambda x: (rm.temporal_attention(x, x, x), ())),
    "attention, causal": _on_vectors(
        lambda x: (rm.temporal_attention(x, x, x, causal=True, window=5), ())
    ),
    "cumsum of numbers": _on_numbers(lambda x: (rm.temporal_cumsum(x), ())),
    "flip": _on_vectors(lambda x: (rm.temporal_flip(x), ())),
    "flip of numbers": _on_numbers(lambda x: (rm.temporal_flip(x), ())),
    "sort": _on_vectors(lambda x: (rm.temporal_sort(x), ())),
    "sort, descending": _on_vectors(lambda x: (rm.temporal_sort(x, descending=True), ())),
    "lstm": _on_vectors(_recurrent(rm.lstm, LSTM)),
    "lstm, float64": _on_vectors(_recurrent(rm.lstm, LSTM), np.float64),
    "lstm, backwards": _on_vectors(_recurrent(rm.lstm, LSTM, go_backwards=True)),
    "lstm, zero output": _on_vectors(_recurrent(rm.lstm, LSTM, zero_output_for_mask=True)),
    "lstm, no outputs": _on_vectors(_recurrent(rm.lstm, LSTM, outputs=False)),
    "gru": _on_vectors(_recurrent(rm.gru, GRU)),
    "gru, float64": _on_vectors(_recurrent(rm.gru, GRU), np.float64),
    "gru, backwards": _on_vectors(_recurrent(rm.gru, GRU, go_backwards=True)),
    "rnn": _on_vectors(_recurrent(rm.rnn, RNN)),
}


def marks_of(name):
    """What takes longest to compile, or is compiled for another dtype, is for the slow tests."""
    slow = any(word in name for word in ("attention", "float64", "dilated"))
    return [pytest.mark.slow] if slow else []


def outcome(operation, batch):
    """For each row, the bytes of its kept steps and of its entries in the arrays."""
    steps, arrays = operation.run(batch)
    rows = [[array[row].tobytes() for array in arrays] for row in range(len(batch))]
    for row in range(len(batch) if steps is not None else 0):
        if isinstance(steps, rm.Ragged):
            place = slice(steps.starts[row], steps.starts[row] + steps.lengths[row])
            values, mask = steps.values[place], None if steps.mask is None else steps.mask[place]
        else:
            values, mask = steps.values[row], None if steps.mask is None else steps.mask[row]
        kept = values if mask is None else values[mask]
        rows[row] += [step.tobytes() for step in kept]
    return rows
