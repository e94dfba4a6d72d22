"""Ragged and Padded: how they are made, their views, and Python's protocols on them."""

import copy
import mmap
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.batches.joining import concatenate
from tests import reference
from tests.interpreters import run_python
from tests.strategies import raggeds, rows_of, steps_of

INT64_MAX = 2**63 - 1


@pytest.fixture
def batch():
    return rm.Ragged.from_rows([[1, 2, 3], [], [4], [5, 6]])


# -- constructors -------------------------------------------------------------------------


@given(raggeds())
def test_a_row_is_its_stretch_of_the_values(ragged):
    rows, masks = rows_of(ragged)
    for row, expected, kept in zip(ragged.to_rows(), rows, masks, strict=True):
        assert steps_of(np.ma.getdata(row)) == expected
        if ragged.mask is not None:
            kept = np.array(kept, bool).reshape(-1, *(1 for _ in ragged.item_shape))
            assert (np.ma.getmaskarray(row) == ~kept).all()


@given(raggeds())
def test_sizes_add_up(ragged):
    lengths = [len(row) for row in rows_of(ragged)[0]]
    assert len(ragged) == len(lengths)
    assert ragged.n_steps == sum(lengths)
    assert ragged.max_length == max(lengths, default=0)


@given(raggeds(compact=True))
def test_from_offsets_is_the_compact_layout(ragged):
    again = rm.Ragged.from_offsets(ragged.values, ragged.offsets, ragged.mask)
    assert again.is_compact
    assert rows_of(again) == rows_of(ragged)


@given(raggeds(masked=[False]))
def test_from_rows_takes_the_arrays_of_to_rows(ragged):
    again = rm.Ragged.from_rows(ragged.to_rows())
    assert rows_of(again) == rows_of(ragged)
    if len(ragged):
        assert again.dtype == ragged.dtype
        assert again.item_shape == ragged.item_shape


def test_from_offsets_may_begin_late_and_end_early():
    ragged = rm.Ragged.from_offsets([9, 1, 2, 9], [1, 1, 3])
    assert [row.tolist() for row in ragged] == [[], [1, 2]]
    assert not ragged.is_compact


@pytest.mark.parametrize(
    ("rows", "dtype", "shape"),
    [
        ([[1, 2], []], np.int64, (2,)),
        ([[1, 2], [], [0.5]], np.float64, (3,)),
        ([[], [[1, 2], [3, 4]]], np.int64, (2, 2)),
        ([np.array([1], np.int8), np.array([2], np.int16)], np.int16, (2,)),
        ([[True], (False,)], np.bool_, (2,)),
        ([np.zeros((0, 3), np.float32)], np.float32, (0, 3)),
        ([[], []], np.float64, (0,)),
        ([], np.float64, (0,)),
        (np.arange(6).reshape(2, 3), np.int64, (6,)),
        (([step] for step in range(3)), np.int64, (3,)),
    ],
)
def test_from_rows_keeps_what_numpy_makes_of_the_rows(rows, dtype, shape):
    values = rm.Ragged.from_rows(rows).values
    assert values.dtype == dtype
    assert values.shape == shape


def test_from_rows_casts_to_the_dtype_it_is_given():
    ragged = rm.Ragged.from_rows([[1], np.array([2], np.int8), []], dtype="float32")
    assert ragged.dtype == np.float32
    assert [row.tolist() for row in ragged] == [[1], [2], []]


def test_values_are_taken_without_a_copy_and_read_only():
    values = np.arange(5.0)
    ragged = rm.Ragged(values, [0], [5])
    assert np.shares_memory(ragged.values, values)
    assert not ragged.values.flags.writeable
    assert values.flags.writeable


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=">i4"),
        np.arange(12, dtype=np.int32)[::2] // 2,
        np.arange(12, dtype=np.int32).reshape(6, 2).copy(order="F")[:, 0] // 2,
    ],
    ids=["byte-swapped", "strided", "fortran"],
)
def test_values_become_native_and_contiguous(values):
    ragged = rm.Ragged(values, [0, 3], [3, 3])
    assert ragged.values.flags.c_contiguous
    assert ragged.dtype.isnative
    assert [row.tolist() for row in ragged] == [[0, 1, 2], [3, 4, 5]]


