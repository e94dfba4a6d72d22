"""Ragged to torch and back: equal to torch's own, and whose memory is whose."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
)

import ragmask as rm
from ragmask.interop.torch import (
    from_jagged,
    from_packed,
    from_torch,
    to_jagged,
    to_packed,
    to_padded,
)
from tests import reference
from tests.strategies import FLOATS, INTEGERS, TIMES, padded_rows_of, raggeds, rows_of, steps_of

KNOWN = (*INTEGERS, *FLOATS, "complex64", "complex128", "bool")
RAGGEDS = raggeds(dtypes=KNOWN, masked=[False])
FULL_RAGGEDS = RAGGEDS.map(lambda ragged: ragged[ragged.lengths > 0]).filter(len)
SIDES = st.sampled_from(["pre", "post"])


@pytest.fixture
def batch():
    return rm.Ragged.from_rows([[1, 2, 3], [], [4], [5, 6]])


def bytes_of(tensors):
    return [steps_of(tensor.numpy()) for tensor in tensors]


def jagged_of(values, offsets, lengths=None, **options):
    offsets = torch.tensor(offsets, device=values.device)
    lengths = None if lengths is None else torch.tensor(lengths)
    return torch.nested.nested_tensor_from_jagged(values, offsets, lengths, **options)


def traced_peak(call):
    """The result, and the bytes numpy allocated at most meanwhile. torch's are not counted."""
    call()  # compile, and load what is loaded once
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def large_batch():
    lengths = np.full(1000, 20)
    return rm.Ragged(np.random.default_rng(0).random((20_000, 16)), np.arange(1000) * 20, lengths)


# -- jagged -------------------------------------------------------------------------------


@given(RAGGEDS)
def test_a_jagged_tensor_holds_the_rows(ragged):
    jagged = to_jagged(ragged)
    assert jagged.layout == torch.jagged
    assert bytes_of(jagged.unbind()) == rows_of(ragged)[0]
    assert jagged.offsets().tolist() == reference.compact(rows_of(ragged)[0])[1]
    assert jagged.lengths() is None
    lengths = ragged.lengths.tolist()
    assert jagged._get_max_seqlen() == max(lengths, default=0)
    assert jagged._get_min_seqlen() == min(lengths, default=0)


@given(RAGGEDS)
def test_jagged_and_back(ragged):
    jagged = to_jagged(ragged)
    again = from_jagged(jagged)
    assert rows_of(again) == rows_of(ragged)
    assert again.dtype == ragged.dtype
    assert again.item_shape == ragged.item_shape
    assert not again.values.size or again.values.ctypes.data == jagged.values().data_ptr()


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_jagged_rows_with_holes(kind):
    values, starts = torch.arange(24.0).reshape(4, 6), torch.tensor([1, 0, 3, 2], dtype=kind)
    lengths = torch.tensor([2, 6, 0, 4], dtype=kind)
    jagged = torch.nested.narrow(values, 1, starts, lengths, layout=torch.jagged)
    assert jagged.lengths() is not None
    ragged = from_jagged(jagged)
    assert [row.tolist() for row in ragged] == [row.tolist() for row in jagged.unbind()]
    assert ragged.values.ctypes.data == values.data_ptr()


def test_torch_pads_our_jagged_tensor_as_we_do(batch):
    floats = batch.with_values(batch.values.astype(np.float32))
    expected = torch.nested.to_padded_tensor(to_jagged(floats), -1.0)
    assert torch.equal(to_padded(floats, value=-1)[0], expected)


def test_jagged_values_that_are_not_contiguous_are_copied():
    values = torch.arange(12).reshape(2, 6).t()
    ragged = from_jagged(jagged_of(values, [0, 4, 6]))
    assert ragged.values.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("offsets", "lengths", "message"),
    [
        ([0, 2, 99], None, "offsets run past the values in row 1"),
        ([0, 2**62, 2], None, "offsets decrease at row 1"),
        ([-5, 2, 3], None, "offsets start at -5"),
        ([0, 2, 4], [2, 9], "row 1 does not lie inside the values"),
        ([0, 2, 4], [-1, 2], "row 0 does not lie inside the values"),
    ],
)
def test_a_hostile_jagged_tensor_is_refused(offsets, lengths, message):
    jagged = jagged_of(torch.arange(4.0), offsets, lengths, min_seqlen=0, max_seqlen=4)
    with pytest.raises(rm.InvalidInputError, match=message):
        from_jagged(jagged)


