"""An Embedding and the LSTM behind it, run as one step: what its two layers give one by one."""

import copy
import pickle
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.arrays.host import HostArrays
from ragmask.layers import fusion
from ragmask.layers.fusion import Fused
from ragmask.layers.layer import mask_of
from tests import reference
from tests.strategies import INTEGERS, as_kind, forms, lists_of, raggeds

TOLERANCE = 2e-6
VOCABULARY = 100


def sequential(*layers):
    """A model whose layers are fused, whether it pays or not."""
    with patch.object(fusion, "pays", return_value=True):
        return rm.layers.Sequential([rm.layers.Input((None,), "int64"), *layers])


def model_of(units=17, features=5, vocabulary=VOCABULARY, mask_zero=True, seed=0, **options):
    """A model of an Embedding and an LSTM, with weights that are all of a size."""
    embedding = rm.layers.Embedding(vocabulary, features, mask_zero=mask_zero)
    lstm = rm.layers.LSTM(units, **options)
    model = sequential(embedding, lstm)
    assert [type(step) for step in model._steps[1:]] == [Fused]
    model.set_weights(random_weights(model, seed))
    return model


def random_weights(model, seed):
    random = np.random.default_rng(seed)
    return [random.normal(0, 0.5, array.shape) for array in model.get_weights()]


def one_by_one(model, ids):
    embedding, lstm = model.layers
    return lstm(embedding(ids))


def batches_of(result):
    return result if isinstance(result, list) else [result]


def values_of(batch):
    return batch if isinstance(batch, np.ndarray) else batch.values


def assert_alike(result, expected):
    """The same kinds, dtypes, rows and masks, and numbers that are equal but for rounding."""
    assert type(result) is type(expected)
    for ours, wanted in zip(batches_of(result), batches_of(expected), strict=True):
        assert type(ours) is type(wanted)
        assert ours.dtype == wanted.dtype
        assert values_of(ours).shape == values_of(wanted).shape
        if isinstance(ours, rm.Ragged):
            assert ours.lengths.tolist() == wanted.lengths.tolist()
        if not isinstance(ours, np.ndarray):
            assert (ours.mask is None) == (wanted.mask is None)
            assert ours.mask is None or ours.mask.tolist() == wanted.mask.tolist()
        np.testing.assert_allclose(values_of(ours), values_of(wanted), TOLERANCE, TOLERANCE)


def bytes_of(result):
    return [values_of(batch).tobytes() for batch in batches_of(result)]


OPTIONS = st.fixed_dictionaries(
    {"mask_zero": st.booleans()},
    optional={
        name: st.booleans()
        for name in (
            "return_sequences",
            "return_state",
            "go_backwards",
            "zero_output_for_mask",
            "use_bias",
        )
    },
)


@given(
    raggeds(dtypes=INTEGERS, item_shapes=[()], tame=True),
    st.sampled_from(["ragged", "padded", "dense"]),
    st.sampled_from([1, 3, 17]),
    st.sampled_from([1, 3, 16, 17, 33]),
    OPTIONS,
)
def test_it_is_the_two_layers(ids, kind, features, units, options):
    model = model_of(units, features, **options)
    batch = as_kind(ids, kind)
    assert_alike(model(batch), one_by_one(model, batch))


@given(raggeds(dtypes=("int32",), item_shapes=[()], tame=True), st.booleans(), st.booleans())
def test_it_is_the_reference(ids, backwards, mask_zero):
    """The table's rows, and then the LSTM in plain loops."""
    model = model_of(return_sequences=True, return_state=True, mask_zero=mask_zero)
    embedding, lstm = model.layers
    lstm.zero_output_for_mask = backwards
    vectors, kernel, recurrent, bias = (weight.tolist() for weight in model.weights)
    rows, masks = lists_of(ids)
    for row, mask in zip(rows, masks, strict=True):
        for step, (number,) in enumerate(row):
            row[step] = vectors[int(number)] if mask[step] else [0.0] * embedding.output_dim
            mask[step] = not mask_zero or (mask[step] and number != 0)
    expected = reference.lstm(rows, masks, kernel, recurrent, bias, zero_output_for_mask=backwards)
    outputs, h, c = model(ids)
    for ours, wanted in zip(lists_of(outputs)[0], expected[0], strict=True):
        np.testing.assert_allclose(
            np.reshape(ours, (-1, 17)), np.reshape(wanted, (-1, 17)), TOLERANCE, TOLERANCE
        )
    for ours, wanted in ((h, expected[1]), (c, expected[2])):
        np.testing.assert_allclose(ours, np.reshape(wanted, (-1, 17)), TOLERANCE, TOLERANCE)


