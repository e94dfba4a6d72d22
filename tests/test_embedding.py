"""Vectors for ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import FLOATS, INTEGERS, as_kind, assert_rows, lists_of, over, raggeds

TABLE_DTYPES = (*FLOATS, "int8", "uint16", "int64", "bool")
KINDS = st.sampled_from(["ragged", "padded", "dense"])
IDS = raggeds(dtypes=INTEGERS, item_shapes=[()], tame=True)


def table_of(rows, item_shape, dtype="float32"):
    values = np.random.default_rng(rows).normal(0, 50, (rows, *item_shape)) % 100
    return values.astype(dtype)


def expected_of(ids, table, **options):
    rows, masks = lists_of(ids)
    rows = [[step for (step,) in row] for row in rows]
    return reference.embedding(rows, masks, table.reshape(len(table), -1).tolist(), **options)


@given(
    IDS,
    KINDS,
    st.sampled_from([1, 3, 17, 33, 300]),
    st.sampled_from([(), (1,), (3,), (16,), (40,), (2, 2)]),
    st.sampled_from(TABLE_DTYPES),
    st.booleans(),
)
def test_it_is_the_reference(ids, kind, vocabulary, item_shape, dtype, mask_zero):
    ids = over(ids, (ids.values % min(vocabulary, 100)).astype(ids.dtype))
    batch, table = as_kind(ids, kind), table_of(vocabulary, item_shape, dtype)
    vectors = rm.embedding(batch, table, mask_zero=mask_zero)
    expected, masks = expected_of(batch, table, mask_zero=mask_zero)
    rows, kept = lists_of(vectors)
    assert_rows(rows, expected)
    assert kept == masks
    becomes = rm.Padded if kind == "dense" and mask_zero else type(batch)
    assert type(vectors) is becomes
    assert (vectors.dtype, vectors.shape[2:] if kind != "ragged" else vectors.item_shape) == (
        table.dtype,
        item_shape,
    )
    if kind == "ragged":
        assert vectors.is_compact


@pytest.mark.parametrize("given_mask", [None, [True, False, True]])
def test_a_mask_appears_only_where_one_is_due(given_mask):
    ids = rm.Ragged([0, 1, 2], [0], [3], given_mask)
    plain = rm.embedding(ids, table_of(3, (2,))).mask
    assert (plain if given_mask is None else plain.tolist()) == given_mask
    zero = rm.embedding(ids, table_of(3, (2,)), mask_zero=True).mask
    assert zero.tolist() == ([False, True, True] if given_mask is None else [False, False, True])


def test_row_0_is_what_a_masked_id_0_gets():
    table = table_of(3, (2,))
    ids = rm.Ragged([0, 0], [0], [2], [True, False])
    vectors = rm.embedding(ids, table, mask_zero=True).values
    assert vectors.tolist() == [table[0].tolist(), [0, 0]]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_ids_of_every_integer_type_up_to_their_largest(dtype):
    largest = min(np.iinfo(dtype).max, 300)
    table = table_of(301, (3,))
    vectors = rm.embedding(rm.Ragged(np.array([0, largest], dtype), [0], [2]), table)
    np.testing.assert_array_equal(vectors.values, table[[0, largest]])


@pytest.mark.parametrize(
    ("ids", "row", "step", "number"),
    [
        ([[0, 1], [], [2, 5]], 2, 1, 5),
        ([[0, -1], [7]], 0, 1, -1),
        ([[], [2**62]], 1, 0, 2**62),
        ([[-(2**63)]], 0, 0, -(2**63)),
    ],
)
def test_an_id_outside_the_table_is_named(ids, row, step, number):
    message = f"row {row}, step {step}: id {number} is outside the table, .* vocabulary has 5 rows"
    ids = rm.Ragged.from_rows(ids, np.int64)
    out = np.full((ids.n_steps, 2), 7, np.float32)
    for batch in (ids, ids.to_padded(padding="post")):
        with pytest.raises(rm.InvalidInputError, match=message):
            rm.embedding(batch, table_of(5, (2,)))
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.embedding(ids, table_of(5, (2,)), out=out)
    assert (out == 7).all()


def test_an_id_past_int64_is_named():
    ids = rm.Ragged(np.array([0, 2**64 - 1], np.uint64), [0], [2])
    with pytest.raises(rm.InvalidInputError, match=f"row 0, step 1: id {2**64 - 1} is outside"):
        rm.embedding(ids, table_of(5, (2,)))


def test_a_row_and_step_are_those_of_the_view():
    ids = rm.Ragged([9, 1, 2, 9, 0, 3], [4, 1], [2, 2])
    assert rm.embedding(ids, table_of(4, ())).n_steps == 4
    with pytest.raises(rm.InvalidInputError, match="row 0, step 1: id 3"):
        rm.embedding(ids, table_of(3, ()))


def test_a_masked_id_is_not_looked_at():
    ids = rm.Ragged([1, -(2**63), 10**12, 2], [0], [4], [True, False, False, True])
    table = table_of(3, (2,))
    assert rm.embedding(ids, table).values.tolist() == [
        table[1].tolist(),
        [0, 0],
        [0, 0],
        table[2].tolist(),
    ]


def test_a_table_of_no_rows_serves_masked_ids_alone():
    empty = np.zeros((0, 2), np.float32)
    ids = rm.Ragged([3, 0], [0], [2], [False, False])
    assert rm.embedding(ids, empty).values.tolist() == [[0, 0], [0, 0]]
    with pytest.raises(rm.InvalidInputError, match=r"row 0, step 0: id 0 .* has 0 rows"):
        rm.embedding(rm.Ragged([0], [0], [1]), empty)


def test_vectors_of_no_features():
    ids = rm.Ragged.from_rows([[1, 0], []])
    vectors = rm.embedding(ids, np.zeros((2, 0)), mask_zero=True)
    assert vectors.values.shape == (2, 0)
    assert vectors.mask.tolist() == [True, False]
    with pytest.raises(rm.InvalidInputError, match="row 0, step 0: id 1"):
        rm.embedding(ids, np.zeros((1, 0)))


def test_empty_rows_need_no_integers():
    assert rm.embedding(rm.Ragged.from_rows([[], []]), table_of(3, (2,))).item_shape == (2,)


@pytest.mark.parametrize(
    ("ids", "table", "message"),
    [
        (rm.Ragged.from_rows([[1.0]]), table_of(3, ()), "ids must be integers.* got float64"),
        (rm.Ragged.from_rows([[True]]), table_of(3, ()), "ids must be integers.* got bool"),
        (rm.Ragged.from_rows([[[1]]]), table_of(3, ()), r"one a step; got int64 of shape \(1,\)"),
        (np.array([1, 2]), table_of(3, ()), r"ids must be .* \(rows, width, …\)"),
        (rm.Ragged.from_rows([[1]]), 5.0, "table is the single value 5.0"),
        (rm.Ragged.from_rows([[1]]), np.array(["a", "b"]), "table has dtype <U1"),
        (rm.Ragged.from_rows([[1]]), np.ma.zeros(3), "table is a numpy masked array"),
    ],
)
def test_what_is_no_id_or_table_is_refused(ids, table, message):
    with pytest.raises(rm.RagmaskError, match=message):
        rm.embedding(ids, table)


def test_out_must_not_be_the_table():
    table = table_of(5, (2,))
    with pytest.raises(rm.InvalidInputError, match="out overlaps"):
        rm.embedding(rm.Ragged.from_rows([[4, 3]]), table, out=table[:2])


def test_a_mask_by_hand_takes_the_place_of_the_ids_own():
    ids = rm.Ragged([1, 9, 2, 0], [0, 3], [3, 1], np.array([True, False, True, True]))
    table = np.arange(6.0).reshape(3, 2)
    kept = np.array([False, False, True, True])
    found = rm.embedding(ids, table, mask_zero=True, mask=kept)
    assert found.mask.tolist() == [False, False, True, False]
    assert found.values.tolist() == [[0, 0], [0, 0], [4, 5], [0, 1]]
    with pytest.raises(rm.InvalidInputError, match="row 0, step 1: id 9 is outside the table"):
        rm.embedding(ids, table, mask=np.ones(4, bool))
    padded = rm.embedding(np.array([[1, 9]]), table, mask=np.array([[True, False]]))
    assert (padded.values.tolist(), padded.mask.tolist()) == ([[[2, 3], [0, 0]]], [[True, False]])