def test_another_ragged_dimension_is_refused():
    values = torch.arange(12.0)
    transposed = jagged_of(values.reshape(6, 2), [0, 2, 6]).transpose(1, 2)
    for jagged in (transposed, jagged_of(values.reshape(2, 6), [0, 2, 6], jagged_dim=2)):
        with pytest.raises(rm.InvalidInputError, match="the dimension after the rows must be the"):
            from_jagged(jagged)


@pytest.mark.parametrize("other", [torch.zeros(2, 3), np.zeros(3), [[1], [2]], None])
def test_only_a_jagged_tensor_is_one(other):
    with pytest.raises(rm.UnsupportedTypeError, match=r"from_jagged takes a nested tensor"):
        from_jagged(other)


# -- padded -------------------------------------------------------------------------------

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "maxlen": st.sampled_from([0, 1, 2, 5, 40]),
        "padding": SIDES,
        "truncating": SIDES,
        "multiple_of": st.sampled_from([1, 2, 7, 8]),
        "value": st.sampled_from([0, 1]),
    },
)


@given(raggeds(dtypes=KNOWN), OPTIONS)
def test_padded_tensors_are_our_padded_arrays(ragged, options):
    values, mask = to_padded(ragged, **options)
    assert mask.dtype == torch.bool
    expected = ragged.to_padded(**options)
    assert values.numpy().dtype == expected.dtype
    assert padded_rows_of(rm.Padded(values, mask)) == padded_rows_of(expected)


