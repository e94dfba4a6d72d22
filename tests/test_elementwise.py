"""numpy's ufuncs, operators and comparisons on Ragged and Padded."""

import numpy as np
import pytest
from hypothesis import given

import ragmask as rm
from tests.strategies import raggeds

NUMBERS = ("int32", "int64", "float32", "float64")


def kept_rows(batch):
    """Each row as nested lists, None where a step is masked."""
    ragged = batch if isinstance(batch, rm.Ragged) else rm.Ragged.from_padded(batch)
    return [np.ma.asarray(row).tolist() for row in ragged]


@given(raggeds(dtypes=NUMBERS, tame=True))
def test_a_ufunc_works_on_each_step_of_each_row(ragged):
    halved = ragged / 4 - 1
    assert halved.lengths.tolist() == ragged.lengths.tolist()
    for row, result in zip(ragged, halved, strict=True):
        assert np.ma.asarray(result).tolist() == np.ma.asarray(row / 4 - 1).tolist()


@given(raggeds(dtypes=NUMBERS, tame=True))
def test_ragged_and_padded_agree(ragged):
    assert kept_rows(np.maximum(ragged, 50).to_padded()) == kept_rows(
        np.maximum(ragged.to_padded(), 50)
    )


@given(raggeds(dtypes=NUMBERS, item_shapes=[()], tame=True))
def test_two_batches_of_equal_rows_meet_step_by_step(left):
    offsets = np.concatenate([[0], np.cumsum(left.lengths)])
    right = rm.Ragged.from_offsets(np.arange(left.n_steps) * 1000, offsets)
    for row, ours, theirs in zip(left + right, left, right, strict=True):
        assert np.ma.asarray(row).tolist() == (np.ma.asarray(ours) + theirs).tolist()


def test_masks_are_and_ed():
    left = rm.Ragged([1, 2, 3], [0], [3], [True, False, True])
    right = rm.Ragged([1, 2, 3], [0], [3], [True, True, False])
    assert kept_rows(left * right) == [[1, None, None]]
    assert kept_rows(left * right.with_values([4, 5, 6])) == [[4, None, None]]
    padded = rm.Padded([[1, 2, 3]], left.mask[None]) * rm.Padded([[1, 2, 3]])
    assert padded.mask.tolist() == [[True, False, True]]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (lambda x: x != 0, [[True, False], [True]]),
        (lambda x: np.equal(0, x), [[False, True], [False]]),
        (lambda x: x > 2, [[False, False], [True]]),
        (lambda x: ~(x > 2), [[True, True], [False]]),
        (lambda x: -x, [[-1, 0], [-3]]),
        (lambda x: 2**x, [[2, 1], [8]]),
        (lambda x: abs(x - 2), [[1, 2], [1]]),
        (lambda x: x & 1, [[1, 0], [1]]),
        (lambda x: np.minimum(x, 2), [[1, 0], [2]]),
        (lambda x: np.add(x, 1, dtype=np.float32), [[2.0, 1.0], [4.0]]),
        (lambda x: divmod(x, 2)[1], [[1, 0], [1]]),
    ],
)
@pytest.mark.parametrize("kind", ["Ragged", "Padded"])
def test_operators(operation, expected, kind):
    batch = rm.Ragged.from_rows([[1, 0], [3]])
    result = operation(batch if kind == "Ragged" else batch.to_padded())
    assert type(result).__name__ == kind
    assert kept_rows(result) == expected


def test_a_comparison_is_a_ragged_of_bools():
    assert (rm.Ragged.from_rows([[1, 2]]) > 1).dtype == bool


@pytest.mark.parametrize("kind", ["Ragged", "Padded"])
def test_operands_of_a_steps_shape(kind):
    ragged = rm.Ragged(np.ones((3, 2)), [1, 0], [2, 1])
    batch = ragged if kind == "Ragged" else ragged.to_padded()
    assert kept_rows(batch * np.array([2, 3])) == [[[2, 3], [2, 3]], [[2, 3]]]
    assert kept_rows(batch + 1) == [[[2, 2], [2, 2]], [[2, 2]]]


@pytest.mark.parametrize("kind", ["Ragged", "Padded"])
def test_a_number_a_step_meets_a_vector_a_step(kind):
    vectors = rm.Ragged(np.ones((3, 2)), [0, 1], [1, 2])
    weights = rm.Ragged([1, 2, 3], [0, 1], [1, 2])
    if kind == "Padded":
        vectors, weights = vectors.to_padded(), weights.to_padded()
    for product in (vectors * weights, weights * vectors):
        assert kept_rows(product) == [[[1, 1]], [[2, 2], [3, 3]]]


def test_only_a_views_own_steps_are_computed():
    with np.errstate(all="raise"):
        result = 1 / rm.Ragged([0.0, 2.0, 0.0, 4.0], [3, 1], [1, 1])
    assert kept_rows(result) == [[0.25], [0.5]]
    assert len(result.values) == 2


def test_the_operands_stay_as_they_were():
    ragged = rm.Ragged.from_rows([[1, 2]])
    assert kept_rows(ragged + 1) == [[2, 3]]
    assert kept_rows(ragged) == [[1, 2]]
    with pytest.raises(rm.UnsupportedTypeError, match=r"x = x \+ 1 for x \+= 1"):
        ragged += 1


RAGGED = rm.Ragged.from_rows([[1, 2], [3]])


@pytest.mark.parametrize(
    ("operation", "error", "message"),
    [
        (lambda: RAGGED + RAGGED[::-1], rm.InvalidInputError, "row 0: 2 steps and 1 steps"),
        (lambda: RAGGED + RAGGED[:1], rm.InvalidInputError, "numpy.add have 2 and 1 rows"),
        (
            lambda: RAGGED.to_padded() + RAGGED.to_padded(3),
            rm.InvalidInputError,
            r"differ in rows and width: \(2, 2\) and \(2, 3\)",
        ),
        (lambda: RAGGED + RAGGED.to_padded(), rm.UnsupportedTypeError, "make both one kind"),
        (lambda: RAGGED.to_padded() + RAGGED, rm.UnsupportedTypeError, "make both one kind"),
        (lambda: RAGGED + np.arange(3), rm.InvalidInputError, "does not fit one step"),
        (lambda: np.add(RAGGED, [1, 2]), rm.InvalidInputError, "does not fit one step"),
        (lambda: np.add.reduce(RAGGED), rm.UnsupportedTypeError, "element by element"),
        (lambda: np.add.accumulate(RAGGED), rm.UnsupportedTypeError, "element by element"),
        (lambda: np.matmul(RAGGED, RAGGED), rm.UnsupportedTypeError, "element by element"),
        (
            lambda: np.add(RAGGED, 1, out=np.zeros(3, int)),
            rm.UnsupportedTypeError,
            "writes into no Ragged",
        ),
        (lambda: np.add(RAGGED, 1, where=True), rm.UnsupportedTypeError, "element by element"),
    ],
)
def test_what_does_not_go_together_is_named(operation, error, message):
    with pytest.raises(error, match=message):
        operation()
