"""RNN over cells: which run in kernels, and what all others compute step by step."""

import copy

import numpy as np
import pytest
from hypothesis import given

import ragmask as rm
from ragmask import layers
from tests.layers.cells import (
    EACH,
    KINDS,
    SLOW,
    SLOW_LAYERS,
    Adds,
    Plain,
    alike,
    flat,
    values_of,
)
from tests.layers.examples import MASK, masks_of
from tests.strategies import fewer, over, raggeds

# -- which run in kernels -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_cell_with_a_kernel_is_its_layer(kind, go_backwards, frames):
    options = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards}
    layer, rnn = kind(3, **options), layers.RNN(KINDS[kind](3), **options)
    for one in (layer, rnn):
        one.build((None, None, 4))
    alike(layer, rnn)
    for batch in (frames, frames.to_padded(), frames.to_padded().values):
        (ours, *states), (theirs, *others) = rnn(batch), layer(batch)
        np.testing.assert_array_equal(getattr(ours, "mask", None), getattr(theirs, "mask", None))
        for one, other in zip([ours, *states], [theirs, *others], strict=True):
            np.testing.assert_array_equal(values_of(one), values_of(other))


def test_a_stack_of_cells_is_layers_one_behind_the_other(frames):
    stack = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True)
    lstm, gru = layers.LSTM(3, return_sequences=True), layers.GRU(2, return_sequences=True)
    expected = gru(lstm(frames))
    stack.build((None, None, 4))
    stack.set_weights(lstm.get_weights() + gru.get_weights())
    found = stack(frames)
    assert found.values.tobytes() == expected.values.tobytes()
    assert masks_of(found) == MASK
    names = [name.split("/")[-2] for name, _ in stack.named_weights()]
    assert names == [cell.name for cell in stack.cell.cells for _ in range(3)]


def test_one_cell_twice_in_a_stack(frames):
    cell = layers.GRUCell(4)
    layer = layers.GRU(4, return_sequences=True)
    stack = layers.RNN([cell, cell])
    stack.build((None, None, 4))
    layer.build((None, None, 4))
    alike(layer, cell)
    assert len(stack.weights) == 3
    np.testing.assert_array_equal(stack(frames), layers.TemporalPool("last")(layer(layer(frames))))


@EACH
def test_others_say_that_they_are_slow_once(name, frames):
    layer = SLOW_LAYERS[name]()
    with pytest.warns(layers.SlowCellWarning, match=f"layer '{layer.name}' runs step by step"):
        layer(frames)
    layer(frames)
    copy.deepcopy(layer)(frames)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("activation", "no kernel has activation='relu'"),
        ("recurrent activation", "no kernel has recurrent_activation='tanh'"),
        ("cell", "no kernel has reset_after=False"),
        ("own cell", r"its cell '.*' \(Adds\) has no kernel"),
        ("plain", "its cell Plain has no kernel"),
        ("stack", r"its cell '.*' \(Adds\) has no kernel"),
    ],
)
def test_why_they_are_slow(name, why, frames):
    with pytest.warns(layers.SlowCellWarning, match=f"in Python: {why}. Compiled are LSTM"):
        SLOW_LAYERS[name]()(frames)


def test_kernels_say_nothing(frames):
    for kind, cell in KINDS.items():
        kind(3, dropout=0.5)(frames, training=True)
        layers.RNN([cell(3), cell(3, dropout=0.5)])(frames, training=True)
        layers.RNN(cell(3, recurrent_dropout=0.5))(frames)


# -- step by step -------------------------------------------------------------------------