# -- bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("mask_zero", [False, True])
def test_every_layout_gives_the_same_bits(backwards, mask_zero):
    """Compact, a view with gaps, and padded before, behind and further."""
    random = np.random.default_rng(0)
    lengths = [7, 0, 1, 30, 4, 4, 12]
    rows = [random.integers(1, VOCABULARY, length) for length in lengths]
    masks = [np.arange(length) % 3 != 1 for length in lengths]
    if not mask_zero:  # the mask is dropped: a padded row is as long as its padding
        masks = [np.ones(length, bool) for length in lengths]
    model = model_of(return_state=True, go_backwards=backwards, mask_zero=mask_zero)
    layouts = forms(rows, masks, garbage=10**6 if mask_zero else 0)
    if not mask_zero:
        layouts = {name: layouts[name] for name in ("compact", "view")}
    expected = bytes_of(model(layouts.pop("compact")))
    for name, batch in layouts.items():
        assert bytes_of(model(batch)) == expected, name


def test_any_number_of_rows_gives_each_its_own_bits(num_threads):
    """At every number of rows a tile and the slots may hold, and around them."""
    num_threads(1)
    random = np.random.default_rng(0)
    ids = rm.Ragged.from_rows(
        [random.integers(0, VOCABULARY, n) for n in random.integers(0, 9, 60)]
    )
    model = model_of(return_state=True, return_sequences=True)
    alone = [model(ids[[row]]) for row in range(60)]
    for rows in (*range(1, 14), *range(46, 51), 60):
        outputs, h, c = model(ids[:rows])
        for row in range(rows):
            assert outputs[row].tobytes() == alone[row][0].values.tobytes()
            assert h[row].tobytes() == alone[row][1].tobytes()
            assert c[row].tobytes() == alone[row][2].tobytes()


def test_the_number_of_threads_changes_nothing(num_threads):
    random = np.random.default_rng(0)
    lengths = random.lognormal(3, 1, 200).astype(int)
    ids = rm.Ragged.from_rows([random.integers(0, VOCABULARY, length) for length in lengths])
    model = model_of(units=64, return_sequences=True, return_state=True)
    results = []
    for threads in (1, 2, 5):
        num_threads(threads)
        results.append(bytes_of(model(ids)))
    assert results[0] == results[1] == results[2]


def test_nan_stays_in_its_row():
    model = model_of()
    weights = model.get_weights()
    weights[0][7] = np.nan
    ids = rm.Ragged.from_rows([[1, 2, 3], [7, 1], [4, 5]])
    expected = model(ids)
    model.set_weights(weights)
    result = model(ids)
    assert np.isnan(result[1]).all()
    assert result[[0, 2]].tobytes() == expected[[0, 2]].tobytes()


# -- devices ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ragged", "padded", "dense"])
def test_ids_on_a_device_go_through_the_two_layers(kind, monkeypatch):
    """What those do there is theirs: here it is enough that they are called."""
    model, ids = model_of(), as_kind(rm.Ragged.from_rows([[1, 2], [3, 4]]), kind)
    monkeypatch.setattr(HostArrays, "is_host", False)
    monkeypatch.setattr(rm.layers.Embedding, "__call__", lambda layer, ids: (layer.name, ids))
    monkeypatch.setattr(rm.layers.LSTM, "__call__", lambda layer, vectors: (layer.name, vectors))
    embedding, lstm = (layer.name for layer in model.layers)
    name, (first, given) = model._steps[-1].run(ids)
    assert (name, first) == (lstm, embedding)
    assert given is ids
    assert table_of(model) is None