def test_indices_are_private_copies():
    starts, lengths, offsets = np.array([0, 1]), np.array([1, 1]), np.array([0, 1, 2])
    by_starts = rm.Ragged([7, 8], starts, lengths)
    by_offsets = rm.Ragged.from_offsets([7, 8], offsets)
    starts[:], lengths[:], offsets[:] = 10**9, 10**9, 10**9
    for ragged in (by_starts, by_offsets):
        assert ragged.starts.tolist() == [0, 1]
        assert ragged.lengths.tolist() == [1, 1]


WAYS_TO_A_BATCH = {
    "from_offsets": lambda r: rm.Ragged.from_offsets(r.values, r.offsets, r.mask),
    "from_rows": lambda r: rm.Ragged.from_rows([[1], [2]]),
    "from_arrow": lambda r: rm.Ragged.from_arrow(r.to_arrow()),
    "from no chunks": lambda r: rm.Ragged.from_arrow(pa.chunked_array([], pa.list_(pa.int8()))),
    "from_padded by mask": lambda r: rm.Ragged.from_padded(r.to_padded()),
    "from_padded by value": lambda r: rm.Ragged.from_padded(np.zeros((2, 3)), value=0),
    "from_padded by lengths": lambda r: rm.Ragged.from_padded(np.zeros((2, 3)), lengths=[1, 2]),
    "from_padded": lambda r: rm.Ragged.from_padded(np.zeros((2, 3))),
    "slice": lambda r: r[::2],
    "array": lambda r: r[[1, 0]],
    "truncate": lambda r: r.truncate(1, "pre"),
    "compact": lambda r: r[::-1].compact(),
    "ufunc": lambda r: r + 1,
    "with_values": lambda r: r.with_values(np.zeros(6)),
    "pickle": lambda r: pickle.loads(pickle.dumps(r)),
    "concatenate": lambda r: concatenate([r, r]),
}


@pytest.mark.parametrize("way", WAYS_TO_A_BATCH.values(), ids=WAYS_TO_A_BATCH)
def test_every_array_is_contiguous_and_read_only(way):
    """Batches are immutable, and a kernel is compiled once for all of them."""
    mask = [True, False, True, True, False, True]
    ragged = way(rm.Ragged.from_offsets(np.arange(6), [0, 3, 3, 6], mask))
    for array in (ragged.values, ragged.starts, ragged.lengths, ragged.mask):
        assert array is None or (array.flags.c_contiguous and not array.flags.writeable)


@pytest.mark.parametrize("name", ["values", "starts", "lengths", "mask", "anything_else"])
def test_attributes_cannot_be_set(batch, name):
    with pytest.raises(AttributeError):
        setattr(batch, name, np.arange(6))


# -- bad input ----------------------------------------------------------------------------