@SLOW
@EACH
@pytest.mark.parametrize("go_backwards", [False, True])
@fewer(7)
@given(x=raggeds(dtypes=("float32",), item_shapes=[(4,)], max_steps=20, tame=True))
def test_rows_give_the_same_in_any_layout(name, go_backwards, x):
    options = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards}
    layer = SLOW_LAYERS[name](**options)
    outputs, *states = layer(x)
    width = x.max_length
    assert outputs.lengths.tolist() == x.lengths.tolist()
    for padding in ("pre", "post"):
        padded, *others = layer(x.to_padded(width + 2, padding=padding))
        expected = [row[keep] for row, keep in zip(padded.values, padded.mask, strict=True)]
        masks = [None] * len(x) if outputs.mask is None else over(outputs, outputs.mask)
        for row, keep, other in zip(outputs, masks, expected, strict=True):
            np.testing.assert_allclose(row if keep is None else row[keep], other, 1e-5, 1e-5)
        for one, other in zip(flat(states), flat(others), strict=True):
            np.testing.assert_allclose(one, other, 1e-5, 1e-5)


@SLOW
def test_only_rows_that_have_a_step_are_computed():
    cell = Adds(1)
    x = rm.Ragged.from_rows([[[1.0]], [[1.0]] * 3, [], [[1.0]] * 2], "f4")
    x = rm.Ragged(x.values, x.starts, x.lengths, [True, True, False, True, True, True])
    layer = layers.RNN(cell, return_sequences=True, return_state=True)
    outputs, total, count = layer(x)
    assert cell.rows == [3, 2]
    assert outputs.values.ravel().tolist() == [1, 1, 1, 2, 1, 2]
    assert count.ravel().tolist() == total.ravel().tolist() == [1, 2, 0, 2]


@SLOW
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_outputs_of_masked_steps(go_backwards, zero):
    """Those of the step that was computed before, and zeros before the first."""
    mask = [False, True, False, True, False]
    x = rm.Ragged.from_offsets(np.arange(1.0, 6, dtype="f4")[:, None], [0, 5, 5], mask)
    initial = [np.full((2, 1), 10.0), np.zeros((2, 1))]
    layer = layers.RNN(
        Adds(1), return_sequences=True, go_backwards=go_backwards, zero_output_for_mask=zero
    )
    outputs = layer(x, initial_state=initial)
    first, second = (14, 16) if go_backwards else (12, 16)
    repeated = [0, first, 0, second, 0] if zero else [0, first, first, second, second]
    assert outputs.values.ravel().tolist() == repeated
    assert outputs.mask.tolist() == mask
    only_last = layers.RNN(Adds(1), go_backwards=go_backwards)
    assert only_last(x, initial).ravel().tolist() == [16, 10]


@SLOW
def test_an_output_of_another_size_than_the_state(frames):
    layer = layers.RNN(Plain(), return_sequences=True, return_state=True)
    outputs, state = layer(frames)
    assert outputs.item_shape == (2,)
    assert state.shape == (3, 4)
    assert layer.compute_output_shape((None, None, 4)) == [(None, None, 2), (None, 4)]
    last, state = layers.RNN(Plain(), return_state=True)(
        frames, initial_state=np.ones((3, 4), "f4")
    )
    assert last[1].tolist() == [0, 0]  # no step, and the state is no output
    assert state[1].tolist() == [1] * 4


@SLOW
@EACH
def test_of_no_rows_and_of_empty_rows(name):
    empty = rm.Ragged.from_offsets(np.zeros((0, 4), "f4"), [0, 0, 0])
    for batch, rows in ((empty, 2), (empty[:0], 0), (np.zeros((2, 0, 4), "f4"), 2)):
        layer = SLOW_LAYERS[name](return_sequences=True, return_state=True)
        outputs, *states = layer(batch)
        assert len(outputs) == rows
        assert all(len(one) == rows and not one.any() for one in flat(states))
        assert not SLOW_LAYERS[name]()(batch).any()


@SLOW
def test_a_nan_stays_in_its_row():
    x = np.ones((3, 4, 2), "f4")
    x[1, 2, 0] = np.nan
    outputs = layers.LSTM(3, activation="relu", return_sequences=True)(x)
    assert np.isnan(outputs[1, 2:]).any()
    assert np.isfinite(outputs[[0, 2]]).all()
    assert np.isfinite(outputs[1, :2]).all()


# -- dtypes -------------------------------------------------------------------------------