@given(raggeds(dtypes=("float32", "int64"), masked=[False], tame=True).filter(len), SIDES)
def test_padded_tensors_are_pad_sequences(ragged, padding):
    sides = {"post": "right", "pre": "left"}
    rows = [torch.from_numpy(row.copy()) for row in ragged]
    expected = pad_sequence(rows, True, 7, sides[padding])
    values, mask = to_padded(ragged, padding=padding, value=7)
    assert torch.equal(values, expected)
    assert mask.sum(1).tolist() == ragged.lengths.tolist()


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.int64, torch.int64),
        ("float32", torch.float32),
        (np.complex64, torch.complex64),
        (None, torch.int16),
    ],
)
def test_a_dtype_of_torch_or_numpy(dtype, expected):
    values, _ = to_padded(rm.Ragged.from_rows([[1, 2], [3]], "int16"), dtype=dtype)
    assert values.dtype == expected
    assert values.tolist() == [[1, 2], [3, 0]]


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (torch.bfloat16, r"numpy has no torch.bfloat16: .* values.to\(torch.bfloat16\)"),
        (torch.float8_e5m2, r"numpy has no torch.float8_e5m2"),
        (torch.float32, "int64 does not fit float32 without loss"),
        ("datetime64[s]", "torch has no datetime64"),
        (object, "holds no numbers"),
    ],
)
def test_a_dtype_that_cannot_be_is_refused(batch, dtype, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        to_padded(batch, dtype=dtype)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maxlen": -1}, "maxlen must be at least 0"),
        ({"maxlen": 2.5}, "maxlen must be an integer"),
        ({"maxlen": 2**62}, "larger than any memory"),
        ({"multiple_of": 0}, "multiple_of must be at least 1"),
        ({"padding": "left"}, "padding must be"),
        ({"value": 0.5}, "value 0.5 does not fit"),
    ],
)
def test_a_bad_option_is_named(batch, options, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        to_padded(batch, **options)


def test_the_default_device_moves_nothing(batch):
    with torch.device("meta"):
        values, mask = to_padded(batch)
        packed = to_packed(batch[[0, 2]])
    assert {tensor.device.type for tensor in (values, mask, packed.data)} == {"cpu"}


# -- packed -------------------------------------------------------------------------------


def assert_same_packing(packed, expected):
    """All but the order of equally long rows, which torch leaves open."""
    assert packed.data.dtype == expected.data.dtype
    assert torch.equal(packed.batch_sizes, expected.batch_sizes)
    rows = torch.arange(len(packed.sorted_indices))
    assert torch.equal(packed.sorted_indices[packed.unsorted_indices], rows)
    for ours, theirs in zip(
        pad_packed_sequence(packed), pad_packed_sequence(expected), strict=True
    ):
        assert steps_of(ours.numpy()) == steps_of(theirs.numpy())


@given(FULL_RAGGEDS)
def test_packing_is_torchs(ragged):
    packed = to_packed(ragged)
    values, lengths = to_padded(ragged)[0], torch.from_numpy(ragged.lengths.copy())
    expected = pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
    assert_same_packing(packed, expected)


@given(FULL_RAGGEDS)
def test_packing_is_the_reference(ragged):
    packed = to_packed(ragged)
    order, times = reference.pack(rows_of(ragged)[0])
    assert packed.sorted_indices.tolist() == order
    assert packed.batch_sizes.tolist() == [len(steps) for steps in times]
    assert steps_of(packed.data.numpy()) == [step for steps in times for step in steps]


def test_rows_of_different_lengths_are_packed_bit_for_bit_as_torch_does():
    lengths = np.random.default_rng(0).permutation(np.arange(1, 200))
    steps = np.random.default_rng(1).random((int(lengths.sum()), 5))
    ragged = rm.Ragged(steps, np.cumsum(lengths) - lengths, lengths)
    rows = [torch.from_numpy(row.copy()) for row in ragged]
    for ours, theirs in zip(
        to_packed(ragged), pack_sequence(rows, enforce_sorted=False), strict=True
    ):
        assert torch.equal(ours, theirs)


@given(FULL_RAGGEDS)
def test_packed_and_back(ragged):
    again = from_packed(to_packed(ragged))
    assert rows_of(again) == rows_of(ragged)
    assert (again.dtype, again.item_shape) == (ragged.dtype, ragged.item_shape)
    assert again.is_compact


@given(FULL_RAGGEDS, st.booleans())
def test_from_packed_reads_torchs_own(ragged, in_order):
    if in_order:
        ragged = ragged[np.argsort(-ragged.lengths)]
    rows = [torch.from_numpy(row.copy()) for row in ragged]
    packed = pack_sequence(rows, enforce_sorted=in_order)
    assert (packed.unsorted_indices is None) == in_order
    assert rows_of(from_packed(packed)) == rows_of(ragged)


def test_an_lstm_takes_what_we_pack():
    torch.manual_seed(0)
    ragged = rm.Ragged(np.random.default_rng(0).random((12, 3)), [0, 7, 2], [2, 5, 5])
    module = torch.nn.LSTM(3, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        outputs, _ = module(to_packed(ragged))
    ours = rm.lstm(ragged, rm.LSTMWeights.from_torch(module.state_dict())).outputs
    for row, expected in zip(from_packed(outputs), ours, strict=True):
        np.testing.assert_allclose(row, expected, 1e-12, 1e-12)


def test_packing_steps_without_features():
    packed = to_packed(rm.Ragged(np.zeros((3, 0)), [0, 1], [1, 2]))
    assert packed.data.shape == (3, 0)
    assert from_packed(packed).lengths.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1], [], [2], []], r"row 1 is empty, .* r\[r.lengths > 0\]"),
        ([[]], "row 0 is empty"),
        ([], "one row at least; the batch has none"),
    ],
)
def test_what_cannot_be_packed_is_named(rows, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        to_packed(rm.Ragged.from_rows(rows))


def packed_by_hand(sizes, unsorted=None, data=None):
    """A PackedSequence that torch has not looked at."""
    data = torch.arange(6) if data is None else data
    unsorted = None if unsorted is None else torch.tensor(unsorted)
    return PackedSequence(data, torch.tensor([1]))._replace(
        batch_sizes=torch.tensor(sizes), unsorted_indices=unsorted
    )


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (packed_by_hand([2, 3, 1]), "batch_sizes grow after step 0, from 2 to 3"),
        (packed_by_hand([9, 9]), "batch_sizes count 18 steps, and packed.data has 6"),
        (packed_by_hand([3, 2]), "batch_sizes count 5 steps, and packed.data has 6"),
        (packed_by_hand([6, 0]), "batch_sizes must be 1 or more; got 0"),
        (packed_by_hand([7, -1]), "batch_sizes must be 1 or more; got -1"),
        (packed_by_hand([2**62] * 4), r"more than 2\*\*63 steps"),
        (packed_by_hand([[3, 3]]), "batch_sizes must have one dimension"),
        (packed_by_hand([3.0, 3.0]), "batch_sizes must be integers"),
        (packed_by_hand([3, 3], [0, 1]), "unsorted_indices must name each of 3 rows once"),
        (packed_by_hand([3, 3], [0, 1, 1]), "unsorted_indices must name each of 3 rows once"),
        (packed_by_hand([3, 3], [0, 1, 2**40]), "unsorted_indices must name each of 3 rows"),
        (packed_by_hand([3, 3], [0, 1, -1]), "unsorted_indices must name each of 3 rows"),
        (packed_by_hand([1], data=torch.tensor(5)), "packed.data is a single value"),
    ],
)
def test_a_hostile_packed_sequence_is_refused(packed, message):
    with pytest.raises(rm.RagmaskError, match=message):
        from_packed(packed)


