"""to_padded, from_padded and pad_sequences, against the reference and bit for bit."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import threads
from ragmask.arrays.coerce import as_words
from ragmask.arrays.host import offsets_of, read_only
from ragmask.rows.padding import pack_rows
from tests import reference
from tests.strategies import (
    DTYPES,
    FLOATS,
    INTEGERS,
    ITEM_SHAPES,
    TIMES,
    padded_rows_of,
    raggeds,
    rows_of,
    steps_of,
)

SIDES = st.sampled_from(["pre", "post"])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "maxlen": st.sampled_from([0, 1, 2, 5, 40]),
        "padding": SIDES,
        "truncating": SIDES,
        "multiple_of": st.sampled_from([1, 2, 7, 8]),
    },
)


def words_for(dtype):
    """A value of this dtype whose bytes all count."""
    return np.frombuffer(bytes(range(1, 65)), dtype)[0] if dtype.kind != "b" else np.True_


@pytest.fixture
def batch():
    return rm.Ragged.from_rows([[1, 2, 3], [], [4], [5, 6]])


# -- to_padded ----------------------------------------------------------------------------


@given(raggeds(), OPTIONS, st.sampled_from(["default", "scalar", "step"]))
def test_to_padded_is_the_reference(ragged, options, kind_of_value):
    value = {
        "default": np.zeros((), ragged.dtype),
        "scalar": words_for(ragged.dtype),
        "step": np.ones(ragged.item_shape, bool).cumsum().reshape(ragged.item_shape) % 2,
    }[kind_of_value]
    step = np.broadcast_to(value.astype(ragged.dtype), ragged.item_shape).tobytes()
    given_value = {} if kind_of_value == "default" else {"value": value}
    padded = ragged.to_padded(**options, **given_value)
    assert padded_rows_of(padded) == reference.to_padded(*rows_of(ragged), value=step, **options)
    assert padded.dtype == ragged.dtype
    assert padded.item_shape == ragged.item_shape
    assert len(padded) == len(ragged)


@given(raggeds(), OPTIONS, st.integers(0, 9), st.sampled_from(["flat", "padded"]))
def test_out_gets_the_same_as_fresh_arrays(ragged, options, spare, kind):
    fresh = ragged.to_padded(**options)
    size, steps = fresh.values.size, fresh.mask.size
    if kind == "flat":
        values, mask = np.full(size + spare, 1, ragged.dtype), np.ones(steps + spare, bool)
        out = values, mask
    else:
        values, mask = np.full(fresh.shape, 1, ragged.dtype), np.ones(fresh.shape[:2], bool)
        out = rm.Padded(values, mask)
    padded = ragged.to_padded(**options, out=out)
    assert padded_rows_of(padded) == padded_rows_of(fresh)
    assert padded.shape == fresh.shape
    assert padded.values.ctypes.data == values.ctypes.data
    assert padded.mask.ctypes.data == mask.ctypes.data
    assert (values.reshape(-1)[size:] == np.ones(1, ragged.dtype)).all()
    assert mask.reshape(-1)[steps:].all()


@pytest.mark.parametrize(
    ("dtype", "wider"),
    [
        ("int8", "int64"),
        ("uint8", "int16"),
        ("int32", "float64"),
        ("float32", "complex64"),
        ("bool", "int8"),
        ("datetime64[D]", "datetime64[s]"),
        ("int16", ">i4"),
    ],
)
@pytest.mark.parametrize("shape", ITEM_SHAPES)
def test_a_wider_dtype_keeps_every_value(dtype, wider, shape):
    values = (np.arange(5 * int(np.prod(shape))) % 2).astype(dtype).reshape(5, *shape)
    ragged = rm.Ragged(values, [3, 0], [2, 3], [True, False, True, True, True])
    padded = ragged.to_padded(dtype=wider)
    assert padded.dtype == np.dtype(wider).newbyteorder("=")
    assert (padded.values[0, :2] == values[3:]).all()
    assert (padded.values[1] == values[:3]).all()
    assert padded.mask.tolist() == [[True, True, False], [True, False, True]]


@pytest.mark.parametrize(
    ("dtype", "narrower"),
    [
        ("int64", "int32"),
        ("int64", "uint64"),
        ("float64", "float32"),
        ("float32", "int64"),
        ("int64", "bool"),
        ("datetime64[s]", "datetime64[D]"),
        ("complex64", "float32"),
    ],
)
def test_a_lossy_dtype_is_refused(dtype, narrower):
    with pytest.raises(rm.UnsupportedTypeError, match="without loss: convert it first"):
        rm.Ragged(np.zeros(2, dtype), [0], [2]).to_padded(dtype=narrower)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (object, "holds no numbers"),
        (str, "holds no numbers"),
        ("V8", "holds no numbers"),
        ("nonsense", "dtype 'nonsense' is unknown to numpy"),
    ],
)
def test_a_dtype_of_no_numbers_is_refused(batch, dtype, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        batch.to_padded(dtype=dtype)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("uint8", 255),
        ("int8", -128),
        ("uint64", 2**64 - 1),
        ("int32", 3.0),
        ("int32", True),
        ("float32", 0.1),
        ("float16", np.inf),
        ("float64", np.nan),
        ("bool", 1),
        ("complex128", 1 + 2j),
        ("datetime64[s]", np.datetime64("NaT")),
        ("datetime64[s]", np.datetime64("2020-01-01")),
        ("datetime64[s]", 5),
        ("timedelta64[ms]", np.timedelta64(3, "s")),
        ("timedelta64[s]", np.timedelta64(3000, "ms")),
        ("timedelta64[s]", np.timedelta64(3)),
    ],
)
def test_a_value_that_fits_fills_the_padding(dtype, value):
    padded = rm.Ragged(np.zeros(1, dtype), [0, 0], [1, 0]).to_padded(value=value)
    np.testing.assert_array_equal(padded.values[1, 0], np.asarray(value).astype(dtype))
    assert padded.mask.tolist() == [[True], [False]]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("uint8", -1),
        ("uint8", 256),
        ("uint64", -1),
        ("int32", 0.5),
        ("int64", 2**70),
        ("int64", np.nan),
        ("int64", np.inf),
        ("int64", 1j),
        ("float16", 1e9),
        ("float32", 1e300),
        ("float64", 1j),
        ("bool", 2),
        ("int64", "0"),
        ("float64", None),
        ("int64", [1, 2]),
        ("datetime64[D]", np.datetime64("2020-01-01T12")),
        ("datetime64[ns]", np.datetime64("9999-01-01")),
        ("datetime64[s]", np.timedelta64(1, "s")),
        ("datetime64[s]", 0.5),
        ("timedelta64[s]", np.timedelta64(1, "ns")),
    ],
)
def test_a_value_that_does_not_fit_is_refused(dtype, value):
    with pytest.raises(rm.InvalidInputError, match=r"value .* does not fit a batch of"):
        rm.Ragged(np.zeros(1, dtype), [0], [1]).to_padded(value=value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maxlen": -1}, "maxlen must be at least 0; got -1"),
        ({"maxlen": 2.0}, "maxlen must be an integer; got 2.0"),
        ({"maxlen": True}, "maxlen must be an integer; got True"),
        ({"multiple_of": 0}, "multiple_of must be at least 1; got 0"),
        ({"multiple_of": "8"}, "multiple_of must be an integer; got '8'"),
        ({"padding": "left"}, 'padding must be "pre" or "post"; got \'left\''),
        ({"truncating": "right"}, 'truncating must be "pre" or "post"; got \'right\''),
        ({"maxlen": 2**62}, "larger than any memory"),
        ({"maxlen": 2**70}, "larger than any memory"),
        ({"multiple_of": 2**70}, "larger than any memory"),
    ],
)
def test_a_bad_option_is_named(batch, options, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        batch.to_padded(**options)


def test_small_numpy_integers_do_not_overflow():
    ragged = rm.Ragged.from_rows([range(150)])
    assert ragged.to_padded(multiple_of=np.int8(100)).shape == (1, 200)
    assert ragged.to_padded(np.uint8(200), multiple_of=np.uint8(150)).shape == (1, 300)


def read_only_array(shape, dtype):
    array = np.zeros(shape, dtype)
    array.flags.writeable = False
    return array


BAD_OUTS = [
    ("values small", (np.zeros(11, "i8"), np.zeros(12, "?")), "out's values holds 11 .* needs 12"),
    ("mask small", (np.zeros(12, "i8"), np.zeros(11, "?")), "out's mask holds 11 .* needs 12"),
    ("values dtype", (np.zeros(12, "i4"), np.zeros(12, "?")), "out's values has dtype int32"),
    ("mask dtype", (np.zeros(12, "i8"), np.zeros(12, "u1")), "out's mask has dtype uint8"),
    ("byte order", (np.zeros(12, ">i8"), np.zeros(12, "?")), "out's values has dtype >i8"),
    ("shape", rm.Padded(np.zeros((4, 4), "i8"), np.zeros((4, 4), "?")), r"shape \(4, 4\)"),
    ("no mask", rm.Padded(np.zeros((4, 3), "i8")), "out's mask must be an array; got NoneType"),
    ("strided", (np.zeros(24, "i8")[::2], np.zeros(12, "?")), "must be writable and C-contiguous"),
    ("read-only", (read_only_array(12, "i8"), np.zeros(12, "?")), "out's values must be writable"),
    ("mask read-only", (np.zeros(12, "i8"), read_only_array(12, "?")), "out's mask must be writ"),
    ("list", [np.zeros(12, "i8"), np.zeros(12, "?")], "out must be a Padded or a pair"),
    ("one array", np.zeros(12, "i8"), "out must be a Padded or a pair"),
    ("three", (1, 2, 3), "out must be a Padded or a pair"),
]


@pytest.mark.parametrize(
    ("out", "message"), [case[1:] for case in BAD_OUTS], ids=[case[0] for case in BAD_OUTS]
)
def test_a_bad_out_is_refused(batch, out, message):
    with pytest.raises(rm.RagmaskError, match=message):
        batch.to_padded(out=out)


def test_out_may_not_overlap_what_is_read():
    values, mask = np.arange(9), np.ones(40, bool)
    ragged = rm.Ragged(values[:4], [0, 1], [2, 3], mask[:4])
    shared = np.zeros(6, np.int64)
    for out in [
        (values, np.zeros(9, bool)),
        (np.zeros(9, np.int64), mask),
        (shared, shared.view(bool)),
    ]:
        with pytest.raises(rm.InvalidInputError, match="out overlaps"):
            ragged.to_padded(out=out)
    assert values.tolist() == list(range(9))


def test_buffers_serve_batches_of_any_width(batch):
    buffers = np.full(100, 7), np.ones(100, bool)
    for maxlen in (5, 0, 2):
        again = batch.to_padded(maxlen, out=buffers)
        assert padded_rows_of(again) == padded_rows_of(batch.to_padded(maxlen))


# -- how steps are moved ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int16", "int32", "float64", "complex128"])
@pytest.mark.parametrize("shift", [1, 2, 4, 8])
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_unaligned_values_and_buffers(dtype, shift, padding):
    size = np.dtype(dtype).itemsize
    memory = np.frombuffer(np.random.default_rng(0).bytes(8 * size + shift), np.uint8)
    values = memory[shift:].view(dtype)
    ragged = rm.Ragged(values, [5, 0, 3], [3, 2, 0])
    expected = reference.to_padded(*rows_of(ragged), padding=padding, value=bytes(size))
    assert padded_rows_of(ragged.to_padded(padding=padding)) == expected
    assert rows_of(ragged.compact()) == rows_of(ragged)
    buffer = np.zeros(9 * size + shift, np.uint8)[shift:].view(dtype)
    out = buffer, np.zeros(9, bool)
    assert padded_rows_of(ragged.to_padded(padding=padding, out=out)) == expected


@pytest.mark.parametrize("item_bytes", [1, 2, 3, 6, 8, 12, 16])
@pytest.mark.parametrize("shift", range(9))
def test_words_divide_steps_and_addresses(item_bytes, shift):
    """Not every CPU reads a word from an address that is no multiple of it."""
    memory = np.zeros(64, np.uint8)[shift : shift + 48]
    (words,) = as_words(item_bytes, memory)
    word, address = words.itemsize, memory.ctypes.data
    assert item_bytes % word == 0
    assert words.ctypes.data == address
    assert address % word == 0
    assert word == 8 or item_bytes % (2 * word) or address % (2 * word)


@pytest.mark.parametrize(
    ("dtype", "shape", "value"),
    [
        ("complex128", (), 1 + 2j),
        ("int16", (3,), [1, 2, 3]),
        ("uint8", (3,), [1, 2, 3]),
        ("float32", (2, 2), [[1, 2], [3, 4]]),
        ("longdouble", (), 1),
    ],
)
def test_a_step_of_several_words_is_repeated_whole(dtype, shape, value):
    ragged = rm.Ragged(np.zeros((3, *shape), dtype), [0, 1], [1, 2])
    padded = ragged.to_padded(4, value=value).values
    assert (padded[0, 1:] == np.asarray(value)).all()
    assert (padded[1, 2:] == np.asarray(value)).all()
    assert (padded[0, 0] == 0).all()


def test_negative_zero_is_kept():
    padded = rm.Ragged.from_rows([[-0.0], []]).to_padded(value=-0.0)
    assert np.signbit(padded.values).all()


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_steps_without_features_still_have_a_mask(shape):
    ragged = rm.Ragged(np.zeros((3, *shape)), [1, 0], [2, 1], [True, False, True])
    padded = ragged.to_padded()
    assert padded.shape == (2, 2, *shape)
    assert padded.mask.tolist() == [[False, True], [True, False]]
    assert ragged.compact().values.shape == (3, *shape)


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("maxlen", [None, 0, 2])
def test_batches_without_steps(rows, maxlen):
    padded = rm.Ragged(np.zeros((0, 2)), [0] * rows, [0] * rows).to_padded(maxlen, value=9)
    assert padded.shape == (rows, maxlen or 0, 2)
    assert (padded.values == 9).all()
    assert not padded.mask.any()


def packed(ragged):
    """The steps one time after another, and how many there are of each time."""
    order, times = reference.pack(rows_of(ragged)[0])
    sizes = np.array([len(steps) for steps in times], np.int64)
    out = np.empty((ragged.n_steps, *ragged.item_shape), ragged.dtype)
    pack_rows(ragged._rows.pick(np.array(order, np.int64)), read_only(offsets_of(sizes)[:-1]), out)
    return steps_of(out), [step for steps in times for step in steps]


@given(raggeds())
def test_packing_is_the_reference(ragged):
    steps, expected = packed(ragged)
    assert steps == expected


@pytest.mark.parametrize("count", [1, 2, 3])
def test_packing_on_any_number_of_threads(count, num_threads, monkeypatch):
    monkeypatch.setattr(threads, "WORTH_A_THREAD_NS", 0)
    num_threads(count)
    lengths = np.random.default_rng(0).integers(0, 60, 300)
    values = np.arange(3 * int(lengths.sum())).reshape(-1, 3)
    steps, expected = packed(rm.Ragged(values, np.cumsum(lengths) - lengths, lengths))
    assert steps == expected


# -- from_padded --------------------------------------------------------------------------


@given(raggeds(), OPTIONS)
def test_from_padded_undoes_to_padded(ragged, options):
    padded = ragged.to_padded(**options)
    again = rm.Ragged.from_padded(padded)
    assert rows_of(again) == reference.from_padded_mask(*padded_rows_of(padded))
    assert not padded.values.size or np.shares_memory(again.values, padded.values)


@given(raggeds(masked=[False]), SIDES, st.integers(0, 3))
def test_rows_survive_the_round_trip(ragged, padding, spare):
    padded = ragged.to_padded(ragged.max_length + spare, padding=padding)
    assert rows_of(rm.Ragged.from_padded(padded.values, padded.mask)) == rows_of(ragged)
    if padding == "post":
        by_lengths = rm.Ragged.from_padded(padded.values, lengths=ragged.lengths)
        assert rows_of(by_lengths) == rows_of(ragged)


@given(
    raggeds(dtypes=(*INTEGERS, *FLOATS, "bool", *TIMES), masked=[False], tame=True),
    SIDES,
    st.integers(0, 2),
)
def test_from_padded_by_value(ragged, padding, value):
    value %= 2 if ragged.dtype == bool else 3
    padded = ragged.to_padded(padding=padding, value=value)
    step = np.full(ragged.item_shape, value).astype(ragged.dtype).tobytes()
    rows, _ = padded_rows_of(padded)
    again = rm.Ragged.from_padded(padded.values, value=value)
    assert rows_of(again)[0] == reference.from_padded_value(rows, step)
    assert again.mask is None


@pytest.mark.parametrize(
    ("dtype", "value"), [("float32", np.nan), ("datetime64[s]", np.datetime64("NaT"))]
)
def test_nan_is_padding_where_it_is_said_to_be(dtype, value):
    dense = np.array([[1, 2, 3], [4, 5, 6]]).astype(dtype)
    dense[0, 0] = dense[0, 2] = dense[1, 1] = value
    assert rm.Ragged.from_padded(dense, value=value).lengths.tolist() == [1, 3]


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (0, 5, 2), (3, 0, 2), (3, 2, 0)])
def test_from_padded_of_nothing(shape):
    dense = np.zeros(shape)
    for said in ({"value": 0}, {"mask": np.zeros(shape[:2], bool)}, {"lengths": [0] * shape[0]}):
        ragged = rm.Ragged.from_padded(dense, **said)
        assert (len(ragged), ragged.n_steps, ragged.item_shape) == (shape[0], 0, shape[2:])


def test_from_padded_without_a_word_keeps_full_rows():
    ragged = rm.Ragged.from_padded(np.arange(6).reshape(2, 3))
    assert [row.tolist() for row in ragged] == [[0, 1, 2], [3, 4, 5]]


def test_an_interior_mask_stays():
    mask = np.array([[False, True, False, True], [True, True, False, False]])
    ragged = rm.Ragged.from_padded(np.arange(8).reshape(2, 4), mask)
    assert [row.tolist() for row in ragged] == [[1, None, 3], [4, 5]]


def test_a_mask_of_ends_alone_is_no_interior_mask():
    mask = np.array([[False, True, True], [True, False, False]])
    assert rm.Ragged.from_padded(np.zeros((2, 3)), mask).mask is None


@pytest.mark.parametrize(
    ("shape", "said", "message"),
    [
        ((3,), {}, r"rows and steps, .* got shape \(3,\)"),
        ((2, 3), {"mask": np.ones((2, 2), bool)}, r"mask has shape \(2, 2\)"),
        ((2, 3), {"mask": np.ones((2, 3), int)}, "mask must be bool"),
        ((2, 3), {"lengths": [1]}, "1 lengths were given for 2 rows"),
        ((2, 3), {"lengths": [1, 4]}, "row 1 cannot have 4 steps of 3"),
        ((2, 3), {"lengths": [-1, 1]}, "row 0 cannot have -1 steps of 3"),
        ((2, 3), {"lengths": [2**63 - 1, 1]}, "row 0 cannot have"),
        ((2, 3), {"lengths": [0.5, 1]}, "lengths must be integers"),
        ((2, 3), {"value": "a"}, "value 'a' does not fit"),
        ((2, 3), {"value": 0, "lengths": [1, 1]}, "lengths and value both say"),
        ((2, 3), {"mask": np.ones((2, 3), bool), "value": 0}, "mask and value both say"),
    ],
)
def test_from_padded_refuses_what_disagrees(shape, said, message):
    with pytest.raises(rm.RagmaskError, match=message):
        rm.Ragged.from_padded(np.zeros(shape), **said)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_survives(dtype):
    values = (np.arange(4) % 2).astype(dtype)
    padded = rm.Ragged(values, [1, 0], [3, 1]).to_padded()
    assert padded.dtype == dtype
    assert (padded.values[0] == values[1:]).all()


# -- pad_sequences ------------------------------------------------------------------------
# Each result is what keras.utils.pad_sequences 3 gives; tests/peers asks Keras itself.

KERAS_RESULTS = [
    ([[1], [2, 3], [4, 5, 6]], {}, [[0, 0, 1], [0, 2, 3], [4, 5, 6]], "int32"),
    ([[1], [2, 3, 4]], {"maxlen": 2}, [[0, 1], [3, 4]], "int32"),
    ([[1], [2, 3, 4]], {"maxlen": 2, "truncating": "post"}, [[0, 1], [2, 3]], "int32"),
    ([[1], [2, 3]], {"padding": "post", "value": -1}, [[1, -1], [2, 3]], "int32"),
    ([[1], [2, 3]], {"maxlen": 4, "value": 9}, [[9, 9, 9, 1], [9, 9, 2, 3]], "int32"),
    ([[1.9, -1.9], [0.5]], {}, [[1, -1], [0, 0]], "int32"),
    ([[1.5], []], {"dtype": "float32", "value": 0.5}, [[1.5], [0.5]], "float32"),
    ([[], []], {}, [[], []], "int32"),
    ([[], []], {"maxlen": 2}, [[0, 0], [0, 0]], "int32"),
    ([(1, 2), np.array([3])], {}, [[1, 2], [0, 3]], "int32"),
    (np.array([[1, 2], [3, 4]], np.uint8), {"maxlen": 3}, [[0, 1, 2], [0, 3, 4]], "int32"),
    ([[[1, 2]], [[3, 4], [5, 6]]], {}, [[[0, 0], [1, 2]], [[3, 4], [5, 6]]], "int32"),
    ([[[1, 2]], []], {"maxlen": 1}, [[[1, 2]], [[0, 0]]], "int32"),
    ([[[1, 2]], []], {"value": [8, 9]}, [[[1, 2]], [[8, 9]]], "int32"),
    ([["a"], ["b", "c"]], {"dtype": object, "value": "p"}, [["p", "a"], ["b", "c"]], "O"),
    ([["abc"], ["d", "e"]], {"dtype": "U2", "value": "p"}, [["p", "ab"], ["d", "e"]], "U2"),
    ([[1, "2"], [3]], {"dtype": "int16"}, [[1, 2], [0, 3]], "int16"),
    ([[300]], {"dtype": "int16", "maxlen": np.int64(2)}, [[0, 300]], "int16"),
    ([np.array([300])], {"dtype": "uint8"}, [[44]], "uint8"),
    ([], {"maxlen": 3}, np.empty((0, 3)), "int32"),
]


@pytest.mark.parametrize(("sequences", "options", "expected", "dtype"), KERAS_RESULTS)
def test_pad_sequences_gives_what_keras_gives(sequences, options, expected, dtype):
    result = rm.pad_sequences(sequences, **options)
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result, np.asarray(expected).astype(dtype))
    assert result.flags.writeable


@pytest.mark.parametrize(
    ("sequences", "options", "message"),
    [
        (5, {}, "`sequences` must be iterable."),
        ([1, 2], {}, "`sequences` must be a list of iterables. Found non-iterable: 1"),
        ([], {}, "zero-size array to reduction operation maximum which has no identity"),
        ([[1], [2, 3]], {"padding": "left"}, 'Padding type "left" not understood'),
        ([[1], [2, 3]], {"truncating": "left"}, 'Truncating type "left" not understood'),
        ([[1]], {"value": "pad"}, "`dtype` int32 is not compatible with `value`'s type"),
        ([[1]], {"maxlen": -1}, "negative dimensions are not allowed"),
        (
            [[[1, 2]], [[3]]],
            {},
            r"Shape of sample \(1,\) of sequence at position 1 is different from .* \(2,\)",
        ),
        ([["a"]], {}, "invalid literal for int"),
        ([[[1, 2]]], {"maxlen": 0, "truncating": "post"}, r"Shape of sample \(\) of sequence"),
    ],
)
def test_pad_sequences_raises_what_keras_raises(sequences, options, message):
    with pytest.raises(ValueError, match=message):
        rm.pad_sequences(sequences, **options)


@given(raggeds(dtypes=("int32",), masked=[False]), SIDES, SIDES, st.sampled_from([None, 1, 3, 20]))
def test_pad_sequences_is_the_reference(ragged, padding, truncating, maxlen):
    if not len(ragged):
        return
    result = rm.pad_sequences(
        ragged.to_rows(), maxlen, padding=padding, truncating=truncating, value=7
    )
    step_shape = ragged.item_shape if ragged.n_steps else ()
    step = np.full(step_shape, 7, np.int32).tobytes()
    expected, _ = reference.to_padded(*rows_of(ragged), maxlen, padding, truncating, step)
    assert padded_rows_of(rm.Padded(result))[0] == expected


@pytest.mark.parametrize(
    ("rows", "row"),
    [([[1, None]], 0), ([[1], [], [2, None, 3]], 2), ([None, [], [None], [1]], 2)],
)
@pytest.mark.parametrize("type_", [pa.list_(pa.int32()), pa.large_list(pa.float64())])
def test_a_null_number_of_an_arrow_row_is_named(rows, row, type_):
    array = pa.array(rows, type_)
    for given_array in (array, pa.chunked_array([array.slice(0, 1), array.slice(1)])):
        with pytest.raises(rm.InvalidInputError, match=f"row {row} holds a null.*: fill it, or"):
            rm.pad_sequences(given_array)
    filled = pa.array([[0 if item is None else item for item in row or []] for row in rows], type_)
    assert len(rm.pad_sequences(filled)) == len(rows)


def test_a_null_that_is_cut_off_is_not_looked_at():
    array = pa.array([[None, 1, 2], [3]])
    assert rm.pad_sequences(array, maxlen=2).tolist() == [[1, 2], [0, 3]]
    with pytest.raises(rm.InvalidInputError, match="row 0 holds a null"):
        rm.pad_sequences(array, maxlen=2, truncating="post")
