"""Rows of rows: what they hold, their views, their way to dense arrays and to Arrow."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.arrow_lists import LISTS, lists_of
from tests.memory import traced_peak
from tests.strategies import FLOATS, INTEGERS, nested_rows_of, nesteds, rows_of

SIDES = st.sampled_from(["pre", "post"])


def some(rows=([[1, 2, 3], [4]], [], [[5, 6]])):
    return rm.NestedRagged.from_rows(rows)


def bytes_of(nested):
    """(rows of inner rows of bytes, of bools, rows of bools), by `inner` and `outer`."""
    steps, keeps = rows_of(nested.inner)
    outer = nested.outer
    mask = np.ones(nested.n_steps, bool) if outer.mask is None else outer.mask
    place = outer.starts.tolist(), outer.lengths.tolist()
    return tuple(reference.cut_rows(part, *place) for part in (steps, keeps, mask.tolist()))


@given(nesteds())
def test_inner_and_outer_say_all_there_is(nested):
    expected, keeps, masks = nested_rows_of(nested)
    assert bytes_of(nested) == (expected, keeps, masks)
    assert len(nested) == len(expected)
    assert nested.lengths.tolist() == [len(row) for row in expected]
    assert nested.n_steps == len(nested.inner) == sum(map(len, expected))
    assert nested.max_length == max(map(len, expected), default=0)
    assert nested.outer.values.tolist() == [len(inner) for row in expected for inner in row]
    assert (nested.dtype, nested.item_shape) == (nested.inner.dtype, nested.inner.item_shape)
    for row, (first, last) in enumerate(zip(nested.starts, nested.offsets[1:], strict=True)):
        assert rows_of(nested.inner[first:last])[0] == expected[row]
        assert rows_of(nested[row]) == (expected[row], keeps[row])
        assert rows_of(nested[row - len(nested)])[0] == expected[row]
    assert [rows_of(row)[0] for row in nested] == expected
    assert [[np.ma.getdata(one).tobytes() for one in row] for row in nested.to_rows()] == [
        [b"".join(inner) for inner in row] for row in expected
    ]


@given(nesteds(), st.data())
def test_views_are_the_reference(nested, data):
    expected = nested_rows_of(nested)
    rows = len(nested)
    index = data.draw(
        st.one_of(
            st.slices(rows),
            st.lists(st.integers(-rows, max(rows - 1, 0)), max_size=8 if rows else 0),
            st.lists(st.booleans(), min_size=rows, max_size=rows),
        )
    )
    picked = nested[index if isinstance(index, slice) else np.array(index, None if index else int)]
    assert bytes_of(picked) == tuple(reference.pick(part, index) for part in expected)
    maxlen, side = data.draw(st.integers(0, 5)), data.draw(SIDES)
    cut = picked.truncate(maxlen, side)
    expected = [reference.truncate(part, maxlen, side) for part in nested_rows_of(picked)]
    assert bytes_of(cut) == tuple(expected)
    inner = nested.with_inner(nested.inner.truncate(maxlen, side))
    cut_inner = [
        [reference.truncate(row, maxlen, side) for row in part]
        for part in nested_rows_of(nested)[:2]
    ]
    assert bytes_of(inner)[:2] == tuple(cut_inner)
    assert bytes_of(inner)[2] == nested_rows_of(nested)[2]


@given(nesteds())
def test_compact_and_pickles_hold_the_same(nested):
    compact = nested.compact()
    assert compact.is_compact
    assert compact.compact() is compact
    again = pickle.loads(pickle.dumps(nested))
    for other in (compact, again):
        assert bytes_of(other) == bytes_of(nested)
    own = nested.inner.n_steps
    assert len(again.inner.values) == own
    assert (again.dtype, again.item_shape) == (nested.dtype, nested.item_shape)


@given(
    nesteds(tame=True),
    st.tuples(st.none() | st.integers(0, 7), st.none() | st.integers(0, 7)),
    st.tuples(SIDES, SIDES),
    st.tuples(SIDES, SIDES),
)
def test_padding_is_the_reference(nested, widths, paddings, truncatings):
    rows, keeps, masks = nested_rows_of(nested)
    value = np.ones((), nested.dtype)
    item = np.broadcast_to(value, nested.item_shape).tobytes()
    options = {"padding": paddings, "truncating": truncatings, "value": value}
    values, mask = nested.to_padded(widths, **options)
    expected = reference.nested_to_padded(
        rows, reference.nested_masks(rows, keeps, masks), widths, paddings, truncatings, item
    )
    steps = [[[step.tobytes() for step in inner] for inner in row] for row in values]
    assert (steps, mask.tolist()) == expected
    assert values.shape == (*mask.shape, *nested.item_shape)
    assert (values.dtype, mask.dtype) == (nested.dtype, bool)


def test_widths_are_rounded_up_each_by_itself():
    nested = some()
    assert nested.to_padded(multiple_of=(4, 5)).values.shape == (3, 4, 5)
    assert nested.to_padded((3, None), multiple_of=(None, 2)).values.shape == (3, 3, 4)
    assert nested.to_padded(padding="pre").values[0].tolist() == [[1, 2, 3], [0, 0, 4]]
    assert nested.to_padded(dtype="float64").values.dtype == np.float64
    empty = some([]).to_padded()
    assert (empty.values.shape, empty.mask.shape) == ((0, 0, 0), (0, 0, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maxlen": 3}, r"maxlen must be a pair, \(of rows, of inner rows\); got 3"),
        ({"maxlen": (1, 2, 3)}, "maxlen must be a pair"),
        ({"maxlen": (-1, None)}, "maxlen must be at least 0; got -1"),
        ({"maxlen": (None, 1.5)}, "maxlen must be an integer"),
        ({"multiple_of": 8}, "multiple_of must be a pair"),
        ({"padding": "left"}, 'padding must be "pre" or "post"'),
        ({"padding": ("pre", "left")}, 'padding must be "pre" or "post"'),
        ({"truncating": ("left", "pre")}, 'truncating must be "pre" or "post"'),
        ({"truncating": True}, "truncating must be a pair"),
        ({"value": [1, 2]}, "value"),
        ({"maxlen": (2**62, 2**62)}, "larger than any memory"),
    ],
)
def test_padding_refuses_what_it_cannot_do(options, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        some().to_padded(**options)


def test_views_copy_nothing():
    random = np.random.default_rng(0)
    lengths, inner_lengths = np.full(1_000, 100), random.integers(0, 9, 100_000)
    inner = rm.Ragged.from_offsets(
        random.random(inner_lengths.sum()), np.r_[0, inner_lengths.cumsum()]
    )
    nested = rm.NestedRagged.from_offsets(inner, np.r_[0, lengths.cumsum()])
    assert np.shares_memory(nested.inner.values, inner.values)
    for view in (
        lambda: nested[::-1],
        lambda: nested[random.permutation(1_000)],
        lambda: nested.truncate(3),
        lambda: nested[lengths > 0],
    ):
        seen, peak = traced_peak(view)
        assert peak < 100 * len(nested)  # and not of 100,000 inner rows
        assert np.shares_memory(seen.inner.values, inner.values)
        assert np.shares_memory(seen[5].values, inner.values)


# -- made of parts ------------------------------------------------------------------------


def test_rows_of_lists_arrays_and_raggeds():
    expected = [[[1, 2], [3]], [], [[4]]]
    for rows in (
        expected,
        [[np.array([1, 2]), [3]], (), [np.array([4])]],
        [rm.Ragged.from_rows([[1, 2], [3]]), [], np.array([[4]])],
        iter(expected),
    ):
        made = rm.NestedRagged.from_rows(rows)
        assert [[one.tolist() for one in row] for row in made.to_rows()] == expected
    assert rm.NestedRagged.from_rows([[[1, 2], [3, 4]]]).lengths.tolist() == [2]
    assert rm.NestedRagged.from_rows(expected, "float32").dtype == np.float32
    vectors = rm.NestedRagged.from_rows([[[[1, 2]], []], []])
    assert (vectors.item_shape, vectors.inner.lengths.tolist()) == ((2,), [1, 0])


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([[[1]], 5], rm.InvalidInputError, "row 1 is the single value 5: give each row as a list"),
        ([[[1]], "text"], rm.InvalidInputError, "row 1 is the single value 'text'"),
        ([[[1], 2]], rm.InvalidInputError, "row 0, inner row 1 is the single value 2"),
        ([[], [[1], ["a"]]], rm.UnsupportedTypeError, "row 1, inner row 1 has dtype"),
        ([[[1]], [], [[2], [[3]]]], rm.InvalidInputError, "row 2, inner row 1 has steps of shape"),
        ([[[[1, 2], [3]]]], rm.UnsupportedTypeError, "row 0, inner row 0 .*lists of unequal"),
    ],
)
def test_rows_that_are_none_are_named(rows, error, message):
    with pytest.raises(error, match=message):
        rm.NestedRagged.from_rows(rows)


@pytest.mark.parametrize("rows", [[[[1, 2], [3]], []], [[[1, 2], [3, 4]], [[5]]]])
def test_a_ragged_of_rows_of_rows_says_who_takes_them(rows):
    with pytest.raises(
        (TypeError, ValueError), match=r"NestedRagged\.from_rows takes rows of rows"
    ):
        rm.Ragged.from_rows(rows)
    assert rm.NestedRagged.from_rows(rows).lengths.tolist() == [2, len(rows[1])]


INNER = rm.Ragged.from_rows([[1, 2], [3], [4]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rm.NestedRagged(INNER, [0, 2], [2, 2]), "along 3 inner rows, row 1 does not lie"),
        (lambda: rm.NestedRagged(INNER, [-1], [1]), "row 0 .* its start -1 is negative"),
        (lambda: rm.NestedRagged(INNER, [0], [-1]), "row 0 .* its length -1 is negative"),
        (lambda: rm.NestedRagged(INNER, [2**63 - 1], [2**63 - 1]), "row 0 does not lie"),
        (lambda: rm.NestedRagged(INNER, [0, 1], [1]), "equally long; got 2 and 1"),
        (lambda: rm.NestedRagged(INNER, [0], [3], [True]), "mask"),
        (lambda: rm.NestedRagged.from_offsets(INNER, [0, 2, 1]), "inner rows, offsets decrease"),
        (lambda: rm.NestedRagged.from_offsets(INNER, [0, 4]), "along 3 inner rows, offsets"),
        (lambda: rm.NestedRagged.from_offsets(INNER, []), "offsets need one more entry"),
        (lambda: some().with_inner(INNER[:2]), "must be 3 inner rows, .* got 2"),
    ],
)
def test_places_outside_the_inner_rows_are_refused(make, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rm.NestedRagged([[1]], [0], [1]), "must be a Ragged; got list"),
        (lambda: rm.NestedRagged.from_offsets(np.ones(3), [0, 1]), "must be a Ragged; got ndarray"),
        (lambda: rm.NestedRagged.from_offsets(some(), [0, 1]), "rows of rows are all it takes"),
        (lambda: some().with_inner(some()), "give .inner"),
        (lambda: some().with_inner(np.ones(3)), r"r\.outer\.with_values"),
        (lambda: rm.NestedRagged.from_padded(np.ones((2, 2))), "made by from_rows"),
        (lambda: rm.NestedRagged.from_arrow(pa.array([[1]])), "ragged once"),
        (lambda: np.asarray(some()), r"no dense array: take \.inner"),
        (lambda: some().values, "give it .inner"),
        (lambda: some()[0, 1], "picked by an integer, a slice or an array"),
    ],
)
def test_what_is_no_batch_of_rows_is_refused(make, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        make()


@pytest.mark.parametrize("row", [3, -4, 2**70])
def test_a_row_outside_the_batch_is_an_index_error(row):
    with pytest.raises(IndexError, match=f"row {row} of a batch of 3 rows"):
        some()[row]
    if abs(row) < 2**62:
        with pytest.raises(IndexError, match=f"row {row} of a batch of 3 rows"):
            some()[[row]]


def test_starts_that_change_later_change_no_batch():
    starts, lengths = np.array([0, 1]), np.array([2, 1])
    nested = rm.NestedRagged(INNER, starts, lengths)
    starts[:], lengths[:] = 99, 99
    assert nested.lengths.tolist() == [2, 1]
    assert rm.temporal_pool(nested, "last").to_rows()[1].tolist() == [3]
    with pytest.raises(ValueError, match="read-only"):
        nested.offsets[0] = 1


# -- numpy --------------------------------------------------------------------------------


@given(nesteds(dtypes=("int16", "float32"), tame=True))
def test_operators_work_on_each_step(nested):
    doubled = nested * 2
    assert type(doubled) is rm.NestedRagged
    np.testing.assert_array_equal(doubled.inner.compact().values, nested.inner.compact().values * 2)
    assert bytes_of(doubled)[1:] == bytes_of(nested)[1:]
    equal = doubled - nested == nested
    assert (equal.dtype, bool(equal.inner.values.all())) == (bool, True)
    parts = np.divmod(nested, 3)
    assert [part.lengths.tolist() for part in parts] == 2 * [nested.lengths.tolist()]


def test_operators_join_masks_and_compare_rows():
    one = rm.NestedRagged.from_offsets(INNER, [0, 2, 3], [True, False, True])
    other = rm.NestedRagged.from_offsets(INNER, [0, 2, 3], [False, True, True])
    bare = rm.NestedRagged.from_offsets(INNER, [0, 2, 3])
    assert (one + other).outer.mask.tolist() == [False, False, True]
    assert (bare + one).outer.mask.tolist() == (one + bare).outer.mask.tolist()
    assert (bare + bare).outer.mask is None
    with pytest.raises(rm.InvalidInputError, match=r"numpy\.add differ in row 0: 2 steps and 1"):
        bare + rm.NestedRagged.from_offsets(INNER, [0, 1, 3])
    with pytest.raises(rm.InvalidInputError, match="differ in row 1: 1 steps and 2"):
        bare + some([[[1, 2], [3, 4]], [[5]]])
    for both in (lambda: bare + INNER, lambda: INNER + bare, lambda: bare + INNER.to_padded()):
        with pytest.raises(rm.UnsupportedTypeError, match="got a "):
            both()
    with pytest.raises(rm.UnsupportedTypeError, match="writes into no"):
        np.add(1, 2, out=(bare,))
    with pytest.raises(rm.InvalidInputError, match="neither true nor false"):
        bool(bare)


def test_how_it_looks():
    assert repr(some()) == (
        "NestedRagged(3 rows, 3 inner rows, int64, lengths 0–2, inner lengths 1–3)\n"
        "  [[1 2 3] [4]]\n  []\n  [[5 6]]"
    )
    many = rm.NestedRagged.from_offsets(rm.Ragged.from_rows([range(9)] * 50), range(0, 51, 5))
    lines = repr(many).splitlines()
    assert lines[1] == "  [" + "[0 1 2 3 4 5 …] " * 4 + "…]"
    assert (len(lines), lines[-1]) == (8, "  … 4 more")
    vectors = rm.NestedRagged.from_rows([[[[1, 2]]]])
    assert "1 inner row, 2 int64" in repr(vectors)
    masked = rm.NestedRagged.from_offsets(INNER, [0, 2, 3], [True, False, True])
    assert repr(masked).endswith("masked)\n  [[1 2] ·]\n  [[4]]")
    assert repr(some([])) == "NestedRagged(0 rows, 0 inner rows, float64)"


# -- Arrow --------------------------------------------------------------------------------


def pylist(nested):
    """As pyarrow's: masked inner rows and masked steps are None."""
    rows, keeps, masks = nested_rows_of(nested)
    read = nested.inner.dtype, nested.item_shape
    made = []
    for row in range(len(rows)):
        made.append([])
        for inner, keep, kept in zip(rows[row], keeps[row], masks[row], strict=True):
            steps = [np.frombuffer(step, read[0]).reshape(read[1]).tolist() for step in inner]
            whole = [step if one else None for step, one in zip(steps, keep, strict=True)]
            made[-1].append(whole if kept else None)
    return made