BAD_BATCHES = [
    ("negative start", {"starts": [0, -1]}, "row 1 .* start -1 is negative"),
    ("negative length", {"lengths": [-2, 1]}, "row 0 .* length -2 is negative"),
    ("past the end", {"lengths": [1, 3]}, "row 1 .* covers steps 2 to 5, and there are 4"),
    ("start past the end", {"starts": [0, 5], "lengths": [0, 0]}, "row 1 .* there are 4"),
    ("largest start", {"starts": [0, INT64_MAX]}, "row 1 does not lie inside"),
    ("largest length", {"lengths": [INT64_MAX, 0]}, "row 0 does not lie inside"),
    ("sum wraps", {"starts": [0, INT64_MAX], "lengths": [0, INT64_MAX]}, "row 1 does not lie"),
    ("least start", {"starts": [-(2**63), 0]}, "row 0 .* is negative"),
    ("uint64", {"starts": np.array([0, 2**63], np.uint64)}, "starts holds 9223372036854775808"),
    ("unequal", {"starts": [0, 1, 2]}, "starts and lengths must be equally long; got 3 and 2"),
    ("float lengths", {"lengths": [1.0, 2.0]}, "lengths must be integers; got float64"),
    ("bool lengths", {"lengths": [True, False]}, "lengths must be integers; got bool"),
    ("starts 2-d", {"starts": [[0, 1]]}, "starts must have one dimension"),
    ("mask size", {"mask": [True]}, r"mask has shape \(1,\); its values need \(4,\)"),
    ("mask ints", {"mask": [1, 0, 1, 0]}, "mask must be bool, True = keep; got int64"),
    ("objects", {"values": np.array([1, None, "a", 2.5], object)}, "values has dtype object"),
    ("strings", {"values": list("abcd")}, "values has dtype <U1; .* vocabulary"),
    ("bytes", {"values": [b"a"] * 4}, "values has dtype .S1; .* vocabulary"),
    ("records", {"values": np.zeros(4, "i4,i4")}, "values has dtype .* one field"),
    ("single value", {"values": 5}, "values is the single value 5"),
    ("masked array", {"values": np.ma.masked_equal([1, 2, 3, 4], 2)}, "values is a numpy masked"),
    ("inhomogeneous", {"values": [[1], [1, 2], [3], [4]]}, "values cannot be read"),
]


@pytest.mark.parametrize(
    ("changed", "message"),
    [case[1:] for case in BAD_BATCHES],
    ids=[case[0] for case in BAD_BATCHES],
)
def test_a_bad_batch_is_refused(changed, message):
    arguments = {"values": [1, 2, 3, 4], "starts": [0, 2], "lengths": [2, 2]} | changed
    with pytest.raises(rm.RagmaskError, match=message):
        rm.Ragged(**arguments)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([], "one more entry"),
        ([-1, 2], "offsets start at -1"),
        ([0, 3, 2], "decrease at row 1, from 3 to 2"),
        ([0, 2, 9], "past the values in row 1: they end at 9, and there are 4"),
        ([9], "past the values in row 0"),
        ([0, INT64_MAX], "past the values in row 0"),
        ([INT64_MAX, -(2**63)], "decrease at row 0"),
        ([0.0, 1.0], "offsets must be integers"),
        ([[0, 1]], "offsets must have one dimension"),
        (np.array([0, 2**64 - 1], np.uint64), "offsets holds 18446744073709551615"),
    ],
)
def test_bad_offsets_are_refused(offsets, message):
    with pytest.raises(rm.RagmaskError, match=message):
        rm.Ragged.from_offsets([1, 2, 3, 4], offsets)


@pytest.mark.parametrize(
    ("rows", "dtype", "message"),
    [
        ([[1], 2], None, "row 1 is the single value 2"),
        ([[1], [[1, 2]]], None, r"row 1 has steps of shape \(2,\)"),
        ([[1], ["a"]], None, "row 1 has dtype <U1"),
        ([[1], [[1], [1, 2]]], None, "row 1 cannot be read"),
        ([[1], [2**70]], None, "row 1 has dtype object"),
        ([[1], [7, 300]], np.int8, "row 1 has values that do not fit int8, as 300"),
        ([[1], [-1]], np.uint8, "row 1 has values that do not fit uint8, as -1"),
        ([[1], [0.5]], np.int64, "row 1 has values that do not fit int64, as 0.5"),
        ([[1], [np.nan]], np.int64, "row 1 has values that do not fit int64, as nan"),
        ([[1], [2]], object, "dtype object holds no numbers"),
        ([[1], [2]], "nonsense", "dtype 'nonsense' is unknown to numpy"),
        ([[1], ["soon"]], "M8[s]", r"row 1 cannot be read as M8\[s\]"),
        ([[1], np.ma.masked_equal([1], 1)], None, "row 1 is a numpy masked array"),
        ([[1], [np.datetime64("2020")]], None, "no dtype in common: datetime64.Y., int64"),
    ],
)
def test_bad_rows_are_named(rows, dtype, message):
    with pytest.raises(rm.RagmaskError, match=message):
        rm.Ragged.from_rows(rows, dtype)


