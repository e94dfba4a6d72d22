"""Whose memory a tensor and its batch have, and what may not be converted at all."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask.interop.torch import from_jagged, from_packed, to_jagged, to_packed, to_padded
from tests.memory import traced_peak
from tests.peers.tensors import RAGGEDS, jagged_of, packed_by_hand
from tests.strategies import TIMES


def large_batch():
    lengths = np.full(1000, 20)
    return rm.Ragged(np.random.default_rng(0).random((20_000, 16)), np.arange(1000) * 20, lengths)


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


NARROW = [torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn, torch.float8_e8m0fnu]


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("way", [0, 1], ids=["jagged", "packed"])
def test_floats_that_numpy_does_not_have_are_widened_exactly(dtype, way):
    size = dtype.itemsize
    bits = np.random.default_rng(0).integers(0, 256, (6, 50 * size), np.uint8)
    values = torch.from_numpy(bits).view(dtype)
    ragged = both_from(values)[way]()
    assert ragged.dtype == np.float32
    if way == 0:
        widened = torch.from_numpy(ragged.values.copy())
        again = widened.to(dtype).view(torch.uint8).numpy()
        kept = ~np.repeat(values.float().isnan().numpy(), size, axis=1)
        np.testing.assert_array_equal(again[kept], bits[kept])
    wider = both_from(values.float())[way]()
    for row, expected in zip(ragged, wider, strict=True):
        np.testing.assert_array_equal(row, expected)


@pytest.mark.parametrize(
    "read",
    [
        lambda values: rm.Ragged.from_offsets(values[0], [0, 2, 3]),
        rm.Padded,
        rm.Ragged.from_padded,
        rm.temporal_softmax,
        lambda values: rm.lstm(values, rm.LSTMWeights(*map(np.zeros, [(2, 4), (1, 4), 4]))),
        lambda values: rm.LSTMWeights(values[0], np.zeros((1, 4)), np.zeros(4)),
        lambda values: rt.RaggedTensor.from_padded(values).to_ragged(),
    ],
)
def test_what_is_not_copied_is_not_widened_in_silence(read):
    values = torch.zeros(3, 3, 2, dtype=torch.bfloat16)
    with pytest.raises(rm.UnsupportedTypeError, match=r"BFloat16.*\.float\(\)"):
        read(values)


def test_bfloat16_of_numpys_extensions_is_told_what_to_do():
    import ml_dtypes

    with pytest.raises(rm.UnsupportedTypeError, match=r"dtype bfloat16; .*astype\('float32'\)"):
        rm.Ragged.from_offsets(np.zeros(3, ml_dtypes.bfloat16), [0, 2, 3])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(6, dtype=torch.uint8).view(torch.bits8), r"torch.bits8 cannot be read "),
        (
            torch.zeros(6, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
            r"torch.float4_e2m1fn_x2 cannot be read ",
        ),
        (torch.zeros(6, requires_grad=True), r"requires grad, .*\.detach\(\)"),
        (torch.zeros(6, device="meta"), r"lives on meta, .*\.cpu\(\)"),
        (torch.zeros(6, dtype=torch.complex64).conj(), r"cannot be read .*resolve_conj"),
    ],
)
@pytest.mark.parametrize("way", [0, 1], ids=["jagged", "packed"])
def test_a_tensor_that_cannot_be_read_is_refused(values, message, way):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        both_from(values)[way]()