@given(nesteds(dtypes=("int8", "int64", "uint32", "float64", "bool"), tame=True))
def test_arrow_there_and_back(nested):
    array = nested.to_arrow()
    array.validate(full=True)
    assert array.to_pylist() == pylist(nested)
    again = rm.NestedRagged.from_arrow(array)
    assert again.to_arrow().equals(array)
    assert again.to_arrow().type == array.type
    assert pa.array(nested).equals(array)
    # what lies under a null list does not come back
    assert (again.dtype, again.item_shape) == (nested.dtype, nested.item_shape)


@given(nesteds(dtypes=(*INTEGERS, *FLOATS, "datetime64[ns]", "timedelta64[ms]"), masked=(False,)))
def test_arrow_keeps_every_bit(nested):
    again = rm.Ragged.from_arrow(nested.to_arrow())
    assert nested_rows_of(again) == nested_rows_of(nested)


ITEMS = [
    pa.array([1.5, 2.5, None]).dictionary_encode(),
    pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, 1], pa.int8())),
    pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([7, 8])),
    pa.array([None] * 3),
    *(pa.array([0, None, 1], type_) for type_ in (pa.date32(), pa.time32("s"), pa.float16())),
    pa.array([0, None, 86_400_000], pa.date64()),
    pa.array([0, None, 1], pa.timestamp("us", "Europe/Paris")),
    pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.float32(), (2, 2), permutation=[1, 0]),
        pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12, dtype=np.float32)), 4),
    ),
]