# -- ids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1, VOCABULARY, 2**62])
@pytest.mark.parametrize("mask_zero", [False, True])
def test_an_id_outside_the_table_is_the_embeddings_error(bad, mask_zero):
    model = model_of(mask_zero=mask_zero)
    for rows in ([[1, 2], [], [3, bad]], np.array([[1, 2], [3, bad]])):
        ids = rm.Ragged.from_rows(rows) if isinstance(rows, list) else rows
        with pytest.raises(rm.InvalidInputError) as expected:
            model.layers[0](ids)
        with pytest.raises(rm.InvalidInputError) as error:
            model(ids)
        assert str(error.value) == str(expected.value)
        assert f"in layer {model.layers[0].name!r}" in error.value.__notes__


def test_ids_that_are_no_integers_are_the_embeddings_error():
    model = model_of()
    for ids in (np.ones((2, 3)), rm.Ragged.from_rows([[1.5]])):
        with pytest.raises(rm.UnsupportedTypeError) as expected:
            model.layers[0](ids)
        with pytest.raises(rm.UnsupportedTypeError) as error:
            model(ids)
        assert str(error.value) == str(expected.value)


@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_ids_of_masked_steps_are_not_looked_at(mask_zero, backwards):
    """Where the mask is dropped they are vectors of zeros, as the Embedding gives them."""
    mask = np.array([True, False, True, False, False, True])
    garbage, zeros = np.array([3, -5, 4, 2**40, 7, 9]), np.array([3, 0, 4, 0, 0, 9])
    model = model_of(
        mask_zero=mask_zero, go_backwards=backwards, return_sequences=True, return_state=True
    )
    batches = [rm.Ragged.from_offsets(ids, [0, 3, 5, 6], mask) for ids in (garbage, zeros)]
    results = [model(batch) for batch in batches]
    assert bytes_of(results[0]) == bytes_of(results[1])
    assert_alike(results[0], one_by_one(model, batches[0]))
    assert (mask_of(results[0][0]) is not None) == mask_zero
    padded = rm.Padded(garbage.reshape(2, 3), mask.reshape(2, 3))
    assert_alike(model(padded), one_by_one(model, padded))


@pytest.mark.parametrize("rows", [[], [[]], [[], [], []], [[0, 0], [0]]])
@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "go_backwards": True}])
def test_batches_with_nothing_to_compute(rows, options):
    ids = rm.Ragged.from_rows([np.array(row, np.int16) for row in rows])
    if not rows:
        ids = rm.Ragged.from_offsets(np.zeros(0, np.int16), [0])
    model = model_of(return_state=True, **options)
    result = model(ids)
    assert_alike(result, one_by_one(model, ids))
    assert not values_of(result[1]).any()


# -- the table ------------------------------------------------------------------------------


def table_of(model):
    (fused,) = (step for step in model._steps if isinstance(step, Fused))
    return fused._made and fused._made[1][1]


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


# -- what is fused --------------------------------------------------------------------------


def fused_in(model):
    return [step.node.layer.name for step in model._steps if isinstance(step, Fused)]


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
    assert fusion.pays(131_071, 64, 128)
    assert not fusion.pays(131_072, 64, 128)
    assert fusion.pays(131_071, 64, 113)
    assert not fusion.pays(131_072, 64, 113)
    assert fusion.pays(131_072, 64, 112)


def test_few_features_are_multiplied():
    assert fusion.pays(1_000, 64, 128)
    assert not fusion.pays(1_000, 63, 128)
    assert not fusion.pays(1_000, 0, 1)


@pytest.mark.parametrize("features", [1, 2])
def test_it_depends_on_the_layers_alone(features):
    """So that no row's bits depend on the other rows: on many as on few."""
    model = rm.layers.Sequential([rm.layers.Embedding(5, features), rm.layers.LSTM(4)])
    rows = [[1, 2, 3], [], [4] * 9, [0]] * 50
    first = model(rm.Ragged.from_rows(rows[:1]))
    assert fused_in(model) == ([model.layers[1].name] if features == 2 else [])
    many = model(rm.Ragged.from_rows(rows))
    assert many[0].tobytes() == first[0].tobytes()
