"""Convolutions as layers: rows in every layout, masks, what is refused, saved and trained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import layers
from ragmask.layers import convolution
from tests.strategies import forms

FEATURES = 4
LAYERS = {
    "conv": lambda **options: layers.Conv1D(6, **options),
    "groups": lambda **options: layers.Conv1D(6, groups=2, **options),
    "depthwise": layers.DepthwiseConv1D,
    "multiplied": lambda **options: layers.DepthwiseConv1D(depth_multiplier=2, **options),
}
PLACES = [
    {"kernel_size": 3},
    {"kernel_size": 4, "dilation_rate": 2},
    {"kernel_size": 3, "strides": 2},
    {"kernel_size": 1},
    {"kernel_size": 2, "strides": 5},
]
PADDINGS = ["valid", "same", "causal"]
NAN = np.nan

every_layer = pytest.mark.parametrize("name", LAYERS)
every_place = pytest.mark.parametrize("options", PLACES, ids=str)
every_padding = pytest.mark.parametrize("padding", PADDINGS)


def drawn(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def made(name, **options):
    """A layer with weights that are drawn."""
    layer = LAYERS[name](**options)
    layer.build((None, None, FEATURES))
    layer.set_weights([drawn(one.shape, 1) for one in layer.get_weights()])
    return layer


def plain(layer, row, keeps):
    """(output steps, mask) of one row, step by step; layer's kernel as that of a Conv1D."""
    kernel = layer.kernel
    if isinstance(layer, layers.DepthwiseConv1D):
        taps, features, multiplier = kernel.shape
        whole = np.zeros((taps, features, features * multiplier))
        for feature in range(features):
            made = slice(feature * multiplier, (feature + 1) * multiplier)
            whole[:, feature, made] = kernel[:, feature]
    else:
        taps, features, filters = kernel.shape
        groups = layer.groups
        whole = np.zeros((taps, features * groups, filters))
        for group in range(groups):
            own = slice(group * features, (group + 1) * features)
            made = slice(group * filters // groups, (group + 1) * filters // groups)
            whole[:, own, made] = kernel[:, :, made]
    span, stride = (taps - 1) * layer.dilation, layer.stride
    length = len(row)
    if layer.padding == "valid":
        firsts = range(0, length - span, stride)
    else:
        count = -(-length // stride)
        before = span if layer.padding == "causal" else 0
        if layer.padding == "same":
            before = max((count - 1) * stride + span + 1 - length, 0) // 2
        firsts = range(-before, count * stride - before, stride)
    outputs, mask = [], []
    for first in firsts:
        met = [first + tap * layer.dilation for tap in range(taps)]
        kept = [0 <= at < length and bool(keeps[at]) for at in met]
        own = first + (span // 2 if layer.padding == "same" else span)
        keep = all(kept) if layer.padding == "valid" else bool(keeps[own])
        total = layer.bias.astype(float) if keep else np.zeros(whole.shape[-1])
        for tap, at in enumerate(met):
            if keep and kept[tap]:
                total = total + row[at].astype(float) @ whole[tap]
        outputs.append(total)
        mask.append(keep)
    return np.array(outputs).reshape(len(outputs), whole.shape[-1]), mask


def batch_of(lengths, masked):
    rows = [drawn((length, FEATURES), length + 7) for length in lengths]
    masks = [np.random.default_rng(length).random(length) < 0.7 for length in lengths]
    if not masked:
        masks = [mask | True for mask in masks]
    return rows, masks


def rows_and_masks(batch):
    rows = batch.compact()
    cuts = np.cumsum(rows.lengths)[:-1]
    mask = np.ones(rows.n_steps, bool) if rows.mask is None else rows.mask
    return np.split(rows.values, cuts), np.split(mask, cuts)


@every_layer
@every_place
@every_padding
@pytest.mark.parametrize("masked", [False, True])
def test_rows_are_what_they_say_step_by_step(name, options, padding, masked):
    layer = made(name, padding=padding, **options)
    rows, masks = batch_of([5, 0, 1, 9, 3, 2, 8], masked)
    batch = forms(rows, masks, NAN)["view"]
    found = layer(batch)
    assert (found.mask is None) is not masked
    for out, mask, row, keeps in zip(*rows_and_masks(found), rows, masks, strict=True):
        expected, kept = plain(layer, row, keeps)
        assert mask.tolist() == kept
        np.testing.assert_allclose(out, expected, 1e-4, 1e-5)
    assert layer.compute_mask(batch, None) is None
    if masked:
        given = layer.compute_mask(batch, batch.compact().mask)
        assert given.values.tolist() == found.mask.tolist()


@every_layer
@every_padding
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    options=st.sampled_from([one for one in PLACES if "strides" not in one]),
    masked=st.booleans(),
)
def test_every_layout_of_the_same_rows_gives_the_same(name, padding, lengths, options, masked):
    """At their kept steps; without strides, which count from where a padded row begins."""
    layer = made(name, padding=padding, **options)
    batches = forms(*batch_of(lengths, masked), NAN)
    expected = kept_of(layer(batches.pop("compact")))
    for form, batch in batches.items():
        found = kept_of(layer(batch))
        assert [len(row) for row in found] == [len(row) for row in expected], form
        for row, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(row, other, 1e-4, 1e-5)
            if isinstance(layer, layers.DepthwiseConv1D):
                assert row.tobytes() == other.tobytes(), form


def kept_of(batch):
    if isinstance(batch, rm.Ragged):
        return [row[mask] for row, mask in zip(*rows_and_masks(batch), strict=True)]
    mask = np.ones(batch.values.shape[:2], bool) if batch.mask is None else batch.mask
    return [row[keep] for row, keep in zip(batch.values, mask, strict=True)]


@every_padding
@pytest.mark.parametrize("options", [{"dilation_rate": 2**60}, {"strides": 2**62}], ids=str)
def test_the_largest_numbers(options, padding):
    batch = rm.Ragged.from_offsets(drawn((5, FEATURES)), [0, 3, 3, 5])
    found = made("conv", kernel_size=2, padding=padding, **options)(batch)
    lengths = {"valid": [1, 0, 1] if "strides" in options else [0, 0, 0]}
    expected = lengths.get(padding, [1, 0, 1] if "strides" in options else [3, 0, 2])
    assert found.lengths.tolist() == expected


@every_layer
@pytest.mark.parametrize("padding", ["valid", "causal"])
def test_strides_of_what_is_padded_behind_are_those_of_rows(name, padding):
    layer = made(name, kernel_size=3, strides=2, padding=padding)
    batch = forms(*batch_of([5, 0, 1, 9, 4], False), NAN)["compact"]
    for row, other in zip(kept_of(layer(batch.to_padded(12))), kept_of(layer(batch)), strict=True):
        np.testing.assert_allclose(row, other, 1e-4, 1e-5)


@every_layer
@every_padding
def test_dense_arrays_stay_arrays_and_a_mask_by_hand_makes_them_padded(name, padding):
    layer = made(name, kernel_size=2, strides=3, padding=padding)
    x = drawn((3, 8, FEATURES))
    found = layer(x)
    assert isinstance(found, np.ndarray)
    assert found.shape == layer.compute_output_shape((3, 8, FEATURES))
    ragged = rm.Ragged(x.reshape(24, FEATURES), [0, 8, 16], [8, 8, 8])
    np.testing.assert_allclose(found.reshape(-1, found.shape[-1]), layer(ragged).values, 1e-5, 1e-6)
    mask = np.arange(24).reshape(3, 8) % 5 > 0
    masked = layer(x, mask=mask)
    assert isinstance(masked, rm.Padded)
    np.testing.assert_array_equal(masked.mask, layer.compute_mask(x, mask))
    assert layer.compute_output_shape((3, None, FEATURES))[1] is None


@every_layer
@every_padding
def test_rows_without_steps(name, padding):
    layer = made(name, kernel_size=3, padding=padding)
    empty = rm.Ragged.from_offsets(np.empty((0, FEATURES), "f4"), [0, 0, 0])
    assert layer(empty).lengths.tolist() == [0, 0]
    assert len(layer(empty[:0])) == 0
    assert layer(np.empty((0, 5, FEATURES), "f4")).shape[0] == 0
    assert layer(np.empty((2, 0, FEATURES), "f4")).shape[:2] == (2, 0)
    masked = rm.Padded(np.empty((2, 0, FEATURES), "f4"), np.empty((2, 0), bool))
    assert layer(masked).mask.shape == (2, 0)


def test_a_nan_stays_in_its_row():
    for name in LAYERS:
        layer = made(name, kernel_size=3, padding="same")
        values = drawn((9, FEATURES))
        expected = layer(rm.Ragged.from_offsets(values, [0, 4, 9])).values[4:]
        values[3] = NAN
        found = layer(rm.Ragged.from_offsets(values, [0, 4, 9])).values
        np.testing.assert_array_equal(found[4:], expected)
        assert np.isnan(found[2:4]).all()


def test_products_of_many_steps_are_made_in_blocks(monkeypatch):
    layer = made("groups", kernel_size=3, padding="same")
    batch = forms(*batch_of([9, 0, 30, 5], True), NAN)["compact"]
    expected = layer(batch).values
    monkeypatch.setattr(convolution, "_CHUNK", 3 * 7 * FEATURES)
    np.testing.assert_allclose(layer(batch).values, expected, 1e-5, 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@every_layer
def test_other_dtypes_than_float32(name, dtype):
    layer = LAYERS[name](kernel_size=2, padding="same", dtype=dtype)
    x = rm.Ragged.from_rows([drawn((3, FEATURES)), drawn((2, FEATURES), 2)])
    found = layer(x)
    assert found.dtype == dtype
    twin = made(name, kernel_size=2, padding="same")
    twin.set_weights(layer.get_weights())
    np.testing.assert_allclose(found.values, twin(x).values, 1e-2, 1e-2)
    whole = x.with_values(np.round(x.values).astype("int32"))
    assert layer(whole).dtype == dtype


@every_layer
def test_saved_and_loaded(name, tmp_path):
    entry = layers.Input((None, FEATURES))
    layer = LAYERS[name](kernel_size=[3], padding="same", activation="gelu", dilation_rate=(2,))
    model = layers.Model(entry, layer(entry))
    model.save(tmp_path / "model")
    again = layers.load_model(tmp_path / "model")
    batch = forms(*batch_of([5, 0, 3], True), 0)["compact"]
    assert again(batch).values.tobytes() == model(batch).values.tobytes()
    twin = type(layer).from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv1D(2, 0), "kernel_size must be at least 1"),
        (lambda: layers.Conv1D(2, (3, 3)), "kernel_size is one number, for time"),
        (lambda: layers.Conv1D(2, 3.0), "kernel_size is a number"),
        (lambda: layers.Conv1D(2, 3, strides=-1), "strides must be at least 1"),
        (lambda: layers.Conv1D(2, 3, strides=2, dilation_rate=2), "one of them is to be 1"),
        (lambda: layers.Conv1D(2, 3, dilation_rate=2**62), "more than can be counted"),
        (lambda: layers.Conv1D(2, 3, strides=2**64), "strides must be at most"),
        (lambda: layers.Conv1D(2, 3, padding="full"), "padding must be one of"),
        (lambda: layers.Conv1D(2, 3, padding=None), "padding must be one of"),
        (lambda: layers.Conv1D(0, 3), "filters must be at least 1"),
        (lambda: layers.Conv1D(3, 3, groups=2), "3 filters cannot be cut into 2 groups"),
        (lambda: layers.Conv1D(6, 3, groups=3)(drawn((1, 3, 4))), "4 features .* into 3 groups"),
        (lambda: layers.Conv1D(2, 3, data_format="channels_first"), "come before their features"),
        (lambda: layers.Conv1D(2, 3, lora_rank=2), "lora_rank=2 is for Keras"),
        (lambda: layers.Conv1D(2, 3, "valid"), "strides is a number"),
        (lambda: layers.DepthwiseConv1D(3, depth_multiplier=0), "depth_multiplier must be at"),
        (lambda: layers.DepthwiseConv1D(3)(drawn((2, 3))), "takes steps of features"),
        (lambda: layers.DepthwiseConv1D(3)(drawn((2, 3, 4, 5))), "takes steps of features"),
        (lambda: made("conv", kernel_size=2)(drawn((1, 3, 5))), "was built for inputs of shape"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError), match=message):
        make()
