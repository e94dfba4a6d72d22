"""Weights of ONNX's recurrent operators, against its equations in plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests.strategies import assert_rows, lists_of, raggeds, with_normals


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# One step each, as the operators' documents write it: x, then the states, then W, R, Wb and Rb of
# each gate, in ONNX's order.


def lstm_step(x, h, c, i, o, f, g):
    (i, o, f), g = (sigmoid(added(x, h, gate)) for gate in (i, o, f)), np.tanh(added(x, h, g))
    c = f * c + i * g
    return o * np.tanh(c), c


def gru_step(x, h, z, r, n):
    z, r = sigmoid(added(x, h, z)), sigmoid(added(x, h, r))
    w, u, of_w, of_u = n
    n = np.tanh(w @ x + of_w + r * (u @ h + of_u))
    return ((1 - z) * n + z * h,)


def rnn_step(x, h, gate):
    return (np.tanh(added(x, h, gate)),)


def added(x, h, gate):
    w, u, of_w, of_u = gate
    return w @ x + u @ h + of_w + of_u


CELLS = {
    "LSTM": (rm.lstm, rm.LSTMWeights, lstm_step, {}),
    "GRU": (rm.gru, rm.GRUWeights, gru_step, {"linear_before_reset": 1}),
    "RNN": (rm.rnn, rm.RNNWeights, rnn_step, {}),
}
OF_CELLS = pytest.mark.parametrize("name", CELLS)


def inputs_of(kind, directions=2, features=2, units=3, seed=0):
    random, columns = np.random.default_rng(seed), kind.cell.gates * units
    shapes = {"W": (columns, features), "R": (columns, units), "B": (2 * columns,)}
    return {name: random.normal(0, 0.5, (directions, *one)) for name, one in shapes.items()}


def run_rows(step, rows, cell, W, R, B, reverse):
    """The outputs of each step of rows, by one direction's inputs."""
    biases = np.split(B, 2 * cell.gates)
    gates = list(
        zip(
            np.split(W, cell.gates),
            np.split(R, cell.gates),
            biases[: cell.gates],
            biases[cell.gates :],
            strict=True,
        )
    )
    outputs = []
    for row in rows:
        states, own = [np.zeros(R.shape[1])] * cell.states, []
        for x in row[::-1] if reverse else row:
            states = step(np.array(x), *states, *gates)
            own.append(states[0].tolist())
        outputs.append(own[::-1] if reverse else own)
    return outputs


@OF_CELLS
@given(
    raggeds(dtypes=("float64",), item_shapes=[()], masked=[False]),
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from([(1, 0), (2, 0), (2, 1)]),
    st.booleans(),
    st.integers(0, 99),
)
def test_rows_are_those_of_onnxs_equations(name, rows, features, units, which, biased, seed):
    op, kind, step, attributes = CELLS[name]
    directions, direction = which
    x = with_normals(rows, "float64", (features,), seed=seed)
    inputs = inputs_of(kind, directions, features, units, seed)
    if not biased:
        inputs["B"][:] = 0
    given_inputs = inputs if biased else {**inputs, "B": None}
    weights = kind.from_onnx(**given_inputs, direction=direction, **attributes)
    assert (weights.features, weights.units) == (features, units)
    outputs = op(x, weights, go_backwards=direction == 1).outputs
    own = {key: array[direction] for key, array in inputs.items()}
    expected = run_rows(step, lists_of(x)[0], kind.cell, **own, reverse=direction == 1)
    assert_rows(lists_of(outputs)[0], expected, 1e-12)


def test_biases_in_halves_are_added_in_floats():
    inputs = {name: one.astype("float16") for name, one in inputs_of(rm.RNNWeights).items()}
    inputs["B"][:] = 40_000
    assert rm.RNNWeights.from_onnx(**inputs).bias.tolist() == [80_000] * 3