@pytest.mark.parametrize(
    ("values", "mask", "message"),
    [
        (np.zeros(3), None, r"got shape \(3,\)"),
        (np.zeros((2, 3)), np.ones((2, 2), bool), r"mask has shape \(2, 2\)"),
        (np.zeros((2, 3)), np.ones((2, 3)), "mask must be bool"),
        (np.array([["a"]]), None, "strings become ids"),
        (np.array([["a"]], object), None, "Python objects"),
        (np.zeros((0, 3), object), None, "Python objects"),
    ],
)
def test_bad_padded_is_refused(values, mask, message):
    with pytest.raises(rm.RagmaskError, match=message):
        rm.Padded(values, mask)


def test_errors_are_the_built_in_ones_too():
    assert issubclass(rm.InvalidInputError, ValueError)
    assert issubclass(rm.UnsupportedTypeError, TypeError)
    assert issubclass(rm.RowIndexError, IndexError)


# -- views --------------------------------------------------------------------------------


@given(raggeds(), st.data())
def test_slices_and_arrays_pick_rows(ragged, data):
    rows, masks = rows_of(ragged)
    number = st.integers(-len(ragged), len(ragged) - 1) if rows else st.nothing()
    index = data.draw(
        st.slices(len(ragged))
        | st.lists(number)
        | st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))
    )
    as_array = index if isinstance(index, slice) else np.array(index, None if index else int)
    picked = ragged[as_array]
    assert rows_of(picked) == (reference.pick(rows, index), reference.pick(masks, index))
    assert picked.values.ctypes.data == ragged.values.ctypes.data


@given(raggeds(), st.integers(0, 15), st.sampled_from(["pre", "post"]))
def test_truncate_cuts_the_side_it_names(ragged, maxlen, side):
    rows, masks = rows_of(ragged)
    cut = ragged.truncate(maxlen, side)
    assert rows_of(cut) == (
        reference.truncate(rows, maxlen, side),
        reference.truncate(masks, maxlen, side),
    )
    assert cut.values.ctypes.data == ragged.values.ctypes.data


def test_truncate_takes_any_integer(batch):
    assert batch.truncate(2**70).lengths.tolist() == batch.lengths.tolist()
    assert batch.truncate(np.uint8(2)).max_length == 2


@given(raggeds())
def test_compact_lays_rows_end_to_end(ragged):
    compact = ragged.compact()
    rows, masks = rows_of(ragged)
    steps, offsets = reference.compact(rows)
    assert compact.is_compact
    assert steps_of(compact.values) == steps
    assert compact.offsets.tolist() == offsets
    if ragged.mask is not None:
        assert compact.mask.tolist() == reference.compact(masks)[0]
    assert compact.compact() is compact


def test_compact_copies_nothing_where_rows_lie_end_to_end():
    ragged = rm.Ragged.from_offsets(np.arange(10), [2, 4, 4, 9])
    assert np.shares_memory(ragged.compact().values, ragged.values)


def test_only_a_compact_batch_has_offsets(batch):
    assert batch.offsets.tolist() == [0, 3, 3, 4, 6]
    with pytest.raises(rm.InvalidInputError, match=r"call compact\(\) first"):
        _ = batch[::-1].offsets


@pytest.mark.parametrize(
    ("values", "starts", "lengths", "is_compact"),
    [
        ([1, 2], [0, 1], [1, 1], True),
        ([1, 2], [1, 0], [1, 1], False),
        ([1, 2], [0], [1], False),
        ([1, 2], [1], [1], False),
        ([1, 2], [0, 0], [1, 2], False),
        ([1, 2], [], [], False),
        ([], [], [], True),
        ([], [0, 0], [0, 0], True),
    ],
)
def test_is_compact(values, starts, lengths, is_compact):
    values = np.array(values, np.int64)
    assert rm.Ragged(values, starts, lengths).is_compact is is_compact


def test_with_values_keeps_rows_and_mask():
    ragged = rm.Ragged([1, 2, 3], [0, 3, 2], [2, 0, 1], [True, False, True])
    other = ragged.with_values(np.arange(6.0).reshape(3, 2))
    assert other.item_shape == (2,)
    assert other.starts.tolist() == [0, 3, 2]
    assert other.mask.tolist() == [True, False, True]
    with pytest.raises(rm.InvalidInputError, match=r"must be 3 steps.*got 2"):
        ragged.with_values([1, 2])