@pytest.mark.parametrize("items", ITEMS, ids=lambda items: str(items.type))
@pytest.mark.parametrize("encoded", [False, True], ids=["lists", "runs of lists"])
def test_items_of_any_type_come_back(items, encoded):
    inner = pa.ListArray.from_arrays([0, 1, 1, 3], items)
    array = pa.ListArray.from_arrays([0, 2, 2, 3], inner)
    if encoded:
        array = pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3], pa.int32()), array)
    nested = rm.Ragged.from_arrow(array)
    assert type(nested) is rm.NestedRagged
    back = nested.to_arrow()
    assert (back.type, back.to_pylist()) == (array.type, array.to_pylist())
    assert nested[::-1].to_arrow().to_pylist() == array.to_pylist()[::-1]


NESTED_NULLS = [[[1, None, 3], [4]], None, [None, [5]], [], [[]], None, [[6, 7]]]


@pytest.mark.parametrize("make_inner", LISTS)
@pytest.mark.parametrize("make_outer", [*LISTS, lambda items: pa.list_(items, 2)])
@pytest.mark.parametrize("cut", ["whole", "sliced", "chunked", "chunks of slices", "empty"])
def test_lists_of_every_layout(make_outer, make_inner, cut):
    rows = NESTED_NULLS
    type_ = make_outer(make_inner(pa.int16()))
    if pa.types.is_fixed_size_list(type_):
        rows = [row for row in rows if row is None or len(row) == 2]
    array = pa.array(rows, type_)
    if cut == "sliced":
        array, rows = array[1:-1], rows[1:-1]
    elif cut == "chunked":
        array = pa.chunked_array([array[:2], array[2:2], array[2:]], type_)
    elif cut == "chunks of slices":
        array = pa.chunked_array([array[1:3], array[:1]], type_)
        rows = [*rows[1:3], *rows[:1]]
    elif cut == "empty":
        array, rows = pa.chunked_array([], type_), []
    nested = rm.Ragged.from_arrow(array)
    assert type(nested) is rm.NestedRagged
    assert pylist(nested) == [row or [] for row in rows]
    back = nested.to_arrow()
    assert (back.to_pylist(), back.type) == (rows, type_)
    for view in (slice(None, None, -1), slice(1, 3)):
        seen = nested[view].to_arrow()
        assert (seen.to_pylist(), seen.type) == (rows[view], type_)
    doubled = (nested * 2).to_arrow()
    assert doubled.is_null().to_pylist() == [row is None for row in rows]


