"""What every op makes of its input, of a mask by hand, and of `out`."""

import numpy as np
import pytest

import ragmask as rm
from tests.strategies import as_kind

VALUES = np.random.default_rng(0).standard_normal((3, 8, 2)).astype(np.float32)


@pytest.mark.parametrize(
    "dense",
    [
        VALUES[:, :5],
        VALUES[:, ::3],
        VALUES[:, ::8],
        VALUES[:, 3:4],
        VALUES[::2],
        VALUES[::-1],
        VALUES[:1, ::8],
        VALUES[..., ::-1],
        VALUES[..., :1],
        VALUES.transpose(1, 0, 2),
        np.asfortranarray(VALUES),
        np.broadcast_to(VALUES[0], (4, 8, 2)),
        np.lib.stride_tricks.sliding_window_view(VALUES[0, :, 0], 3),
        np.lib.stride_tricks.as_strided(VALUES, (4, 3, 2), (4, 8, 4), writeable=False),
        VALUES.astype(">f4"),
        np.zeros((0, 8, 2), np.float32),
        np.zeros((3, 0, 2), np.float32),
        np.zeros((3, 8, 0), np.float32),
        np.frombuffer(b"x" + VALUES.tobytes(), np.uint8)[1:].view(np.float32).reshape(3, 8, 2),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_arrays_of_any_strides(dense, masked):
    mask = np.random.default_rng(1).random(dense.shape[:2]) < 0.7 if masked else None
    same = np.ascontiguousarray(dense).astype(np.float32)
    kept = np.ones(dense.shape[:2]) if mask is None else mask
    expected = np.einsum("rs...,rs->r...", same, kept)
    pooled = rm.temporal_pool(dense, "sum", mask=mask)
    np.testing.assert_allclose(pooled, expected, 1e-5, 1e-5)
    np.testing.assert_array_equal(rm.temporal_pool(rm.Padded(dense, mask), "sum"), pooled)
    if same.size:
        np.testing.assert_array_equal(rm.masking(rm.Padded(dense)).values, same)


def by_hand(kind):
    """A batch, and the ways to pass its mask by hand."""
    ragged = rm.Ragged(VALUES[0], [3, 0, 7], [4, 2, 0])
    mask = np.array([True, False, True, False, True, True])
    if kind == "ragged":
        as_ragged = rm.Ragged(mask, [0, 4, 6], [4, 2, 0])
        spread = rm.Ragged(np.r_[mask[4:], True, mask[:4]], [3, 0, 0], [4, 2, 0])
        return ragged, mask, [mask, mask.tolist(), as_ragged, spread]
    padded = ragged.to_padded()
    dense = np.zeros((3, 4), bool)
    dense[0], dense[1, :2] = mask[:4], mask[4:]
    unwritable = dense.copy()
    unwritable.flags.writeable = False
    masks = [dense, dense.tolist(), unwritable, np.asfortranarray(dense), rm.Padded(dense)]
    return (padded if kind == "padded" else padded.values), dense, masks


@pytest.mark.parametrize("kind", ["ragged", "padded", "dense"])
def test_a_mask_by_hand_takes_the_place_of_ones_own(kind):
    batch, expected, masks = by_hand(kind)
    weights = rm.LSTMWeights(np.ones((2, 12)), np.ones((3, 12)), np.ones(12))
    pooled, softmaxes, states = [], [], []
    for mask in masks:
        soft = rm.temporal_softmax(batch, mask=mask)
        np.testing.assert_array_equal(soft.mask, expected)
        assert type(soft) is (rm.Ragged if kind == "ragged" else rm.Padded)
        pooled.append(rm.temporal_pool(batch, "sum", mask=mask))
        softmaxes.append(soft.values)
        states.append(rm.lstm(batch, weights, mask=mask).h)
    rows = VALUES[0][[[3, 5], [0, 1]]].sum(axis=1)
    np.testing.assert_allclose(pooled[0], [*rows, [0, 0]], 1e-6)
    for results in (pooled, softmaxes, states):
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])