def test_a_packed_sequence_of_nothing():
    nothing = PackedSequence(torch.empty(0, 2), torch.empty(0, dtype=torch.int64))
    assert len(from_packed(nothing)) == 0


@pytest.mark.parametrize("other", [torch.zeros(2, 3), (torch.zeros(2), torch.tensor([2])), None])
def test_only_a_packed_sequence_is_one(other):
    with pytest.raises(rm.UnsupportedTypeError, match="from_packed takes a PackedSequence; got"):
        from_packed(other)


# -- whose memory it is -------------------------------------------------------------------


@pytest.fixture
def mapped(tmp_path):
    np.arange(6, dtype=np.int64).tofile(tmp_path / "values")
    return lambda mode: np.memmap(tmp_path / "values", np.int64, mode)


def test_numpys_memory_is_shared():
    values = np.arange(6)
    jagged = to_jagged(rm.Ragged.from_offsets(values, [0, 2, 6]))
    assert jagged.values().data_ptr() == values.ctypes.data
    jagged.values()[0] = 99
    assert values[0] == 99


def test_a_tensors_memory_is_shared():
    values = torch.arange(6.0)
    jagged = to_jagged(rm.Ragged.from_offsets(values, [0, 2, 6]))
    assert jagged.values().data_ptr() == values.data_ptr()


def test_rows_end_to_end_inside_more_values_are_shared():
    values = np.arange(60).reshape(20, 3)
    jagged = to_jagged(rm.Ragged(values, [4, 6], [2, 5]))
    assert jagged.values().data_ptr() == values[4:].ctypes.data
    assert jagged.values().tolist() == values[4:11].tolist()


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_a_file_mapped_to_be_written_is_shared(mapped, mode):
    values = mapped(mode)
    jagged = to_jagged(rm.Ragged.from_offsets(values, [0, 2, 6]))
    assert jagged.values().data_ptr() == values.ctypes.data


def test_the_values_outlive_their_names():
    jagged = to_jagged(rm.Ragged.from_offsets(np.arange(100_000.0), [0, 10, 100_000]))
    np.full(100_000, 7.0)
    assert torch.equal(jagged.values(), torch.arange(100_000.0, dtype=torch.float64))


def marked_read_only(values):
    values.flags.writeable = False
    return values


READ_ONLY = {
    "an array marked read-only": lambda: marked_read_only(np.arange(6)),
    "bytes": lambda: np.frombuffer(np.arange(6).tobytes(), np.int64),
    "a buffer of Arrow": lambda: np.frombuffer(pa.array(range(6)).buffers()[1], np.int64, 6),
    "its memoryview": lambda: np.asarray(memoryview(pa.array(range(6)).buffers()[1])).view("i8")[
        :6
    ],
    "an array of Arrow": lambda: pa.array(range(6)).to_numpy(),
    "memory that is not aligned": lambda: np.frombuffer(bytearray(49), "u1")[1:].view(np.int64),
}