@pytest.mark.parametrize("make_type", LISTS)
def test_one_chunk_of_numbers_is_not_copied(make_type):
    numbers = np.arange(12.0)
    items = pa.Array.from_buffers(pa.float64(), 12, [None, pa.py_buffer(numbers)])
    lists = lists_of(items, [0, 2, 2, 7, 12], make_type)
    array = lists_of(lists, [0, 1, 4], make_type)
    nested = rm.Ragged.from_arrow(array)
    assert np.shares_memory(nested.inner.values, numbers)
    assert nested[1:].to_arrow().values.values.buffers()[1].address >= numbers.ctypes.data
    assert rm.temporal_pool(nested, "sum").to_rows()[1].tolist() == [0, 20, 45]


def test_the_type_comes_back_after_ops():
    type_ = pa.large_list(pa.list_(pa.field("words", pa.int32(), metadata={"a": "b"})))
    array = pa.array([[[1, 2], None], None], type_)
    nested = rm.Ragged.from_arrow(array)
    assert nested.to_arrow().type.equals(type_, check_metadata=True)
    assert pickle.loads(pickle.dumps(nested[::-1])).to_arrow().type == type_
    pooled = rm.temporal_pool(nested, "max")
    one_level = pa.large_list(type_.value_type.value_field)
    assert pooled.to_arrow().type.equals(one_level, check_metadata=True)
    assert pooled.to_arrow().to_pylist() == [[2, None], None]
    assert nested.inner.to_arrow().to_pylist() == [[1, 2], None]
    assert nested.inner.to_arrow().type == type_.value_type
    assert nested[0].to_arrow().to_pylist() == [[1, 2], None]
    table = rm.embedding(nested, np.ones((3, 2), np.float32)).to_arrow()
    assert table.to_pylist() == [[[[1, 1], [1, 1]], None], None]


