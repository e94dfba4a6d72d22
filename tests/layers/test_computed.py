"""What layers compute."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given

import ragmask as rm
from ragmask import layers
from tests.layers.examples import MASK, kept, masks_of
from tests.strategies import raggeds, with_normals

RECURRENT = layers.LSTM, layers.GRU, layers.SimpleRNN


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
    dense = layers.Dense(3, activation=name, bias_initializer="random_normal", dtype=dtype)
    result = dense(batch).values
    kernel, bias = dense.get_weights()
    expected = numpy_activation(name, batch.values.astype(float) @ kernel + bias)
    np.testing.assert_allclose(result, expected, 50 * tolerance, 50 * tolerance)


def test_activations_of_huge_numbers_are_finite():
    huge = np.array([[-1e30, 1e30], [3e38, 3e38]], "f4")
    for name in ("sigmoid", "softmax", "tanh"):
        assert np.isfinite(layers.Activation(name)(huge)).all()


@pytest.mark.parametrize("name", ["swoosh", np.ndarray, 3])
def test_unknown_activations(name):
    makes = layers.Activation, *(partial(kind, 2) for kind in (layers.Dense, *RECURRENT))
    for make in makes:
        with pytest.raises(rm.InvalidInputError, match="activation must be one of 'linear'"):
            make(name)


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


KINDS = pytest.mark.parametrize("kind", RECURRENT)


@KINDS
def test_a_recurrent_layer_is_its_op(kind, frames):
    layer = kind(5, return_sequences=True, return_state=True)
    outputs, *states = layer(frames)
    expected, *last = kind.op(frames, kind.weights_class(*layer.get_weights()))
    assert outputs.values.tobytes() == expected.values.tobytes()
    assert [one.tobytes() for one in states] == [one.tobytes() for one in last]
    zeroed = kind(5, return_sequences=True, zero_output_for_mask=True)
    zeroed(frames)
    zeroed.set_weights(layer.get_weights())
    assert not zeroed(frames).values[1].any()
    assert outputs.values[1].any()


def test_an_lstms_weights_by_their_older_name(frames):
    lstm = layers.LSTM(5)
    lstm(frames)
    assert lstm.lstm_weights is lstm.cell_weights


@KINDS
def test_go_backwards_returns_outputs_in_the_order_they_were_computed(kind, frames):
    layer = kind(5, return_sequences=True, go_backwards=True)
    outputs = layer(frames)
    aligned = kind.op(frames, layer.cell_weights, go_backwards=True).outputs
    for row in range(3):
        np.testing.assert_array_equal(outputs[row], aligned[row][::-1])
    assert masks_of(outputs) == MASK  # each row's is the same from its end
    padded = layer(frames.to_padded())
    assert padded.mask[2].tolist() == [False, True, True]
    np.testing.assert_array_equal(kept(padded), kept(outputs))
    computed = layer.compute_mask(frames, frames.with_values(np.array(MASK)))
    assert computed.values.tolist() == outputs.mask.tolist()
    uneven = rm.Ragged.from_offsets(frames.values[:3], [0, 3], [True, True, False])
    assert masks_of(layer(uneven)) == [False, True, True]


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
            rm.InvalidInputError, match=f"(?s)initial_state.*in layer '{lstm.name}'"
        ):
            lstm(frames, initial_state=wrong)
    both = layers.Bidirectional(layers.LSTM(2, return_state=True))
    states = both(frames, initial_state=[h, c, h * 2, c * 2])[1:]
    for after, before in zip(states, (h, c, h * 2, c * 2), strict=True):
        assert after[1].tolist() == before[1].tolist()
    with pytest.raises(
        rm.InvalidInputError, match="initial_state is 4 arrays: h and c of its forward LSTM"
    ):
        both(frames, initial_state=[h, c])


@pytest.mark.parametrize("kind", [layers.GRU, layers.SimpleRNN])
def test_one_initial_state(kind, frames):
    layer = kind(2, return_state=True)
    h = np.random.default_rng(1).standard_normal((3, 2)).astype("f4")
    layer(frames)
    _, expected = kind.op(frames, layer.cell_weights, initial_state=h)
    for state in (h, [h], (h,)):
        last, after = layer(frames, initial_state=state)
        assert last.tobytes() == after.tobytes() == expected.tobytes()
    x, s = layers.Input((None, 4)), layers.Input((2,))
    for state in (s, [s]):
        model = layers.Model([x, s], layer(x, initial_state=state))
        assert model([frames, h])[1].tobytes() == expected.tobytes()
    with pytest.raises(rm.InvalidInputError, match=r"is 1 array, h, of shape \(3, 2\); got 2"):
        layer(frames, initial_state=[h, h])
    for wrong in (h[:2], [h[:, :1]]):
        with pytest.raises(rm.InvalidInputError, match=r"(?s)initial_state's h.*in layer"):
            layer(frames, initial_state=wrong)
    with pytest.raises(rm.InvalidInputError, match=r"h has shape \(·, 3\); .* is \(·, 2\)"):
        layer(x, initial_state=layers.Input((3,)))
    both = layers.Bidirectional(kind(2, return_state=True))
    _, forward, backward = both(frames, initial_state=[h, h * 2])
    assert (forward[1].tolist(), backward[1].tolist()) == (h[1].tolist(), (h * 2)[1].tolist())
    match = f"is 2 arrays: h of its forward {kind.__name__}, then"
    with pytest.raises(rm.InvalidInputError, match=match):
        both(frames, initial_state=h)


@KINDS
@pytest.mark.parametrize("form", ["ragged", "post", "pre"])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
def test_bidirectional_is_two_layers(kind, mode, return_sequences, form, frames):
    batch = frames if form == "ragged" else frames.to_padded(5, padding=form)
    both = layers.Bidirectional(kind(3, return_sequences=return_sequences), merge_mode=mode)
    merged = both(batch)
    forward, backward = (
        kind.op(
            batch, kind.weights_class(*both.get_weights()[first : first + 3]), go_backwards=back
        )
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
    with pytest.raises(rm.UnsupportedTypeError, match=r"SimpleRNN or RNN; got Dense$"):
        layers.Bidirectional(layers.Dense(2))
    with pytest.raises(rm.UnsupportedTypeError, match=r"SimpleRNN or RNN; got int"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=3)
    with pytest.raises(rm.UnsupportedTypeError, match=r"weights is a list of arrays; got GRU"):
        layers.Bidirectional(layers.GRU(2), "sum", layers.GRU(2, go_backwards=True))
    with pytest.raises(rm.InvalidInputError, match="both GRUs read in one direction"):
        layers.Bidirectional(layers.GRU(2), backward_layer=layers.GRU(2))
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
        "gru": layers.GRU(5),
        "gru sequences": layers.GRU(5, return_sequences=True),
        "rnn sequences": layers.SimpleRNN(5, return_sequences=True, go_backwards=True),
        "bidirectional grus": layers.Bidirectional(layers.GRU(5, return_sequences=True)),
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
