"""Models: graphs, their inputs and outputs."""

import copy
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ragmask as rm
from ragmask import layers
from tests.layers.examples import BY_HAND, MASK, masks_of, two_inputs, words


def test_symbols_say_what_they_are():
    x = words(name="ids")
    assert repr(x) == "Symbol(shape (rows, time), int32, from 'ids')"
    assert x.shape == (None, None)
    assert not x.is_masked
    y = layers.Embedding(5, 4, mask_zero=True, name="e")(x)
    assert repr(y) == "Symbol(shape (rows, time, 4), float32, masked, from 'e')"
    flat = layers.Input((3,), name="flat")
    assert repr(flat) == "Symbol(shape (rows, 3), float32, from 'flat')"
    assert repr(layers.LSTM(2, name="r")(y)) == "Symbol(shape (rows, 2), float32, from 'r')"


def test_symbols_are_no_values():
    x = words()
    for use in (bool, list, np.asarray, len, np.sum, np.matmul, lambda x: np.add(x, 1, out=x)):
        with pytest.raises(TypeError):
            use(x)


@pytest.mark.parametrize("shape", [None, 5, (None, None), (-1,), (2.5,), (True,), "ab"])
def test_shapes_that_are_none(shape):
    with pytest.raises(rm.InvalidInputError, match="shape is that of a row"):
        layers.Input(shape)


def test_a_layer_is_tried_when_it_is_connected():
    with pytest.raises(rm.InvalidInputError, match="layer 'read' takes steps of features"):
        layers.LSTM(3, name="read")(words())
    with pytest.raises(rm.UnsupportedTypeError, match=r"(?s)must be float.*in layer 'shares'"):
        layers.TemporalSoftmax(name="shares")(words())

    class Nothing(layers.Layer):
        def call(self, inputs):
            return None

    with pytest.raises(rm.UnsupportedTypeError, match="layer 'nothing' gave a NoneType"):
        Nothing()(words())


def test_several_inputs_and_outputs(ids):
    model = two_inputs()
    result = model([ids, ids])
    assert list(result) == ["states", "last"]
    assert masks_of(result["states"]) == MASK
    expected = rm.temporal_pool(result["states"], "last")
    assert result["last"].tobytes() == expected.tobytes()
    for inputs in ((ids, ids), {"b": ids, "a": ids, "c": "not looked at"}):
        assert model(inputs)["last"].tobytes() == result["last"].tobytes()
    padded = model([ids.to_padded().values] * 2)
    assert padded["last"].tobytes() == result["last"].tobytes()
    assert model.input_names == ["a", "b"]
    assert model.output_names == ["states", "last"]
    assert [layer.name for layer in model.layers] == ["shared", "join", "read", "end"]
    assert model.count_params() == 20 + 4 * 12 + 3 * 12 + 12
    assert model.get_layer("read").units == 3
    with pytest.raises(rm.InvalidInputError, match="model 'two' has no layer 'raed'; it has"):
        model.get_layer("raed")


def test_a_dict_of_inputs_goes_by_its_keys(ids):
    a, b = words(name="a"), words(name="b")
    embedding = layers.Embedding(5, 2)
    model = layers.Model({"left": a, "right": b}, [embedding(b), embedding(a)])
    other = ids + 0 * ids
    right, left = model({"right": other, "left": ids})
    assert right.values.tobytes() == left.values.tobytes()
    with pytest.raises(rm.InvalidInputError, match="needs 'left'; it was called on 'a', 'b'"):
        model({"a": ids, "b": ids})


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (lambda ids: {"a": ids}, "model 'two' needs 'b'; it was called on 'a'"),
        (lambda ids: {}, "model 'two' needs 'a'; it was called on nothing"),
        (lambda ids: [ids], "model 'two' has 2 inputs; it was called on 1"),
        (lambda ids: [ids] * 3, "model 'two' has 2 inputs; it was called on 3"),
        (lambda ids: ids[:2], "model 'two' is called on a list of batches, 'a', 'b'; got a Ragged"),
        (lambda ids: [ids, ids.with_values(np.ones((5, 2), int))], "input 'b' is of shape"),
        (lambda ids: [ids, np.ones(3, int)], "input 'b' is of shape"),
        (lambda ids: [ids, ids[:2]], "layer 'join'"),
    ],
)
def test_inputs_that_do_not_fit(inputs, match, ids):
    with pytest.raises(rm.RagmaskError, match=match):
        two_inputs()(inputs(ids))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("rows", [[[1, 2], [3]], [[], [5]], [[4]]])
def test_plain_numbers_for_steps_of_one_say_what_to_do(rows, dtype):
    x = layers.Input((None, 1), dtype, name="x")
    model = layers.Model(x, layers.TemporalPool("sum")(x))
    series = rm.Ragged.from_rows(rows, dtype)
    with pytest.raises(rm.InvalidInputError, match=r"x\.with_values\(x\.values\[:, None\]\)"):
        model(series)
    assert model(series.with_values(series.values[:, None])).tolist() == [[sum(r)] for r in rows]
    with pytest.raises(rm.InvalidInputError, match=r"(?m)got steps of shape \(2,\)$"):
        model(series.with_values(np.ones((series.n_steps, 2), dtype)))


