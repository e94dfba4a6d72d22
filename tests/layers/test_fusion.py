"""An Embedding and a recurrent layer, run as one step: what the two give one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.arrays.host import HostArrays
from ragmask.layers.batch import mask_of
from tests import reference
from tests.layers.fused_models import (
    TOLERANCE,
    VOCABULARY,
    assert_alike,
    bytes_of,
    model_of,
    one_by_one,
    table_of,
    values_of,
)
from tests.strategies import INTEGERS, as_kind, forms, lists_of, raggeds

KINDS = pytest.mark.parametrize(
    "kind", [rm.layers.LSTM, rm.layers.GRU, rm.layers.SimpleRNN], ids=lambda kind: kind.__name__
)
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


@KINDS
@given(
    raggeds(dtypes=INTEGERS, item_shapes=[()], tame=True),
    st.sampled_from(["ragged", "padded", "dense"]),
    st.sampled_from([1, 3, 17]),
    st.sampled_from([1, 3, 16, 17, 33]),
    OPTIONS,
)
def test_it_is_the_two_layers(kind, ids, form, features, units, options):
    model = model_of(units, features, kind=kind, **options)
    batch = as_kind(ids, form)
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


@KINDS
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("mask_zero", [False, True])
def test_every_layout_gives_the_same_bits(kind, backwards, mask_zero):
    """Compact, a view with gaps, and padded before, behind and further."""
    random = np.random.default_rng(0)
    lengths = [7, 0, 1, 30, 4, 4, 12]
    rows = [random.integers(1, VOCABULARY, length) for length in lengths]
    masks = [np.arange(length) % 3 != 1 for length in lengths]
    if not mask_zero:  # the mask is dropped: a padded row is as long as its padding
        masks = [np.ones(length, bool) for length in lengths]
    options = {"return_state": True, "go_backwards": backwards, "mask_zero": mask_zero}
    model = model_of(kind=kind, **options)
    layouts = forms(rows, masks, garbage=10**6 if mask_zero else 0)
    if not mask_zero:
        layouts = {name: layouts[name] for name in ("compact", "view")}
    expected = bytes_of(model(layouts.pop("compact")))
    for name, batch in layouts.items():
        assert bytes_of(model(batch)) == expected, name


@KINDS
def test_any_number_of_rows_gives_each_its_own_bits(kind, num_threads):
    """At every number of rows a tile and the slots may hold, and around them."""
    num_threads(1)
    random = np.random.default_rng(0)
    ids = rm.Ragged.from_rows(
        [random.integers(0, VOCABULARY, n) for n in random.integers(0, 9, 60)]
    )
    model = model_of(return_state=True, return_sequences=True, kind=kind)
    alone = [model(ids[[row]]) for row in range(60)]
    for rows in (*range(1, 14), *range(46, 51), 60):
        outputs, *states = model(ids[:rows])
        for row in range(rows):
            assert outputs[row].tobytes() == alone[row][0].values.tobytes()
            for state, other in zip(states, alone[row][1:], strict=True):
                assert state[row].tobytes() == other.tobytes()


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