@SLOW
@pytest.mark.parametrize("name", ["reset before", "own cell", "fast"])
@pytest.mark.parametrize(
    "dtype", [None, "float16", pytest.param("float64", marks=pytest.mark.slow)]
)
def test_it_computes_in_its_dtype(name, dtype, frames):
    options = {"return_sequences": True, "return_state": True, "dtype": dtype}
    make = {**SLOW_LAYERS, "fast": lambda **o: layers.LSTM(3, **o)}[name]
    expected = dtype or "float32"
    for other in ("float32", "float64", "float16", "int32", "bool"):
        outputs, *states = make(**options)(frames.with_values(frames.values.astype(other)))
        assert [one.dtype for one in (outputs, *states)] == [expected] * (1 + len(states))
    with pytest.raises(rm.UnsupportedTypeError, match="x holds no reals; got complex64"):
        make(**options)(frames.with_values(frames.values.astype("c8")))


# -- states that the caller brings --------------------------------------------------------


@SLOW
@pytest.mark.parametrize("kinds", [(layers.LSTMCell, layers.GRUCell), (layers.GRUCell, Adds)])
def test_states_of_a_stack_go_round(kinds, frames):
    """What a call gives as states, another takes: it reads on."""
    layer = layers.RNN([kind(4) for kind in kinds], return_state=True, return_sequences=True)
    x = rm.Ragged(frames.values, frames.starts, frames.lengths)[[0, 2]].truncate(2)
    whole, *ends = layer(x)
    _, *states = layer(x.truncate(1))
    rest = rm.Ragged(x.values, x.starts + 1, x.lengths - 1)
    after, *again = layer(rest, states)
    for one, other in zip(flat(again), flat(ends), strict=True):
        np.testing.assert_allclose(one, other, 1e-6, 1e-6)
    np.testing.assert_allclose(after.values, whole.values[[1, 3]], 1e-6, 1e-6)


@SLOW
def test_states_that_do_not_fit(frames):
    h = np.ones((3, 4), "f4")
    stack = layers.RNN([layers.LSTMCell(4), layers.GRUCell(2)], name="stack")
    own = layers.RNN(Adds(4), name="own")
    cases = [
        (stack, [h, h], r"is 3 arrays, h 0, c 1, h 2, of shape \(3, 4\) and \(3, 4\) and \(3, 2\)"),
        (stack, [[h, h], h], r"initial_state's h 2 has shape \(3, 4\); .* is \(3, 2\)"),
        (own, h, "is 2 arrays, state 0, state 1, of shape .*; got 1"),
        (own, [h[:2], h[:2, :1]], r"state 0 has shape \(2, 4\); \(rows, units\) is \(3, 4\)"),
        (own, [h, h[:, :1].astype(str)], "initial_state's state 1 holds no reals; got <U"),
    ]
    for layer, states, match in cases:
        with pytest.raises(rm.RagmaskError, match=match):
            layer(frames, initial_state=states)
    x, s = layers.Input((None, 4)), layers.Input((2,))
    with pytest.raises(rm.InvalidInputError, match=r"state 0 has shape \(·, 2\); .* \(·, 4\)"):
        own(x, [s, s])


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU])
def test_an_initial_state_by_its_place(kind, frames):
    layer = kind(2)
    states = [np.ones((3, 2), "f4")] * layer.record.states
    layer.build((None, None, 4))
    expected = layer(frames, initial_state=states)
    np.testing.assert_array_equal(layer(frames, states), expected)
    x, s = layers.Input((None, 4)), layers.Input((2,))
    model = layers.Model([x, s], layer(x, [s] * len(states)))
    np.testing.assert_array_equal(model([frames, states[0]]), expected)


def test_states_of_a_stack_in_a_graph(frames):
    """They lie in lists, as the layer gives them, and go into another."""
    x = layers.Input((None, 4))
    first = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_state=True)
    second = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)])
    last, low, high = first(x)
    assert len(low) == 2
    assert high[0].shape == (None, 2)
    model = layers.Model(x, [last, second(x, initial_state=[low, high])])
    _, *states = first(frames)
    np.testing.assert_array_equal(model(frames)[1], second(frames, states))