@pytest.mark.parametrize(
    "view",
    [
        lambda r: r[::-1],
        lambda r: r[[0, 2]],
        lambda r: r[[0, 0, 1]],
        lambda r: r.truncate(1),
        lambda r: r.truncate(1, side="pre"),
        lambda r: rm.Ragged.from_padded(r.to_padded().values, lengths=r.lengths),
    ],
)
def test_values_in_the_order_of_rows_are_not_given_to_others(view):
    rows = view(rm.Ragged.from_rows([[1.0, 3.0], [5.0], [7.0, 9.0, 11.0]]))
    means = rm.temporal_pool(rows)
    with pytest.raises(rm.InvalidInputError, match=r"compact\(\) first"):
        rows.with_values(rows.values)
    rows = rows.compact()
    centred = rows.with_values(rows.values - np.repeat(means, rows.lengths))
    assert all(abs(row.mean()) < 1e-12 for row in centred)


@given(st.lists(raggeds(dtypes=["int32"], item_shapes=[(2,)]), min_size=1, max_size=3))
def test_concatenate_joins_rows(parts):
    expected_rows, expected_masks = [], []
    for part in parts:
        rows, masks = rows_of(part)
        expected_rows += rows
        expected_masks += masks
    assert rows_of(concatenate(parts)) == (expected_rows, expected_masks)


@pytest.mark.parametrize("row", [0, -1, np.int8(1), np.uint64(2)])
def test_one_row_is_a_view_of_the_values(batch, row):
    expected = [[1, 2, 3], [], [4], [5, 6]][int(row)]
    assert batch[row].tolist() == expected
    assert not expected or np.shares_memory(batch[row], batch.values)
    assert not batch[row].flags.writeable


def test_a_masked_row_is_a_masked_array():
    ragged = rm.Ragged(np.arange(6).reshape(3, 2), [0], [3], [True, False, True])
    assert ragged[0].tolist() == [[0, 1], [None, None], [4, 5]]


@pytest.mark.parametrize("index", [4, -5, [0, 4], np.array([-5]), np.int64(99)])
def test_rows_outside_the_batch(batch, index):
    with pytest.raises(rm.RowIndexError, match=r"row (4|-5|99) of a batch of 4 rows"):
        batch[index]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([True, False], "needs one for each of 4 rows"),
        (True, "needs one for each of 4 rows"),
        ((0, 1, 2), "got tuple"),
        ([0.5], "the index must be integers; got float64"),
        (None, "the index must have one dimension"),
        (..., "the index must have one dimension"),
        ("a", "the index must have one dimension"),
        ([[0]], "the index must have one dimension"),
        (np.array([2**63], np.uint64), "past the int64 range"),
    ],
)
def test_what_does_not_pick_rows(batch, index, message):
    with pytest.raises(rm.RagmaskError, match=message):
        batch[index]


def test_a_batch_does_not_pick_rows(batch):
    with pytest.raises(rm.UnsupportedTypeError, match="got Ragged"):
        batch[batch]


@pytest.mark.parametrize("maxlen", [-1, 1.5, "2", None, True])
def test_truncate_checks_its_maxlen(batch, maxlen):
    with pytest.raises(rm.InvalidInputError, match="maxlen must be"):
        batch.truncate(maxlen)


def test_truncate_checks_its_side(batch):
    with pytest.raises(rm.InvalidInputError, match='side must be "pre" or "post"; got \'left\''):
        batch.truncate(1, "left")