@OF_CELLS
def test_attributes_that_change_nothing_are_taken(name):
    _, kind, _, attributes = CELLS[name]
    inputs = inputs_of(kind)
    plain = kind.from_onnx(**inputs, direction=1, **attributes)
    own = [one.encode() for one in kind._activations]
    more = {"activations": [*["Relu"] * len(own), *own], "layout": 1, "clip": None}
    if name == "LSTM":
        inputs["P"] = np.stack([np.ones(9), np.zeros(9)])
        more["input_forget"] = 0
    told = kind.from_onnx(**inputs, direction=1, **attributes, **more)
    for array in ("kernel", "recurrent_kernel", "bias"):
        np.testing.assert_array_equal(getattr(told, array), getattr(plain, array))
    lower = [one.lower() for one in kind._activations]
    kind.from_onnx(**inputs_of(kind, 1), activations=lower, **attributes)


@OF_CELLS
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": 3.0}, "clip=3.0 is not supported"),
        ({"clip": 0}, "clip=0 is not supported"),
        ({"layout": 2}, "layout must be 0 or 1; got 2"),
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, "activations Sigmoid, Relu, Tanh are not"),
        ({"activations": []}, "activations  are not supported"),
        ({"activations": "Tanh"}, "activations must be a list of names; got 'Tanh'"),
        ({"direction": 2}, "direction must be less than the number of them, 2; got 2"),
        ({"direction": -1}, "direction must be at least 0; got -1"),
        ({"direction": "reverse"}, "direction must be an integer; got 'reverse'"),
        ({"W": np.zeros((2, 7, 2))}, r"W has shape \(2, 7, 2\); \(directions, \d · units, feat"),
        ({"W": np.zeros((9, 2))}, r"W has shape \(9, 2\); \(directions"),
        ({"W": np.zeros(())}, r"W has shape \(\); \(directions"),
        ({"R": np.zeros((2, 7, 3))}, r"R has shape \(2, 7, 3\); \(directions, \d · units, units"),
        ({"R": np.zeros((9, 3))}, r"R has shape \(9, 3\); \(directions"),
        ({"R": np.zeros((2, 0, 0))}, r"R has shape \(2, 0, 0\); \(directions"),
        ({"R": np.zeros((0, 0, 3))}, r"[RW] has shape .*; \(directions"),
        ({"B": np.zeros((2, 3))}, r"B has shape \(2, 3\); \(directions, \d · units\) is needed"),
        ({"B": np.zeros((2, 3), int)}, "B must hold floats; got int64"),
        ({"W": None}, "W is needed"),
        ({"W": "W"}, "W must hold floats"),
    ],
)
def test_what_cannot_be_computed_is_named(name, change, message):
    _, kind, _, attributes = CELLS[name]
    with pytest.raises(rm.RagmaskError, match=message):
        kind.from_onnx(**inputs_of(kind) | attributes | change)


def test_what_an_lstm_and_a_gru_cannot_compute_is_named():
    inputs = inputs_of(rm.LSTMWeights)
    for peepholes in (np.eye(2, 9), np.full((2, 9), np.nan)):
        with pytest.raises(rm.UnsupportedTypeError, match="peepholes are not supported"):
            rm.LSTMWeights.from_onnx(**inputs, P=peepholes)
    with pytest.raises(rm.InvalidInputError, match=r"P has shape \(9,\); \(directions, 3 · units"):
        rm.LSTMWeights.from_onnx(**inputs, P=np.zeros(9))
    with pytest.raises(rm.UnsupportedTypeError, match="input_forget=1 is not supported"):
        rm.LSTMWeights.from_onnx(**inputs, input_forget=1)
    for attributes in ({}, {"linear_before_reset": 0}):
        with pytest.raises(rm.UnsupportedTypeError, match="linear_before_reset=0, the operator's"):
            rm.GRUWeights.from_onnx(**inputs_of(rm.GRUWeights), **attributes)
