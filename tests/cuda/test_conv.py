"""Convolution over time on CUDA, and its gradients."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.arrays.host import offsets_of
from ragmask.arrays.read_cuda import read_cuda_array
from ragmask.kernels import cpu, cuda
from ragmask.ops.conv import conv_gradient
from tests.cuda import running
from tests.cuda.host_memory import OnDevice, as_device
from tests.cuda.test_reductions import long_rows
from tests.strategies import forms, raggeds, with_normals

TOLERANCES = {"float32": 1e-4, "float64": 1e-12}
DTYPES = st.sampled_from([*TOLERANCES])
FEATURES = st.sampled_from([1, 3, 33, 70])
STEPS = {"dtypes": ("uint8",), "item_shapes": [()], "max_rows": 5, "max_steps": 40}
LAYOUTS, COMPACT = raggeds(**STEPS), raggeds(**STEPS, compact=True)
PLACES = st.sampled_from([(1, 0, 1), (4, 3, 1), (3, 1, 1), (3, 4, 2), (3, -2, -1), (2, 90, 90)])
GARBAGE, NAN = 77, np.nan


def normals(shape, dtype="float64", mask=None, seed=1):
    numbers = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    if mask is not None:
        numbers[~mask] = NAN
    return numbers


def arguments_of(batch, taps):
    (features,) = batch.item_shape
    weights, bias = normals((taps, features), batch.dtype), normals(features, batch.dtype)
    rows = batch.starts, batch.lengths, batch.mask
    return batch.values.reshape(-1), *rows, weights, bias


def conv(batch, taps, before, dilation):
    """What the kernel gives, and what its twin does."""
    out_starts = offsets_of(batch.lengths)[:-1]
    outs = np.full((2, batch.n_steps + 1, *batch.item_shape), GARBAGE, batch.dtype)
    given = *arguments_of(batch, taps), before, dilation, out_starts
    running.run(cuda.conv, len(batch), *given, outs[0].reshape(-1))
    cpu.conv(0, len(batch), *given, outs[1].reshape(-1))
    assert (outs[0, -1] == GARBAGE).all()
    return outs[:, :-1]


def weight_gradient(batch, taps, before, dilation, parts):
    gradient = normals(batch.values.shape, batch.dtype, batch.mask, 2)
    edges = np.arange(parts + 1) * len(batch) // max(parts, 1)
    outs = np.full((2, parts * (taps + 1), *batch.item_shape), GARBAGE, batch.dtype)
    rows = batch.starts, batch.lengths, batch.mask
    given = batch.values, *rows, gradient, before, dilation, edges[:-1], np.diff(edges)
    running.run(cuda.conv_weight_gradient, parts, *given, outs[0])
    cpu.conv_weight_gradient(0, parts, *given, outs[1])
    return outs


def check(found, expected):
    tolerance = TOLERANCES[str(found.dtype)]
    np.testing.assert_allclose(found, expected, tolerance, tolerance)


@running.few_examples
@given(LAYOUTS, DTYPES, FEATURES, PLACES)
def test_conv_is_its_twin(ragged, dtype, features, places):
    batch = with_normals(ragged, dtype, (features,))
    if batch.mask is not None:
        values = np.where(batch.mask[:, None], batch.values, NAN).astype(dtype)
        batch = rm.Ragged(values, batch.starts, batch.lengths, batch.mask)
    check(*conv(batch, *places))


@running.few_examples
@given(COMPACT, DTYPES, FEATURES, PLACES, st.sampled_from([1, 3]))
def test_weight_gradients_are_their_twins(ragged, dtype, features, places, parts):
    batch = with_normals(ragged, dtype, (features,))
    check(*weight_gradient(batch, *places, min(parts, len(batch))))


@pytest.mark.parametrize("features", [1, 40])
@pytest.mark.parametrize("masked", [False, True])
def test_a_block_takes_the_long_rows(features, masked):
    rows, masks = long_rows(features, {1: [30, 600, 0], 40: [5, 25, 0, 19]}[features])
    if not masked:
        masks = [mask | True for mask in masks]
    batch = forms(rows, masks, NAN)["compact"]
    check(*conv(batch, 4, 3, 1))
    check(*weight_gradient(batch, 3, 2, 2, 2))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_how_many_blocks_share_rows_changes_no_bit(monkeypatch, parts):
    """Of 70 features, which are 3 tiles, each takes some, or all, or none."""
    rows, masks = long_rows(70, [3, 0, 11, 6])
    batch = forms([row.astype(np.float32) for row in rows], masks, NAN)["compact"]

    def bits():
        return conv(batch, 4, 3, 1)[0].tobytes(), weight_gradient(batch, 4, 3, 1, 3)[0].tobytes()

    expected = bits()
    monkeypatch.setattr(sys.modules["ragmask.kernels.cuda.launch"], "parts_of", lambda *_: parts)
    assert bits() == expected


@pytest.fixture
def device(monkeypatch):
    as_device(monkeypatch)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(("kind", "dtype"), [("ragged", "float16"), ("padded", "float32")])
def test_arrays_on_a_device_are_convolved_there(dtype, kind):
    rows, masks = long_rows(3, [4, 0, 9, 2])
    batch = forms([row.astype(dtype) for row in rows], masks, 0)[
        "compact" if kind == "ragged" else "post"
    ]
    kernel, bias = normals((3, 3), dtype), normals(3, dtype)
    expected = rm.temporal_conv(batch, kernel, bias, causal=False)
    found = rm.temporal_conv(moved(batch), OnDevice(kernel), OnDevice(bias), causal=False)
    assert type(found) is type(expected)
    np.testing.assert_allclose(found.to_host().values, expected.values, 1e-3, 1e-3)
    with pytest.raises(rm.DeviceError, match="kernel on the host"):
        rm.temporal_conv(moved(batch), kernel)


def moved(batch):
    there = [None if one is None else OnDevice(np.array(one)) for one in (batch.values, batch.mask)]
    if isinstance(batch, rm.Padded):
        return rm.Padded(*there)
    places = OnDevice(batch.starts.copy()), OnDevice(batch.lengths.copy())
    return rm.Ragged(there[0], *places, there[1])


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("item_shape", [(), (3,)])
def test_arrays_on_a_device_have_the_hosts_gradients(item_shape):
    lengths = np.array([4, 0, 9, 2])
    values = normals((15, *item_shape), "float32")
    batch = rm.Ragged(values, np.cumsum(lengths) - lengths, lengths, np.arange(15) % 4 > 0)
    kernel, gradient = normals((3, *item_shape), "float32"), normals(values.shape, "float32")
    expected = conv_gradient(batch._rows, kernel, gradient, True, 1)
    there = (read_cuda_array(OnDevice(one), "x") for one in (kernel, gradient))
    found = conv_gradient(moved(batch)._rows, *there, True, 1)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one.to_host(), other, 1e-4, 1e-4)
