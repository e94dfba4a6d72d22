"""Batches and ops on a device, whose memory is the host's here. The host's own ops are the oracle:
they are tested against the reference."""

from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragmask as rm
from ragmask.arrays.cuda_array import CudaArray
from ragmask.ops.pool import How
from tests.cuda import running
from tests.cuda.host_memory import OnDevice, as_device
from tests.strategies import FLOATS, padded_rows_of, raggeds, rows_of, with_normals
from tests.test_capsules import LISTS, ROWS, ArrowLender, Lender

VECTORS = raggeds(dtypes=("uint8",), item_shapes=[()], max_rows=5, max_steps=20)
IDS = raggeds(dtypes=("uint8", "int32", "int64"), item_shapes=[()], tame=True)
SIDES = st.sampled_from(["pre", "post"])


@pytest.fixture(autouse=True, scope="module")
def moved():
    """What was copied between host and device."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield as_device(monkeypatch)


def on_device(ragged):
    """The same view of the same values, there: gaps, overlaps and all."""
    arrays = ragged.values, ragged.starts, ragged.lengths, ragged.mask
    return rm.Ragged(*(None if array is None else OnDevice(array.copy()) for array in arrays))


def padded_on_device(padded):
    mask = None if padded.mask is None else OnDevice(padded.mask)
    return rm.Padded(OnDevice(padded.values), mask)


def host(given):
    """Anything that an op gave, on the host."""
    if isinstance(given, rm.Ragged | rm.Padded):
        assert given.device.startswith("cuda:")
        return given.to_host()
    assert isinstance(given, OnDevice)
    return given.array


def assert_same(found, expected, tolerance=0.0):
    found = host(found)
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(found, expected, tolerance, tolerance)
        return
    read = rows_of if isinstance(expected, rm.Ragged) else padded_rows_of
    assert (found.mask is None) == (expected.mask is None)
    assert read(found)[1] == read(expected)[1]
    if tolerance:
        found, expected = (
            one.compact().values if isinstance(one, rm.Ragged) else one.values
            for one in (found, expected)
        )
        np.testing.assert_allclose(
            found.astype(float), expected.astype(float), tolerance, tolerance
        )
    else:
        assert read(found)[0] == read(expected)[0]


@settings(running.few_examples, max_examples=3)
@given(raggeds())
def test_rows_go_there_and_come_back(ragged):
    for there in (ragged.to_device(), on_device(ragged)):
        assert (there.n_steps, there.max_length) == (ragged.n_steps, ragged.max_length)
        assert (len(there), there.dtype) == (len(ragged), ragged.dtype)
        assert there.item_shape == ragged.item_shape
        assert_same(there, ragged)
        assert_same(there.compact(), ragged)
        assert there.compact().is_compact
    assert on_device(ragged).is_compact == ragged.is_compact


@settings(running.few_examples, max_examples=3)
@given(raggeds(), st.integers(0, 8), SIDES, st.data())
def test_views_are_the_hosts(ragged, maxlen, side, data):
    there = on_device(ragged)
    assert_same(there.truncate(maxlen, side), ragged.truncate(maxlen, side))
    first, last = (data.draw(st.integers(-7, 7)) for _ in range(2))
    by = data.draw(st.sampled_from([1, 1, 2, -1, -3]))
    assert_same(there[first:last:by], ragged[first:last:by])
    rows = st.integers(-len(ragged), len(ragged) - 1)
    picked = np.array(data.draw(st.lists(rows, max_size=6)) if len(ragged) else [], np.int32)
    assert_same(there[OnDevice(picked)], ragged[picked])


@settings(running.few_examples, max_examples=3)
@given(raggeds(), SIDES, SIDES, st.sampled_from([None, 0, 3, 20]), st.sampled_from([None, 4]))
def test_padded_is_the_hosts(ragged, padding, truncating, maxlen, multiple_of):
    options = {"padding": padding, "truncating": truncating, "multiple_of": multiple_of}
    expected = ragged.to_padded(maxlen, **options)
    assert_same(on_device(ragged).to_padded(maxlen, **options), expected)
    out = (
        OnDevice(np.empty(expected.values.size, ragged.dtype)),
        OnDevice(np.empty(expected.mask.size, bool)),
    )
    assert_same(on_device(ragged).to_padded(maxlen, **options, out=out), expected)
    assert out[0].array.tobytes() == expected.values.tobytes()


@settings(running.few_examples, max_examples=3)
@given(raggeds())
def test_what_was_padded_is_read_back(ragged):
    padded = ragged.to_padded(multiple_of=3)
    values, mask = OnDevice(padded.values), OnDevice(padded.mask)
    assert_same(rm.Ragged.from_padded(values, mask), rm.Ragged.from_padded(*_parts(padded)))
    lengths = OnDevice(ragged.lengths.copy())
    expected = rm.Ragged.from_padded(padded.values, lengths=ragged.lengths)
    assert_same(rm.Ragged.from_padded(values, lengths=lengths), expected)
    assert_same(rm.Ragged.from_padded(values), rm.Ragged.from_padded(padded.values))


def _parts(padded):
    return padded.values, padded.mask


@settings(running.few_examples, max_examples=3)
@given(raggeds(compact=True))
def test_offsets_are_the_hosts(ragged):
    mask = None if ragged.mask is None else OnDevice(ragged.mask)
    offsets = OnDevice(ragged.offsets.astype(np.int32))
    there = rm.Ragged.from_offsets(OnDevice(ragged.values), offsets, mask)
    assert_same(there, ragged)
    assert host(there.offsets).tolist() == ragged.offsets.tolist()


@settings(running.few_examples, max_examples=3)
@given(VECTORS, st.sampled_from(FLOATS), st.sampled_from([(), (3,), (2, 2)]), st.data())
def test_ops_are_the_hosts(ragged, dtype, item_shape, data):
    batch = with_normals(ragged, dtype, item_shape)
    there = on_device(batch)
    tolerance = {"float16": 2e-3, "float32": 4e-6, "float64": 1e-12}[dtype]
    padded = batch.to_padded(multiple_of=2)
    dense = OnDevice(padded.values)
    how = data.draw(st.sampled_from(get_args(How)))
    assert_same(rm.temporal_softmax(there), rm.temporal_softmax(batch), tolerance)
    assert_same(rm.temporal_pool(there, how), rm.temporal_pool(batch, how), tolerance)
    assert_same(rm.masking(there, 0.5), rm.masking(batch, 0.5))
    on_padded = padded_on_device(padded)
    for op in (
        rm.temporal_softmax,
        rm.temporal_cumsum,
        lambda x: rm.temporal_pool(x, how),
        rm.masking,
    ):
        assert_same(op(on_padded), op(padded), tolerance)
        assert_same(op(dense), op(padded.values), tolerance)
    mask = np.random.default_rng(0).random(batch.n_steps) < 0.5
    expected = rm.temporal_softmax(batch, mask=mask)
    assert_same(rm.temporal_softmax(there, mask=OnDevice(mask)), expected, tolerance)


@settings(running.few_examples, max_examples=3)
@given(raggeds(), st.sampled_from([(), (3,)]))
def test_repeat_is_the_hosts(ragged, item_shape):
    values = np.arange(len(ragged) * int(np.prod(item_shape)), dtype=np.float32)
    values = values.reshape(len(ragged), *item_shape)
    expected = rm.temporal_repeat(values, ragged)
    assert_same(rm.temporal_repeat(OnDevice(values), on_device(ragged)), expected)
    padded = ragged.to_padded()
    expected = rm.temporal_repeat(values, padded)
    assert_same(rm.temporal_repeat(OnDevice(values), padded_on_device(padded)), expected)


def test_what_is_for_the_host_alone():
    there = on_device(rm.Ragged.from_rows([[1.0, 2.0], [3.0]]))
    masked = rm.masking(there, 2.0)
    for call in (
        lambda: rm.concatenate([there, there]),
        lambda: masked.drop_masked(),
        lambda: there[0, 1],
    ):
        with pytest.raises(rm.DeviceError, match="to_host"):
            call()
    with pytest.raises(rm.DeviceError, match="nothing is moved silently"):
        rm.temporal_repeat(np.zeros(2), there)
    assert there.drop_masked() is there


@settings(running.few_examples, max_examples=3)  # each of 20 sorts
@given(VECTORS, st.sampled_from(FLOATS), st.sampled_from([(), (3,)]), st.integers(0, 9))
def test_steps_are_put_in_order_as_on_the_host(ragged, dtype, item_shape, k):
    batch = with_normals(ragged, dtype, item_shape, 0.2)
    there, padded = on_device(batch), batch.to_padded(multiple_of=2)
    on_padded, dense = padded_on_device(padded), OnDevice(padded.values)
    for op in (
        rm.temporal_flip,
        rm.temporal_sort,
        rm.temporal_argsort,
        lambda x: rm.temporal_sort(x, descending=True),
        lambda x: rm.temporal_topk(x, k)[0],
        lambda x: rm.temporal_topk(x, k)[1],
    ):
        assert_same(op(there), op(batch))
        assert_same(op(on_padded), op(padded))
        assert_same(op(dense), op(padded.values))
    shifts = np.arange(len(batch)) - 3
    assert_same(there.roll(k), batch.roll(k))
    assert_same(there.roll(OnDevice(shifts)), batch.roll(shifts))


@settings(running.few_examples, max_examples=3)
@given(raggeds(dtypes=("int8", "uint16", "int64", "bool"), item_shapes=[(), (3,)]))
def test_integers_are_sorted_as_on_the_host(ragged):
    assert_same(rm.temporal_sort(on_device(ragged)), rm.temporal_sort(ragged))


@settings(running.few_examples, max_examples=3)
@given(IDS, st.booleans(), st.sampled_from([(), (3,), (4, 2)]))
def test_embedding_is_the_hosts(ids, mask_zero, item_shape):
    table = np.random.default_rng(0).standard_normal((100, *item_shape)).astype(np.float32)
    expected = rm.embedding(ids, table, mask_zero=mask_zero)
    assert_same(rm.embedding(on_device(ids), OnDevice(table), mask_zero=mask_zero), expected)


@settings(running.few_examples, max_examples=3)
@given(raggeds(dtypes=("int8", "uint16", "int64", "bool"), item_shapes=[(), (3,)]))
def test_integers_are_pooled_as_the_host_does(ragged):
    for how in ("sum", "mean", "max", "argmax", "std"):
        expected = rm.temporal_pool(ragged, how)
        assert_same(rm.temporal_pool(on_device(ragged), how), expected, 1e-12)


@settings(running.few_examples, max_examples=3)
@given(raggeds())
def test_spans_in_time_are_views_and_are_joined_again(ragged):
    parts = rm.temporal_split(on_device(ragged), 2, width=2 * ragged.max_length)
    expected = rm.temporal_split(ragged, 2, width=2 * ragged.max_length)
    for part, other in zip(parts, expected, strict=True):
        assert part._rows.values.pointer == parts[0]._rows.values.pointer
        assert_same(part, other)
    assert_same(rm.temporal_concat(parts), rm.temporal_concat(expected))
    padded = ragged.to_padded(multiple_of=2)
    parts, expected = rm.temporal_split(padded_on_device(padded)), rm.temporal_split(padded)
    for part, other in zip(parts, expected, strict=True):
        assert_same(part, other)
    assert_same(rm.temporal_concat(parts), rm.temporal_concat(expected))


def test_splitting_then_pooling_reads_the_halves_where_they_lie():
    padded = rm.Ragged.from_rows([np.arange(6.0), np.arange(4.0)]).to_padded()
    for part, other in zip(
        rm.temporal_split(padded_on_device(padded)), rm.temporal_split(padded), strict=True
    ):
        assert_same(rm.temporal_pool(part, "sum"), rm.temporal_pool(other, "sum"))


@pytest.mark.parametrize(
    ("op", "kind"),
    [(rm.lstm, rm.LSTMWeights), (rm.gru, rm.GRUWeights), (rm.rnn, rm.RNNWeights)],
)
@settings(running.few_examples, max_examples=3)
@given(VECTORS, st.sampled_from(FLOATS), st.booleans(), st.booleans(), st.booleans())
def test_recurrent_layers_are_the_hosts(
    op, kind, ragged, dtype, backwards, zero_output, with_states
):
    random = np.random.default_rng(0)
    columns = 2 * kind.cell.gates
    bias = np.ones((2, columns) if kind.cell.apart else columns)
    arrays = random.standard_normal((3, columns)), random.standard_normal((2, columns)), bias
    weights = kind(*(array.astype("float32") for array in arrays))
    batch = with_normals(ragged, dtype, (3,))
    states = None
    if with_states:
        shape = (kind.cell.states, len(batch), 2)
        states = list(random.standard_normal(shape).astype(dtype))
    options = {"go_backwards": backwards, "zero_output_for_mask": zero_output}
    expected = op(batch, weights, **options, initial_state=states)
    states = None if states is None else tuple(map(OnDevice, states))
    there, weights = on_device(batch), weights.to_device()
    found = op(there, weights, **options, initial_state=states)
    tolerance = {"float16": 2e-3, "float32": 4e-6, "float64": 1e-12}[dtype]
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other, tolerance)
    only_states = op(there, weights, outputs=False)
    assert only_states.outputs is None
    assert_same(only_states.h, op(batch, weights_on_host(weights)).h, tolerance)


def weights_on_host(weights):
    return type(weights)(weights.kernel, weights.recurrent_kernel, weights.bias)


BATCH = rm.Ragged.from_rows([[1.0, 2.0], [], [3.0]])


VECTOR = rm.Ragged.from_rows([[[1.0]]])
WEIGHTS = rm.LSTMWeights(np.ones((1, 4)), np.ones((1, 4)), np.ones(4))


def test_only_a_few_numbers_come_back(moved):
    ragged = rm.Ragged(np.arange(40.0), np.arange(0, 40, 10), np.full(4, 10))
    there = on_device(ragged)
    del moved[:]
    rm.temporal_softmax(there)
    rm.temporal_pool(there)
    there.to_padded()
    assert [nbytes for way, nbytes in moved if way == "to host"] == []
    on_device(ragged)
    assert [nbytes for way, nbytes in moved if way == "to host"] == [40]


def test_ids_are_checked_there():
    ids = rm.Ragged.from_rows([[1, 2], [], [0, 7]])
    table = OnDevice(np.zeros((7, 2)))
    with pytest.raises(rm.InvalidInputError, match="row 2, step 1: id 7 is outside the table"):
        rm.embedding(on_device(ids), table)
    masked = rm.Ragged(ids.values, ids.starts, ids.lengths, [True, True, True, False])
    assert host(rm.embedding(on_device(masked), table)).n_steps == 4


@pytest.mark.parametrize(
    ("starts", "lengths", "message"),
    [
        ([0, -1], [1, 1], "row 1 does not lie inside the values: its start -1 is negative"),
        ([0, 1], [1, -2], "row 1 .* its length -2 is negative"),
        ([0, 2, 1], [1, 2, 9], "row 1 .* covers steps 2 to 4, and there are 3"),
        ([2**62], [2**62], "row 0"),
        ([0], [1, 2], "equally long"),
    ],
)
def test_rows_outside_their_values_are_an_error(starts, lengths, message):
    arrays = np.zeros(3), np.array(starts), np.array(lengths)
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.Ragged(*map(OnDevice, arrays))


def test_mixed_devices_are_an_error_that_says_what_moves():
    there, mask = BATCH.to_device(), np.array([True, False, True])
    wrong = [
        lambda: rm.Ragged(OnDevice(BATCH.values.copy()), BATCH.starts, BATCH.lengths),
        lambda: rm.Ragged(BATCH.values, BATCH.starts, BATCH.lengths, OnDevice(mask)),
        lambda: rm.temporal_softmax(there, mask=mask),
        lambda: rm.temporal_softmax(BATCH, mask=OnDevice(mask)),
        lambda: rm.temporal_softmax(there, out=np.empty(3)),
        lambda: rm.temporal_softmax(BATCH, out=OnDevice(np.empty(3))),
        lambda: rm.embedding(rm.Ragged.from_rows([[1]]).to_device(), np.zeros((3, 2))),
        lambda: rm.embedding(rm.Ragged.from_rows([[1]]), OnDevice(np.zeros((3, 2)))),
        lambda: there.with_values(np.zeros(3)),
        lambda: rm.lstm(VECTOR, WEIGHTS.to_device()),
        lambda: rm.lstm(VECTOR.to_device(), WEIGHTS),
        lambda: there[np.array([0])],
        lambda: rm.Padded(np.zeros((1, 2)), OnDevice(np.ones((1, 2), bool))),
        lambda: rm.temporal_concat([there, BATCH]),
        lambda: there.to_padded(out=(np.empty(6), np.empty(6, bool))),
    ]
    for call in wrong:
        with pytest.raises(rm.DeviceError, match=r"to_device"):
            call()


def test_what_the_host_alone_can_do_says_so():
    there = BATCH.to_device()
    for call in (
        there.to_arrow,
        lambda: there[0],
        lambda: there + 1,
        lambda: there.to_padded() + 1,
        lambda: rm.Ragged.from_padded(OnDevice(np.zeros((1, 2))), value=0),
    ):
        with pytest.raises(rm.DeviceError, match=r"host|library"):
            call()


def test_memory_that_is_not_contiguous_is_an_error():
    values = np.zeros((4, 6), np.float32)
    with pytest.raises(rm.InvalidInputError, match=r"not contiguous .*pass a contiguous copy"):
        rm.Ragged(OnDevice(values[:, ::2]), OnDevice(np.array([0])), OnDevice(np.array([4])))
    with pytest.raises(rm.InvalidInputError, match="not contiguous"):
        rm.temporal_pool(OnDevice(np.zeros((2, 3, 4))[:, :, ::2]))


def test_contiguous_memory_with_strides_is_taken():
    class WithStrides(OnDevice):
        @property
        def __cuda_array_interface__(self):
            return {**super().__cuda_array_interface__, "strides": self.array.strides}

    there = rm.Ragged(
        *(WithStrides(np.array(a)) for a in (BATCH.values, BATCH.starts, BATCH.lengths))
    )
    assert_same(there, BATCH)


def test_no_rows_launch_nothing():
    none = rm.Ragged.from_rows([]).to_device()
    assert_same(rm.temporal_softmax(none), rm.temporal_softmax(rm.Ragged.from_rows([])))
    assert host(rm.temporal_pool(none)).shape == (0,)
    assert host(none.to_padded()).shape == (0, 0)


def test_a_batch_tells_where_it_is():
    there = BATCH.to_device()
    assert repr(there) == "Ragged(3 rows, 3 steps, float64, lengths to 2, on cuda:0)"
    assert repr(there.to_padded()) == "Padded(3 rows of 2 steps, float64, on cuda:0)"
    for batch in (there, there.to_padded()):
        assert "to_host() brings them here" in batch._repr_html_()
    assert (BATCH.device, BATCH.to_host(), there.to_device()) == ("cpu", BATCH, there)
    assert isinstance(there._rows.values, CudaArray)


@pytest.mark.parametrize("kind", LISTS)
def test_arrows_lists_on_a_device_are_the_hosts(kind):
    array = pa.array(ROWS, kind(pa.int64()))
    for part in (array, array[1:4], array[2:2]):
        found = host(rm.Ragged.from_arrow(ArrowLender(part)))
        assert rows_of(found) == rows_of(rm.Ragged.from_arrow(part))
    with pytest.raises(rm.InvalidInputError, match="row 2 is null"):
        rm.Ragged.from_arrow(ArrowLender(array), nulls="error")


def test_arrows_fixed_size_lists_on_a_device_are_the_hosts():
    array = pa.array([[1.5, 2.5], [3.5, 4.5], None], pa.list_(pa.float64(), 2))
    for part in (array, array[1:]):
        found = host(rm.Ragged.from_arrow(ArrowLender(part)))
        assert rows_of(found) == rows_of(rm.Ragged.from_arrow(part))


def test_arrows_lists_on_the_host_are_read_there():
    assert rm.Ragged.from_arrow(pa.array([[1], [2, 3]])).device == "cpu"


def test_what_speaks_only_dlpack_is_taken():
    arrays = BATCH.values.copy(), BATCH.starts.copy(), BATCH.lengths.copy()
    assert_same(rm.Ragged(*map(Lender, arrays)), BATCH)


def test_what_its_library_calls_read_only_is_not_written_to():
    class ReadOnly(OnDevice):
        @property
        def __cuda_array_interface__(self):
            interface = super().__cuda_array_interface__
            return {**interface, "data": (interface["data"][0], True)}

    rows = on_device(rm.Ragged.from_rows([[1.0, 2.0], [3.0]]))
    out = np.zeros(3)
    lent = Lender(out, flags=1)  # a capsule of DLPack says so too
    for given_out in (ReadOnly(out), lent):
        with pytest.raises(rm.InvalidInputError, match="out's values must be writable"):
            rm.temporal_softmax(rows, out=given_out)
    assert not out.any()
    flat = ReadOnly(np.zeros(8)), OnDevice(np.zeros(8, bool))
    with pytest.raises(rm.InvalidInputError, match="out's values must be writable"):
        rows.to_padded(out=flat)
    read = rm.Ragged(ReadOnly(np.arange(3.0)), *(OnDevice(np.array(a)) for a in ([0], [3])))
    assert host(rm.temporal_softmax(read)).to_rows()[0].size == 3