def test_one_input_is_one_batch(ids):
    x = words(name="ids")
    model = layers.Model(x, layers.Embedding(5, 2)(x), name="one")
    with pytest.raises(rm.UnsupportedTypeError, match="called on one batch, 'ids'; got a list"):
        model([ids, ids])
    assert model([ids]).values.tobytes() == model(ids).values.tobytes()
    with pytest.raises(rm.InvalidInputError, match="needs 'ids'; it was called on 'words'"):
        model({"words": ids})
    assert model({"ids": ids}).values.tobytes() == model(ids).values.tobytes()
    assert model([[1, 2], [3, 4]]).shape == (2, 2, 2)  # numbers are an array


def test_a_streams_batch_is_an_input(tmp_path):
    rows = [[{"a": 1, "b": 2}, {"a": 0, "b": 1}], [{"a": 3, "b": 4}], []]
    table = pa.table(
        {"w": rows, "a": [[1, 2], [], [3]], "b": [[0, 2], [], [4]], "label": [0, 1, 0]}
    )
    pq.write_table(table, tmp_path / "f")
    batch = next(iter(rm.stream(tmp_path / "f").batch(rows=3)))
    result = two_inputs()(batch)
    assert masks_of(result["states"]) == [True, True, True]
    fields = words(name="w.a")
    model = layers.Model(fields, layers.Embedding(5, 2, mask_zero=True)(fields))
    assert masks_of(model(batch)) == [True, False, True]
    x = words(name="x")
    other = layers.Model(x, layers.Embedding(5, 2)(x))
    with pytest.raises(rm.InvalidInputError, match="needs 'x'; it was called on 'w', 'a', 'b'"):
        other(batch)


def test_what_is_no_graph():
    a, b = words(name="a"), words(name="b")
    y = layers.Embedding(5, 2)(a)
    refused = [
        ([a, b], y, "no output needs its input 'b'"),
        (b, y, "need the input 'a', which is not among its inputs"),
        (y, layers.Add()([y, layers.Embedding(5, 2)(a)]), "need the input 'a'"),
        ([a, y], layers.Dense(2)(y), "no output needs its input 'a'"),
        ([a, a], y, "2 of its inputs are 'a'"),
    ]
    for inputs, outputs, match in refused:
        with pytest.raises(rm.InvalidInputError, match=match):
            layers.Model(inputs, outputs)
    for inputs, outputs in ((3, y), (a, 3), ([a, 3], y), (a, [y, None]), ([], y), (a, {})):
        with pytest.raises(rm.UnsupportedTypeError, match="puts are Symbols, as Input"):
            layers.Model(inputs, outputs)
    same = [words(name="same"), words(name="same")]
    with pytest.raises(rm.InvalidInputError, match="2 of its inputs are 'same'"):
        layers.Model(same, layers.Add()([layers.Embedding(5, 2)(one) for one in same]))
    with pytest.raises(rm.InvalidInputError, match="two layers named 'd': give one a name="):
        layers.Model(a, layers.Dense(2, name="d")(layers.Dense(2, name="d")(y)))


def test_a_shared_layer_has_one_set_of_weights(frames):
    x = layers.Input((None, 4))
    dense = layers.Dense(4)
    model = layers.Model(x, dense(dense(x)))
    assert model.layers == [dense]
    assert model.count_params() == 20
    np.testing.assert_allclose(model(frames).values, dense(dense(frames)).values, 1e-6)


def test_a_model_is_a_layer(ids):
    inner = two_inputs()
    a, b = words(name="p"), words(name="q")
    outer = layers.Model([a, b], layers.LSTM(2, name="top")(inner([a, b])["states"]))
    assert outer.layers[0] is inner
    assert outer.count_params() == inner.count_params() + 3 * 8 + 2 * 8 + 8
    expected = outer.get_layer("top")(inner([ids, ids])["states"])
    assert outer([ids, ids]).tobytes() == expected.tobytes()
    stacked = layers.Sequential(
        [layers.Sequential([layers.Embedding(5, 4, mask_zero=True)]), layers.LSTM(2)]
    )
    assert stacked(ids).tobytes() == stacked(ids.to_padded().values).tobytes()


def test_masks_and_states_by_hand_in_a_graph(frames):
    x, keep = layers.Input((None, 4)), layers.Input((None,), dtype="bool", name="keep")
    h, c = layers.Input((2,)), layers.Input((2,))
    lstm = layers.LSTM(2)
    model = layers.Model([x, keep, h, c], lstm(x, mask=keep, initial_state=[h, c]))
    state = list(np.random.default_rng(0).standard_normal((2, 3, 2)).astype("f4"))
    mask = rm.Ragged.from_offsets(np.array(BY_HAND), [0, 3, 3, 5])
    expected = lstm(frames, mask=mask, initial_state=state)
    assert model([frames, mask, *state]).tobytes() == expected.tobytes()
    padded = model([frames.to_padded(), mask.to_padded().values, *state])
    assert padded.tobytes() == expected.tobytes()
    encoder, h_after, c_after = layers.LSTM(2, return_state=True)(x)
    decoded = layers.LSTM(2, return_sequences=True)(x, initial_state=[h_after, c_after])
    assert layers.Model(x, [encoder, decoded])(frames)[1].item_shape == (2,)