@pytest.mark.parametrize("make", READ_ONLY.values(), ids=READ_ONLY)
def test_memory_nobody_may_write_to_is_copied(make):
    values = make()
    before = values.tolist()
    ragged = rm.Ragged.from_offsets(values, [0, 2, 6])
    jagged = to_jagged(ragged)
    assert jagged.values().tolist() == before
    jagged.values().fill_(99)
    assert values.tolist() == before
    assert ragged.values.tolist() == before


def test_a_file_mapped_read_only_is_copied(mapped):
    values = mapped("r")
    to_jagged(rm.Ragged.from_offsets(values, [0, 2, 6])).values().fill_(99)
    assert values.tolist() == [0, 1, 2, 3, 4, 5]


def arrow_arrays():
    lists = pa.array([[1, 2], [], [3, 4, 5], [6]])
    computed = pa.ListArray.from_arrays(lists.offsets, pc.multiply(lists.values, 2))
    fixed = pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2))
    return [lists, lists[1:3], computed, fixed, pa.array([[True], [False]])]


@pytest.mark.parametrize("array", arrow_arrays(), ids=lambda array: str(array.type))
@pytest.mark.parametrize("pick", [slice(None), slice(1, 2), slice(None, None, -1)])
def test_nothing_written_to_a_tensor_reaches_arrow(array, pick):
    before = array.to_pylist()
    ragged = rm.Ragged.from_arrow(array)[pick]
    for tensor in (to_jagged(ragged).values(), to_padded(ragged)[0]):
        tensor.fill_(99)
    full = ragged[ragged.lengths > 0]
    if len(full):
        to_packed(full).data.fill_(99)
    assert array.to_pylist() == before


@given(RAGGEDS)
def test_padding_and_packing_share_no_memory_with_the_batch(ragged):
    before = ragged.values.tobytes()
    to_padded(ragged)[0].fill_(1)
    full = ragged[ragged.lengths > 0]
    if len(full):
        to_packed(full).data.fill_(1)
    assert ragged.values.tobytes() == before


def test_a_jagged_tensor_costs_no_copy_where_it_shares():
    ragged = large_batch()
    _, peak = traced_peak(lambda: to_jagged(ragged))
    assert peak < ragged.values.nbytes / 10


def test_rows_apart_are_copied_once():
    ragged = large_batch()[::-1]
    jagged, peak = traced_peak(lambda: to_jagged(ragged))
    assert ragged.values.nbytes < peak < 1.2 * ragged.values.nbytes
    assert jagged.values().numpy().tobytes() == ragged.compact().values.tobytes()


@pytest.mark.parametrize("pick", [slice(None), slice(500, None), slice(None, None, -1)])
def test_arrows_rows_are_copied_once(pick):
    ragged = rm.Ragged.from_arrow(large_batch().to_arrow())[pick]
    _, peak = traced_peak(lambda: to_jagged(ragged))
    copied = 8 * 16 * ragged.n_steps
    assert copied < peak < 1.2 * copied


@pytest.mark.parametrize("convert", [to_padded, to_packed])
def test_padding_and_packing_write_into_torchs_memory(convert):
    """Were there another copy, it would be numpy's, and counted."""
    ragged = large_batch()[::-1]
    _, peak = traced_peak(lambda: convert(ragged))
    assert peak < ragged.values.nbytes / 5


def test_unpacking_is_one_copy():
    ragged = large_batch()
    packed = to_packed(ragged)
    _, peak = traced_peak(lambda: from_packed(packed))
    assert ragged.values.nbytes < peak < 1.7 * ragged.values.nbytes  # with an index of each step


# -- what all refuse ----------------------------------------------------------------------


@pytest.mark.parametrize("convert", [to_jagged, to_packed])
def test_a_mask_is_never_dropped(convert):
    masked = rm.Ragged([1, 2], [0], [2], [True, True])
    with pytest.raises(rm.InvalidInputError, match=r"has no mask, .* or use to_padded"):
        convert(masked)
    assert to_padded(masked)[1].all()


@pytest.mark.parametrize("dtype", [*TIMES, "longdouble", "clongdouble"])
@pytest.mark.parametrize("convert", [to_jagged, to_padded, to_packed])
def test_a_dtype_torch_has_not_is_refused(convert, dtype):
    ragged = rm.Ragged(np.zeros(2, dtype), [0], [2])
    with pytest.raises(rm.UnsupportedTypeError, match=r"torch has no .*: convert .*astype\('"):
        convert(ragged)