def test_a_mask_that_is_masked_keeps_neither():
    ids = rm.Ragged([1, 2, 0, 3], [0], [4], [True, False, True, True])
    numbers = rm.Ragged([1.0, 2.0, 4.0, 8.0], [0], [4])
    assert rm.temporal_pool(numbers, "sum", mask=ids != 0).tolist() == [9]
    assert rm.temporal_pool(numbers.to_padded(), "sum", mask=ids.to_padded() != 0).tolist() == [9]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(5, bool), r"mask has shape \(5,\); its values need \(6,\)"),
        (np.ones((3, 4), bool), r"mask has shape \(3, 4\)"),
        (np.ones(6), "mask must be bool, True = keep; got float64"),
        (rm.Ragged(np.ones(6, int), [0, 4, 6], [4, 2, 0]), "mask must be bool"),
        (rm.Ragged(np.ones(6, bool), [0, 4], [4, 2]), "x and its mask have 3 and 2 rows"),
        (rm.Ragged(np.ones(6, bool), [0, 3, 6], [3, 3, 0]), "differ in row 0: 4 steps and 3"),
        (rm.Padded(np.ones((3, 4), bool)), "a Padded has values and a mask"),
    ],
)
@pytest.mark.parametrize("op", [rm.temporal_softmax, rm.temporal_pool])
def test_a_mask_that_does_not_fit_a_ragged_is_refused(op, mask, message):
    with pytest.raises(rm.RagmaskError, match=message):
        op(by_hand("ragged")[0], mask=mask)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(6, bool), r"mask has shape \(6,\); its values need \(3, 4\)"),
        (np.ones((3, 4, 2), bool), r"mask has shape \(3, 4, 2\)"),
        (np.ones((3, 4), int), "mask must be bool"),
        (rm.Ragged(np.ones(6, bool), [0, 4, 6], [4, 2, 0]), "a Ragged is no dense array"),
    ],
)
@pytest.mark.parametrize("kind", ["padded", "dense"])
def test_a_mask_that_does_not_fit_an_array_is_refused(kind, mask, message):
    with pytest.raises(rm.RagmaskError, match=message):
        rm.temporal_softmax(by_hand(kind)[0], mask=mask)


WEIGHTS = rm.LSTMWeights(np.ones((2, 12)), np.ones((3, 12)), np.ones(12))


def written_by(op, kind, out):
    batch = by_hand(kind)[0]
    if op == "embedding":
        ids = rm.Ragged([1, 0, 2, 5, 3, 1, 7, 4], [3, 0, 7], [4, 2, 0])
        return rm.embedding(as_kind(ids, kind), VALUES[0], out=out)
    if op == "softmax":
        return rm.temporal_softmax(batch, out=out)
    return rm.lstm(batch, WEIGHTS, out=out).outputs


@pytest.mark.parametrize("op", ["embedding", "softmax", "lstm"])
@pytest.mark.parametrize("kind", ["ragged", "padded", "dense"])
def test_out_is_written_to(op, kind):
    fresh = written_by(op, kind, None)
    wanted = fresh if kind == "dense" else fresh.values
    for out in (np.full_like(wanted, 7), np.full(wanted.size + 5, 7, np.float32)):
        result = written_by(op, kind, out)
        values = result if kind == "dense" else result.values
        np.testing.assert_array_equal(values, wanted)
        assert values.ctypes.data == out.ctypes.data
        assert (out.reshape(-1)[wanted.size :] == 7).all()


@pytest.mark.parametrize("op", ["embedding", "softmax", "lstm"])
@pytest.mark.parametrize("kind", ["ragged", "padded", "dense"])
def test_out_that_does_not_fit_is_refused(op, kind):
    fresh = written_by(op, kind, None)
    right = np.array(fresh if kind == "dense" else fresh.values)
    read_only = right.copy()
    read_only.flags.writeable = False
    bad = {
        "has shape": right[None],
        "holds": np.zeros(right.size - 1, np.float32),
        "has dtype float64": right.astype(np.float64),
        "has dtype int32": right.astype(np.int32),
        "must be writable and C-contiguous": read_only,
        r"writable and C-contiguous": np.zeros((*right.shape, 2), np.float32)[..., 0],
        "a Ragged is immutable": rm.Ragged.from_rows([[1.0]]),
    }
    for message, out in bad.items():
        with pytest.raises(rm.RagmaskError, match=message):
            written_by(op, kind, out)


def test_out_that_overlaps_its_input_is_refused():
    buffer = np.zeros((9, 2), np.float32)
    ragged = rm.Ragged(buffer[:6], [0, 2], [2, 4])
    with pytest.raises(rm.InvalidInputError, match="out overlaps"):
        rm.temporal_softmax(ragged, out=buffer[3:])
    with pytest.raises(rm.InvalidInputError, match="out overlaps"):
        rm.lstm(buffer[:6].reshape(2, 3, 2), WEIGHTS, out=buffer.reshape(-1))
    mask = buffer.view(bool).reshape(-1)[:6]
    with pytest.raises(rm.InvalidInputError, match="out overlaps"):
        rm.temporal_softmax(rm.Ragged(np.zeros((6, 2), "f4"), [0], [6], mask), out=buffer[:6])
