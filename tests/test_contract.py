"""What every op promises: layout, threads and the other rows change no bit of a row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import threads
from ragmask.ops import recurrent
from tests.operations import OPERATIONS, marks_of, outcome
from tests.strategies import fewer, forms, raggeds

pytestmark = pytest.mark.parametrize(
    "operation",
    [pytest.param(OPERATIONS[name], id=name, marks=marks_of(name)) for name in OPERATIONS],
)


LAYOUTS = raggeds(dtypes=("uint8",), item_shapes=[()], max_rows=9, max_steps=40)
few_examples = fewer(2)


def draw_batch(operation, layout, seed=0):
    """(rows, masks) of the lengths and masks of `layout`."""
    random = np.random.default_rng(seed)
    rows = [operation.draw(random, length) for length in layout.lengths.tolist()]
    masks = [np.ones(len(row), bool) for row in rows]
    if layout.mask is not None:
        masks = [random.random(len(row)) < 0.7 for row in rows]
    return rows, masks


def many_rows(operation, seed=0):
    lengths = np.random.default_rng(seed).lognormal(2, 1, 200).astype(np.int64)
    return draw_batch(
        operation, rm.Ragged(np.zeros(9999), 0 * lengths, lengths, np.ones(9999, "?"))
    )


@few_examples
@given(layout=LAYOUTS.filter(len))
def test_every_layout_of_the_same_rows_gives_the_same(operation, layout):
    batches = forms(*draw_batch(operation, layout), operation.garbage)
    expected = outcome(operation, batches.pop("compact"))
    for name, batch in batches.items():
        assert outcome(operation, batch) == expected, name


@few_examples
@given(layout=LAYOUTS.filter(len), seed=st.integers(0, 99))
def test_rows_may_repeat_and_come_in_any_order(operation, layout, seed):
    batch = forms(*draw_batch(operation, layout), operation.garbage)["view"]
    expected = outcome(operation, batch)
    picked = np.random.default_rng(seed).integers(0, len(batch), 2 * len(batch))
    assert outcome(operation, batch[picked]) == [expected[row] for row in picked]


@few_examples
@given(layout=LAYOUTS.filter(len))
def test_a_row_alone_is_what_it_is_among_others(operation, layout):
    batch = forms(*draw_batch(operation, layout), operation.garbage)["view"]
    alone = [outcome(operation, batch[[row]])[0] for row in range(len(batch))]
    assert outcome(operation, batch) == alone


def test_poison_in_one_row_reaches_no_other(operation):
    rows, masks = many_rows(operation)
    expected = outcome(operation, forms(rows, masks, operation.garbage)["compact"])
    bad = list(range(0, len(rows), 3))
    for row in bad:
        rows[row][:] = operation.poison
    spoilt = outcome(operation, forms(rows, masks, operation.garbage)["compact"])
    assert [row for n, row in enumerate(spoilt) if n not in bad] == [
        row for n, row in enumerate(expected) if n not in bad
    ]
    assert sum(spoilt[row] != expected[row] for row in bad) > len(bad) / 2


@pytest.mark.parametrize("form", ["compact", "pre"])
def test_the_number_of_threads_changes_nothing(operation, form, num_threads, monkeypatch):
    monkeypatch.setattr(threads, "WORTH_A_THREAD_NS", 0)
    monkeypatch.setattr(recurrent, "MULTIPLY_NS", 10.0)
    helpers = []
    call_helpers = threads._call_helpers
    monkeypatch.setattr(
        threads, "_call_helpers", lambda *args: helpers.append(args[1]) or call_helpers(*args)
    )
    num_threads(1)
    batch = forms(*many_rows(operation), operation.garbage)[form]
    expected = outcome(operation, batch)
    assert not helpers
    for count in (2, 3, 4):
        num_threads(count)
        assert outcome(operation, batch) == expected
        assert max(helpers) == count - 1


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0], [0, 4, 0]])
def test_empty_rows_are_ordinary(operation, lengths):
    values = operation.draw(np.random.default_rng(0), sum(lengths))
    batch = rm.Ragged(values, np.cumsum([0, *lengths])[: len(lengths)], lengths)
    full = [length > 0 for length in lengths]
    for kind in (batch, batch.to_padded()):
        steps, arrays = operation.run(kind)
        for array in arrays:
            assert array.shape[0] == len(lengths)
            assert is_nothing(array[~np.array(full, bool)])
        if steps is not None:
            assert type(steps) is type(kind)
            assert len(steps) == len(lengths)
        assert outcome(operation, batch) == outcome(operation, kind)


def is_nothing(array):
    """What a row without kept steps gives: zeros, or the logarithm of 0."""
    return np.isin(array, [0, -np.inf]).all()


def test_a_dense_array_of_no_rows_may_have_any_byte_order(operation):
    values = operation.draw(np.random.default_rng(0), 0)[None].repeat(0, axis=0)
    foreign = values.astype(values.dtype.newbyteorder())
    steps, arrays = operation.run(foreign)
    assert all(len(array) == 0 for array in arrays)
    assert steps is None or len(steps) == 0


def test_a_batch_of_masked_steps_keeps_nothing(operation):
    values = np.full_like(operation.draw(np.random.default_rng(0), 6), operation.garbage)
    batch = rm.Ragged(values, [0, 2, 2], [2, 0, 4], np.zeros(6, bool))
    steps, arrays = operation.run(batch)
    assert all(map(is_nothing, arrays))
    if steps is not None:
        assert not steps.values.any()
        assert not steps.mask.any()


def test_outputs_of_an_op_are_inputs_of_the_next(operation):
    """A result's mask is read-only, and its values belong to nobody else."""
    batch = forms(*many_rows(operation), operation.garbage)
    for name in ("compact", "post", "wide rows, narrow view"):
        steps, _ = operation.run(batch[name])
        if steps is not None:
            again = rm.temporal_pool(steps, "last")
            assert len(again) == len(steps)
            assert not np.shares_memory(steps.values, batch[name].values)