@pytest.mark.parametrize("convert", [to_jagged, to_padded, to_packed])
@pytest.mark.parametrize("other", [np.zeros((2, 3)), torch.zeros(2, 3), [[1]], None])
def test_only_a_ragged_is_converted(convert, other):
    with pytest.raises(rm.UnsupportedTypeError, match="takes a Ragged; got"):
        convert(other)


def both_from(values):
    """The two ways from torch to here, of the same six steps."""
    return [
        lambda: from_jagged(jagged_of(values, [0, 2, 6])),
        lambda: from_packed(packed_by_hand([3, 3], data=values)),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(6, dtype=torch.bfloat16), r"torch.bfloat16 cannot be read .*\.float\(\)"),
        (torch.zeros(6, requires_grad=True), r"requires grad, .*\.detach\(\)"),
        (torch.zeros(6, device="meta"), r"lives on meta, .*\.cpu\(\)"),
        (torch.zeros(6, dtype=torch.complex64).conj(), r"cannot be read .*resolve_conj"),
    ],
)
@pytest.mark.parametrize("way", [0, 1], ids=["jagged", "packed"])
def test_a_tensor_that_cannot_be_read_is_refused(values, message, way):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        both_from(values)[way]()


# -- models -------------------------------------------------------------------------------


def lengthy_frames():
    """Rows of 3 features; the fourth is empty."""
    lengths = np.array([9, 1, 30, 0, 4])
    values = np.random.default_rng(0).standard_normal((lengths.sum(), 3)).astype("float32")
    return rm.Ragged(values, np.cumsum(lengths) - lengths, lengths)


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_an_lstm_as_a_model(num_layers, bidirectional, bias):
    torch.manual_seed(0)
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    module = torch.nn.LSTM(3, 5, dropout=0.3 * (num_layers > 1), batch_first=bias, **options).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight *= 3  # so that gates do not all stand half open
    model, frames = from_torch(module), lengthy_frames()
    assert type(model) is rm.layers.Sequential
    assert [type(layer) for layer in model.layers] == num_layers * [
        rm.layers.Bidirectional if bidirectional else rm.layers.LSTM
    ]
    counted = sum(weight.numel() for weight in module.parameters())
    assert model.count_params() == counted - bias * num_layers * (1 + bidirectional) * 20
    full = frames[frames.lengths > 0]
    exact = full.with_values(full.values.astype("float64"))
    outputs = model(frames)
    assert (outputs.dtype, outputs.lengths.tolist()) == (np.float32, frames.lengths.tolist())
    ours = outputs[frames.lengths > 0].compact().values
    with torch.no_grad():
        of_torch = from_packed(module(to_packed(full))[0]).values
        truth = from_packed(module.double()(to_packed(exact))[0]).values
    np.testing.assert_allclose(ours, of_torch, 2e-6, 2e-6)
    assert abs(ours - truth).max() <= abs(of_torch - truth).max() + 1e-6
    for padding in ("pre", "post"):
        padded = frames.to_padded(padding=padding)
        np.testing.assert_array_equal(model(padded).values[padded.mask], outputs.values)


def test_a_models_weights_are_copies():
    module = torch.nn.LSTM(3, 4)
    model, frames = from_torch(module), lengthy_frames()
    before = model(frames).values
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    np.testing.assert_array_equal(model(frames).values, before)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: torch.nn.GRU(3, 4), "takes an nn.LSTM; got GRU"),
        (lambda: torch.nn.LSTM(3, 4).state_dict(), "takes an nn.LSTM; got OrderedDict"),
        (lambda: torch.nn.LSTM(3, 4, proj_size=2), r"projection \(proj_size\) is not supported"),
        (lambda: torch.nn.LSTM(3, 4).double(), "weight_ih_l0 is torch.float64, .* module.float"),
        (lambda: torch.nn.LSTM(3, 4, device="meta"), "weight_ih_l0 lives on meta"),
    ],
)
def test_modules_that_cannot_be_layers(module, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        from_torch(module())