def test_null_lists_are_named_where_they_are_refused():
    array = pa.array([[[1]], None, [[2], None]])
    with pytest.raises(rm.InvalidInputError, match="row 1 is null"):
        rm.Ragged.from_arrow(array, nulls="error")
    with pytest.raises(rm.InvalidInputError, match="row 1 has a null among its lists"):
        rm.Ragged.from_arrow(pa.array([[[1]], [[2], None]]), nulls="error")
    hidden = pa.ListArray.from_arrays([0, 1, 1, 2], pa.array([[1], None, [2]]))[:1]
    assert len(rm.Ragged.from_arrow(hidden, nulls="error")) == 1
    with pytest.raises(rm.InvalidInputError, match="nulls must be"):
        rm.Ragged.from_arrow(array, nulls="skip")


@pytest.mark.parametrize("make_type", LISTS)
@pytest.mark.parametrize("level", ["outer", "inner"])
@pytest.mark.parametrize(
    "offsets", [[0, 9, 3, 3], [0, 2, 1, 3], [-1, 2, 3, 3], [0, 2, 3, 2**31 - 1]]
)
def test_offsets_that_leave_what_they_count_are_refused(make_type, level, offsets):
    array = lists_of(lists_of(pa.array(range(3)), [0, 1, 2, 3], make_type), [0, 1, 3, 3], make_type)
    broken = (array if level == "outer" else array.values).buffers()
    dtype = np.int64 if make_type in (pa.large_list, pa.large_list_view) else np.int32
    if make_type in (pa.list_, pa.large_list):
        np.frombuffer(broken[1], dtype)[:] = offsets
    else:
        np.frombuffer(broken[1], dtype)[:], np.frombuffer(broken[2], dtype)[:] = (
            offsets[:-1],
            np.diff(offsets),
        )
    with pytest.raises(rm.InvalidInputError):
        rm.Ragged.from_arrow(array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pa.array([[[[1]]]]), "ragged 3 times.*list_flatten"),
        (pa.array([[[[[1]]]]]), "ragged 4 times"),
        (pa.array([[["a"]]]), "vocabulary.encode"),
        (pa.array([[[{"a": 1}]]]), "it takes lists of numbers"),
        (pa.array([[[b"a"]]]), "it takes lists of numbers"),
    ],
)
def test_what_is_no_list_of_lists_of_numbers_says_what_to_do(array, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        rm.Ragged.from_arrow(array)


def test_vectors_stay_vectors_where_they_are_asked_for():
    array = pa.array([[[1, 2], [3, 4]], []])
    assert rm.Ragged.from_arrow(array, items="vectors").item_shape == (2,)
    assert rm.Ragged.from_arrow(array, items=2).item_shape == (2,)
    assert type(rm.Ragged.from_arrow(array)) is rm.NestedRagged
    fixed = array.cast(pa.list_(pa.list_(pa.int64(), 2)))
    assert rm.Ragged.from_arrow(fixed).item_shape == (2,)
    assert rm.temporal_pool(array, "sum").type == pa.list_(pa.int64(), 2)
    with pytest.raises(rm.InvalidInputError, match=r"first has 2.*Ragged\.from_arrow"):
        rm.temporal_pool(pa.array([[[1, 2], [3]]]), "sum")


def test_vectors_in_lists_of_lists_are_steps_of_inner_rows():
    array = pa.array([[[[1, 2], None], []], None], pa.list_(pa.list_(pa.list_(pa.int32(), 2))))
    nested = rm.Ragged.from_arrow(array)
    assert (nested.item_shape, nested.inner.lengths.tolist()) == ((2,), [2, 0])
    assert nested.to_arrow().equals(array)
    assert rm.temporal_pool(nested, "sum").to_rows()[0].tolist() == [[1, 2], [0, 0]]


def test_a_streamed_column_of_lists_of_lists(tmp_path):
    random = np.random.default_rng(0)
    rows = [[[*range(k)] for k in random.integers(0, 5, n)] for n in random.integers(0, 6, 500)]
    pq.write_table(pa.table({"x": rows}), tmp_path / "x.parquet", row_group_size=90)
    stream = rm.stream(tmp_path / "x.parquet").batch(rows=64)
    sums, seen = [], []
    for batch in stream:
        nested = rm.Ragged.from_arrow(batch["x"])
        seen += nested.to_arrow().to_pylist()
        sums += rm.temporal_pool(rm.temporal_pool(nested, "sum"), "sum").tolist()
    assert (seen, sums) == (rows, [sum(map(sum, row)) for row in rows])

    nested = stream.map(lambda batch: {"y": rm.Ragged.from_arrow(batch["x"]) + 1})
    assert "y  NestedRagged(64 rows" in repr(next(iter(nested)))
    nested.to_parquet(tmp_path / "y.parquet")
    expected = [[[step + 1 for step in inner] for inner in row] for row in rows]
    assert pq.read_table(tmp_path / "y.parquet")["y"].to_pylist() == expected
