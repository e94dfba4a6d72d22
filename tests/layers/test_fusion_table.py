"""The table of a fused Embedding and recurrent layer, and which are fused."""

import copy
import pickle

import numpy as np
import pytest

import ragmask as rm
from ragmask.layers import fusion
from ragmask.layers.fusion import Fused
from tests.layers.fused_models import (
    TOLERANCE,
    VOCABULARY,
    assert_alike,
    batches_of,
    fused_in,
    model_of,
    one_by_one,
    random_weights,
    sequential,
    table_of,
)


def test_the_table_is_made_at_the_first_call_and_kept():
    model, ids = model_of(units=16, features=3), rm.Ragged.from_rows([[1, 2]])
    assert table_of(model) is None
    model(ids)
    table = table_of(model)
    model(ids)
    assert table_of(model) is table
    vectors, kernel, _, bias = model.weights
    rows = np.concatenate([vectors @ kernel + bias, bias[None]])  # of the gates i, f, g, o
    np.testing.assert_allclose(table.reshape(VOCABULARY + 1, 64), rows, 1e-5, 1e-6)
    assert table.dtype == np.float32
    assert not table.flags.writeable


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [1, 8, 16, 17, 33])
def test_a_row_of_the_table_has_the_gates_of_one_vector_of_units_after_another(dtype, units):
    random = np.random.default_rng(0)
    shapes = (3, 4 * units), (units, 4 * units), 4 * units
    weights = rm.LSTMWeights(*(random.standard_normal(shape) for shape in shapes))
    vectors = random.standard_normal((5, 3)).astype(dtype)
    panels, table = weights.packed_for_ids(vectors)
    lanes = 64 // vectors.itemsize
    blocks = -(-units // lanes)
    rows = np.moveaxis(table.reshape(6, blocks, 4, lanes), 2, 1).reshape(6, 4, blocks * lanes)
    expected = np.append(vectors, np.zeros((1, 3)), 0) @ weights.kernel + weights.bias
    np.testing.assert_allclose(rows[:, :, :units], expected.reshape(6, 4, units), 1e-5, 1e-5)
    assert not rows[:, :, units:].any()
    of_both = weights.packed(dtype)[0].reshape(blocks * 4, 3 + units, lanes)
    assert panels.tobytes() == of_both[:, 3:].tobytes()
    assert table.dtype == panels.dtype == dtype


@pytest.mark.parametrize("who", ["the embedding", "the lstm", "the model", "an outer model"])
def test_new_weights_are_used_at_once(who):
    model, ids = model_of(), rm.Ragged.from_rows([[1, 2], [3]])
    outer = sequential(model)
    layers = [*model.layers, model, outer]
    names = ["the embedding", "the lstm", "the model", "an outer model"]
    changed = layers[names.index(who)]
    before = model(ids)
    changed.set_weights(random_weights(changed, seed=7))
    after = model(ids)
    assert np.abs(after - before).max() > 1e-2
    assert_alike(after, one_by_one(model, ids))
    assert outer(ids).tobytes() == after.tobytes()


def test_layers_shared_by_two_models():
    one = model_of()
    embedding, lstm = one.layers
    other = sequential(embedding, lstm)
    ids = rm.Ragged.from_rows([[1, 2], [3]])
    assert one(ids).tobytes() == other(ids).tobytes()
    one.set_weights(random_weights(one, seed=7))
    assert one(ids).tobytes() == other(ids).tobytes()
    assert_alike(other(ids), one_by_one(one, ids))


def test_an_lstm_shared_by_two_embeddings():
    """Each has a table of its own."""
    inputs = [rm.layers.Input((None,), "int64", name=name) for name in "ab"]
    embeddings, lstm = [rm.layers.Embedding(2_000, 64) for _ in "ab"], rm.layers.LSTM(3)
    outputs = [lstm(layer(one)) for layer, one in zip(embeddings, inputs, strict=True)]
    model = rm.layers.Model(inputs, outputs)
    assert [type(step) for step in model._steps].count(Fused) == 2
    ids = rm.Ragged.from_rows([[1, 2], [3]])
    for result, layer in zip(model([ids, ids]), embeddings, strict=True):
        assert_alike(result, lstm(layer(ids)))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_makes_a_table_of_its_own(copied):
    model, ids = model_of(), rm.Ragged.from_rows([[1, 2], [3]])
    before = model(ids)
    other = copied(model)
    assert table_of(other) is None
    assert other(ids).tobytes() == before.tobytes()
    assert table_of(other) is not table_of(model)


def test_new_weights_of_a_copy_are_its_own():
    model, ids = model_of(), rm.Ragged.from_rows([[1, 2], [3]])
    before = model(ids)
    other = copy.deepcopy(model)
    other.set_weights(random_weights(other, seed=7))
    assert_alike(other(ids), one_by_one(other, ids))
    assert model(ids).tobytes() == before.tobytes()


class Mine(rm.layers.Embedding):
    """An Embedding of a user's own."""


class Plain(rm.layers.Layer):
    def call(self, inputs):
        return inputs


def graph(case):
    ids = rm.layers.Input((None,), "int64", name="ids")
    embedding, lstm = rm.layers.Embedding(9, 64, mask_zero=True), rm.layers.LSTM(3, name="lstm")
    if case == "of a subclass":
        return rm.layers.Model(ids, lstm(Mine(9, 64)(ids)))
    if case == "of ids that a layer computes":
        return rm.layers.Model(ids, lstm(embedding(Plain()(ids))))
    if case == "through another layer":
        return rm.layers.Model(ids, lstm(rm.layers.Dropout(0.5)(embedding(ids))))
    vectors = embedding(ids)
    if case == "whose vectors are an output":
        return rm.layers.Model(ids, [lstm(vectors), vectors])
    if case == "whose vectors another layer needs":
        return rm.layers.Model(ids, [lstm(vectors), rm.layers.TemporalPool()(vectors)])
    if case == "with a mask by hand":
        kept = rm.layers.Input((None,), "bool", name="kept")
        return rm.layers.Model([ids, kept], lstm(vectors, mask=kept))
    if case == "with an initial state":
        states = [rm.layers.Input((3,), name=name) for name in "hc"]
        return rm.layers.Model([ids, *states], lstm(vectors, initial_state=states))
    return rm.layers.Model(ids, lstm(vectors))


def test_a_plain_chain_is_fused():
    assert fused_in(graph("plain")) == ["lstm"]


def test_every_kind_is_fused_but_no_subclass():
    class Own(rm.layers.GRU):
        pass

    for kind in (rm.layers.LSTM, rm.layers.GRU, rm.layers.SimpleRNN, Own):
        ids, layer = rm.layers.Input((None,), "int64"), kind(3, name="own")
        model = rm.layers.Model(ids, layer(rm.layers.Embedding(9, 64)(ids)))
        assert fused_in(model) == ([] if kind is Own else ["own"])


@pytest.mark.parametrize(
    "case",
    [
        "of a subclass",
        "of ids that a layer computes",
        "through another layer",
        "whose vectors are an output",
        "whose vectors another layer needs",
        "with a mask by hand",
        "with an initial state",
    ],
)
def test_it_is_not_fused(case):
    model = graph(case)
    assert fused_in(model) == []
    ids = rm.Ragged.from_rows([[1, 0, 2], [], [3]])
    given = {"ids": ids, "h": np.ones((3, 3)), "c": np.ones((3, 3))}
    given["kept"] = ids.with_values(np.array([True, False, True, True]))
    batches = [given[name] for name in model.input_names]
    result = model(batches if len(batches) > 1 else batches[0])
    assert batches_of(result)[0].shape == (3, 3)


def test_another_layer_behind_it_gets_outputs_and_mask():
    ids = rm.layers.Input((None,), "int64")
    embedding = rm.layers.Embedding(9, 64, mask_zero=True)
    lstm, pool = rm.layers.LSTM(3, return_sequences=True), rm.layers.TemporalPool("mean")
    model = rm.layers.Model(ids, pool(lstm(embedding(ids))))
    assert fused_in(model) == [lstm.name]
    batch = rm.Ragged.from_rows([[1, 0, 2], [0], [3]])
    expected = pool(lstm(embedding(batch)))
    np.testing.assert_allclose(model(batch), expected, TOLERANCE, TOLERANCE)
    assert not model(batch)[1].any()


def test_the_summary_has_both_layers(capsys):
    model = graph("plain")
    model.summary()
    told = capsys.readouterr().out
    for layer in model.layers:
        assert f"{layer.name} ({type(layer).__name__})" in told
    assert model.count_params() == sum(layer.count_params() for layer in model.layers)


def test_a_table_has_a_bound():
    """256 MB, units rounded up to whole vectors."""
    assert fusion.pays(131_071, 64, 128, 4)
    assert not fusion.pays(131_072, 64, 128, 4)
    assert fusion.pays(131_071, 64, 113, 4)
    assert not fusion.pays(131_072, 64, 113, 4)
    assert fusion.pays(131_072, 64, 112, 4)
    assert fusion.pays(524_287, 64, 128, 1)  # of a SimpleRNN; a GRU has as many sums as an LSTM
    assert not fusion.pays(524_288, 64, 128, 1)


def test_few_features_are_multiplied():
    assert fusion.pays(1_000, 64, 128, 4)
    assert not fusion.pays(1_000, 63, 128, 4)
    assert not fusion.pays(1_000, 0, 1, 4)


@pytest.mark.parametrize("features", [1, 2])
def test_it_depends_on_the_layers_alone(features):
    """So that no row's bits depend on the other rows: on many as on few."""
    model = rm.layers.Sequential([rm.layers.Embedding(5, features), rm.layers.LSTM(4)])
    rows = [[1, 2, 3], [], [4] * 9, [0]] * 50
    first = model(rm.Ragged.from_rows(rows[:1]))
    assert fused_in(model) == ([model.layers[1].name] if features == 2 else [])
    many = model(rm.Ragged.from_rows(rows))
    assert many[0].tobytes() == first[0].tobytes()