def test_a_split_in_a_graph(frames):
    x = layers.Input((None, 4))
    parts = layers.TemporalSplit(3)(x)
    assert len(parts) == 3
    model = layers.Model(x, layers.TemporalConcat()(parts[::-1]))
    joined = model(frames)
    assert joined.lengths.tolist() == [3, 0, 2]
    assert joined.compact().values[:3].tobytes() == frames.values[[2, 1, 0]].tobytes()
    assert masks_of(joined.compact()) == [True, False, True, True, True]
    with pytest.raises(rm.InvalidInputError, match="3 steps"):
        layers.Model(x, layers.TemporalSplit(2)(x))(frames)


def test_a_split_into_any_number_of_parts():
    x = layers.Input((None, 4))
    inner = layers.Model(x, layers.TemporalSplit(11)(x))
    y = layers.Input((None, 4))
    last = inner(y)[-1]
    model = layers.Model(y, layers.TemporalPool("sum")(last))
    ones = rm.Ragged.from_offsets(np.ones((33, 4), "f4"), [0, 22, 33])
    assert model(ones).tolist() == [[2.0] * 4, [0.0] * 4]


def test_a_layer_that_gives_another_number_of_batches_than_it_did(frames):
    class PerRow(layers.Layer):
        def call(self, inputs):
            return [inputs] * len(inputs)

    x = layers.Input((None, 4))
    model = layers.Model(x, PerRow(name="per_row")(x))
    with pytest.raises(rm.InvalidInputError, match="layer 'per_row' gave 3 batches, and 1 when"):
        model(frames)


def test_sequential(ids):
    model = layers.Sequential([layers.Embedding(5, 4, mask_zero=True)], name="steps")
    assert not model.built
    assert repr(model) == "Sequential('steps', 1 layer, 0 numbers)"
    assert masks_of(model(ids)) == MASK
    model.add(layers.LSTM(2))
    assert model(ids).shape == (3, 2)
    first = layers.Sequential([words(), layers.Embedding(5, 4), layers.LSTM(2)])
    assert first.built
    assert first.count_params() == 20 + 4 * 8 + 2 * 8 + 8
    dense = layers.Dense(3)
    twice = layers.Sequential([layers.Input((3,)), dense, dense])
    assert twice.layers == [dense]
    assert twice.count_params() == 12
    assert layers.Sequential([layers.Dense(2)])(np.ones((2, 3), "f4")).shape == (2, 2)
    assert layers.Sequential([layers.LSTM(2)])(np.ones((2, 3, 4), "f4")).shape == (2, 2)


def test_what_sequential_refuses(ids):
    model = layers.Sequential([layers.Embedding(5, 4)], name="steps")
    with pytest.raises(rm.InvalidInputError, match="model 'steps': an Input comes first"):
        model.add(words())
    with pytest.raises(rm.UnsupportedTypeError, match="is made of layers; got int"):
        model.add(3)
    with pytest.raises(rm.UnsupportedTypeError, match="takes one batch; got a list"):
        model([ids, ids])
    with pytest.raises(rm.InvalidInputError, match="'none' has no layers: add some"):
        layers.Sequential(name="none")(ids)
    model(ids)
    for layer in (layers.Embedding(2, 2), layers.Dense(2, name=model.layers[0].name)):
        with pytest.raises(rm.RagmaskError):
            model.add(layer)
        assert len(model.layers) == 1
        assert model(ids).item_shape == (4,)
    with pytest.raises(rm.InvalidInputError, match=r"input .* got steps of shape \(2,\)"):
        model(ids.with_values(np.ones((5, 2), int)))


@pytest.mark.parametrize("name", ["fit", "compile", "evaluate", "predict", "train_on_batch"])
def test_what_keras_has_and_ragmask_does_not(name, frames):
    model = rm.layers.Sequential([rm.layers.Input((None, 3)), rm.layers.LSTM(2)])
    with pytest.raises(rm.MissingAttributeError, match=rf"has no {name}\(\): ") as told:
        getattr(model, name)(frames)
    for bridge in ("ragmask.interop.keras.StreamDataset", "to_torch"):
        assert bridge in str(told.value)
    assert not hasattr(model, name)
    assert name not in dir(model)
    with pytest.raises(AttributeError, match="object has no attribute 'fitt'"):
        model.fitt  # noqa: B018
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.name == model.name
        assert not hasattr(other, name)


def test_an_error_inside_a_property_is_told_as_it_is():
    class Odd(rm.layers.Model):
        @property
        def steps(self):
            return self.nowhere

    x = rm.layers.Input((None, 2))
    with pytest.raises(AttributeError, match="has no attribute 'nowhere'"):
        Odd(x, rm.layers.LSTM(2)(x)).steps  # noqa: B018