@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="memory protection is POSIX's")
def test_views_read_no_value():
    """Values on pages that nobody may read: one look at them would kill the interpreter."""
    code = """
import mmap
import numpy as np
import ragmask as rm

pages = np.frombuffer(mmap.mmap(-1, 1 << 30, prot=0), np.int64)
rows = 1000
ragged = rm.Ragged(pages, np.arange(rows) * 7, np.full(rows, 100))
for view in (
    ragged[5:900], ragged[::-1], ragged[[3, 1, 3]], ragged[ragged.lengths > 9],
    ragged.truncate(3), ragged.truncate(3, side="pre"),
    rm.Ragged.from_offsets(pages, np.arange(rows) * 9).compact(),
    rm.Ragged.from_padded(pages.reshape(-1, 1024), lengths=np.full(len(pages) // 1024, 9)),
    rm.Ragged.from_padded(pages.reshape(-1, 1024)),
):
    view.n_steps, view.max_length, view.is_compact
    for row in view[:3]:
        assert row.base is not None
    first, last = view.values.ctypes.data, view.values.ctypes.data + view.values.nbytes
    assert pages.ctypes.data <= first <= last <= pages.ctypes.data + pages.nbytes
print("alive")
"""
    assert run_python(code) == "alive"


# -- Python's protocols -------------------------------------------------------------------


@given(raggeds())
def test_pickling_keeps_rows_and_mask(ragged):
    for again in (pickle.loads(pickle.dumps(ragged)), copy.deepcopy(ragged)):
        assert again.is_compact
        assert rows_of(again) == rows_of(ragged)
        assert again.dtype == ragged.dtype
        assert again.item_shape == ragged.item_shape


def test_pickling_ships_the_compact_form():
    whole = rm.Ragged.from_offsets(np.arange(1_000_000), np.arange(0, 1_000_001, 100))
    for part in (whole[:3], whole[[7, 1]]):
        assert len(pickle.dumps(part)) < 5_000


@pytest.mark.parametrize("kind", ["Ragged", "Padded"])
def test_a_batch_is_no_truth_no_key_and_no_array(batch, kind):
    given_batch = batch if kind == "Ragged" else batch.to_padded()
    with pytest.raises(rm.InvalidInputError, match=f"a {kind} is neither true nor false"):
        bool(given_batch)
    with pytest.raises(TypeError, match="unhashable"):
        hash(given_batch)
    with pytest.raises(rm.UnsupportedTypeError, match=r"\.values"):
        np.asarray(given_batch)


def test_repr_shows_rows_and_masked_steps():
    ragged = rm.Ragged([1, 2, 3], [0, 2], [2, 1], [True, False, True])
    assert repr(ragged) == "Ragged(2 rows, 3 steps, int64, lengths 1–2, masked)\n  [1 ·]\n  [3]"


def test_repr_of_many_rows_and_steps_is_short():
    ragged = rm.Ragged.from_padded(np.zeros((1234, 50, 8), np.float32))
    lines = repr(ragged).splitlines()
    assert lines[0] == "Ragged(1,234 rows, 61,700 steps, 8 float32, lengths 50–50)"
    assert lines[-1] == "  … 1,228 more"
    assert len(lines) == 8
    assert max(map(len, lines)) < 100


@pytest.mark.parametrize(
    ("ragged", "text"),
    [
        (rm.Ragged([], [], []), "Ragged(0 rows, 0 steps, float64)"),
        (rm.Ragged([5], [0], [1]), "Ragged(1 row, 1 step, int64, lengths 1–1)\n  [5]"),
        (rm.Ragged([5], [0], [0]), "Ragged(1 row, 0 steps, int64, lengths 0–0)\n  []"),
    ],
)
def test_repr_of_small_batches(ragged, text):
    assert repr(ragged) == text


def test_repr_of_padded():
    padded = rm.Ragged.from_rows([[1, 2], []]).to_padded()
    assert repr(padded) == "Padded(2 rows of 2 steps, int64, 2 kept)\n  [1 2]\n  [· ·]"


def test_padded_takes_arrays_without_a_copy():
    values, mask = np.arange(12).reshape(3, 4), np.ones((3, 4), bool)
    padded = rm.Padded(values[:, :2], mask[:, :2])
    assert np.shares_memory(padded.values, values)
    assert np.shares_memory(padded.mask, mask)
    assert (len(padded), padded.shape, padded.item_shape) == (3, (3, 2), ())
