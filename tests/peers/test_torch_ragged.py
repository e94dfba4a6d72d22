"""RaggedTensor: made from and into other forms, picked from, copied, and refused."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask import InvalidInputError, UnsupportedTypeError
from ragmask.errors import DeviceError, RowIndexError
from tests.peers.ragged_tensors import LENGTHS, assert_close, gradients, ragged_of


def same(one, other):
    """Two RaggedTensors of the same rows, mask and values."""
    masks = one.mask, other.mask
    return (
        one.values.equal(other.values)
        and one.offsets.equal(other.offsets)
        and ((masks[0] is masks[1]) if None in masks else masks[0].equal(masks[1]))
    )


# -- made from and into ------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_ragged_and_back_share_memory(masked):
    values = np.random.default_rng(0).standard_normal((6, 3))
    mask = np.array([True, False, True, True, True, False]) if masked else None
    ragged = rm.Ragged.from_offsets(values, [0, 2, 2, 6], mask)
    x = rt.RaggedTensor.from_ragged(ragged)
    assert x.values.data_ptr() == values.ctypes.data
    again = x.to_ragged()
    assert again.values.__array_interface__["data"][0] == x.values.data_ptr()
    assert again.offsets.tolist() == [0, 2, 2, 6]
    assert again.mask is None if mask is None else again.mask.tolist() == mask.tolist()


def test_from_views_of_rows():
    ragged = rm.Ragged.from_rows([[1, 2, 3], [4], [], [5, 6]])
    for view in (ragged[::-1], ragged[[3, 0, 0]], ragged[1:1], ragged.truncate(1), ragged[2:]):
        x = rt.RaggedTensor.from_ragged(view)
        assert [row.tolist() for row in x] == [row.tolist() for row in view]
        assert x.offsets[0] == 0
    with pytest.raises(UnsupportedTypeError, match="takes a Ragged"):
        rt.RaggedTensor.from_ragged(ragged.to_padded())
    times = rm.Ragged.from_rows([np.array([1], "M8[s]")])
    with pytest.raises(UnsupportedTypeError, match="torch has no datetime64"):
        rt.RaggedTensor.from_ragged(times)


def test_to_ragged_refuses_gradients():
    with pytest.raises(UnsupportedTypeError, match=r"detach\(\)\.to_ragged"):
        ragged_of().to_ragged()


def test_from_rows():
    rows = [torch.randn(n, 2) for n in LENGTHS]
    x = rt.RaggedTensor.from_rows(rows)
    assert all(row.equal(other) for row, other in zip(x, rows, strict=True))
    with pytest.raises(InvalidInputError, match="at least one row"):
        rt.RaggedTensor.from_rows([])
    with pytest.raises(UnsupportedTypeError, match="row 1 must be a tensor"):
        rt.RaggedTensor.from_rows([torch.ones(1), [2.0]])
    with pytest.raises(UnsupportedTypeError, match="row 0 must be a tensor"):
        rt.RaggedTensor.from_rows([torch.ones(())])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int16, torch.complex64])
@pytest.mark.parametrize("mask", [None, 0.6])
@pytest.mark.parametrize("width", [7, 10])
def test_padded_and_back(width, mask, dtype):
    x = ragged_of(mask=mask, grad=False)
    x = x.with_values((x.values * 9).to(dtype))
    padded, kept = x.to_padded(3, width=width)
    assert padded.shape == (6, width, 3)
    for number, row in enumerate(x):
        assert padded[number, : len(row)].equal(row)
        assert (padded[number, len(row) :] == 3).all()
    if mask is None:
        assert same(rt.RaggedTensor.from_padded(padded, kept), x)
        assert same(rt.RaggedTensor.from_padded(padded, lengths=x.lengths), x)
        shifted = rt.RaggedTensor.from_padded(padded.roll(width - 7, 1), kept.roll(width - 7, 1))
        assert shifted.values.equal(x.values)
        assert shifted.offsets.equal(x.offsets)
    else:
        back = rt.RaggedTensor.from_padded(padded, kept)
        kept_steps = [one.values if one.mask is None else one.values[one.mask] for one in (back, x)]
        assert kept_steps[0].equal(kept_steps[1])


def test_gradients_of_padding():
    x = ragged_of()
    padded, mask = x.to_padded(width=9)
    again = rt.RaggedTensor.from_padded(padded, mask)
    assert_close(gradients([again.values], [x.values]), gradients([x.values * 1], [x.values]))
    dense = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([2, 0, 4])
    (grad,) = torch.autograd.grad(
        rt.RaggedTensor.from_padded(dense, lengths=lengths).values.sum(), dense
    )
    assert grad[..., 0].equal((torch.arange(4) < lengths[:, None]).double())


def test_from_padded_says_what_does_not_fit():
    dense, full = torch.zeros(2, 3), torch.tensor([3, 3])
    make = rt.RaggedTensor.from_padded
    for lengths in ([4, 0], [1, -1]):
        with pytest.raises(InvalidInputError, match=r"row [01] has length (4|-1); .* width is 3"):
            make(dense, lengths=torch.tensor(lengths))
    for lengths in (full[:1], full[None], [3, 3], full.double(), full > 0, full + 0j):
        with pytest.raises((InvalidInputError, UnsupportedTypeError), match="lengths must be"):
            make(dense, lengths=lengths)
    for mask in (torch.ones(2, 3), torch.ones(3, 2) > 0):
        with pytest.raises(InvalidInputError, match=r"mask must be bool \(2, 3\)"):
            make(dense, mask)
    with pytest.raises(InvalidInputError, match="not both"):
        make(dense, dense == 0, lengths=full)
    for values in (dense[0], torch.ones(()), [[1.0]]):
        with pytest.raises(UnsupportedTypeError, match="from_padded takes a tensor"):
            make(values)
    for shape in ((0, 3), (2, 0), (0, 0, 4), (2, 0, 4)):
        assert make(torch.zeros(shape)).values.shape == (0, *shape[2:])
        assert make(torch.zeros(shape), torch.zeros(shape[:2]) > 0).n_steps == 0


# -- picks, against lists of rows ----------------------------------------------------------------

PICKS = [
    slice(None), slice(1, 4), slice(None, None, 2), slice(None, None, -1), slice(-1, 0, -2),
    slice(4, 1), slice(99), [2, 0, 2, -1], [], torch.tensor([5, 0]), torch.tensor([2]),
    torch.tensor([1, 0], dtype=torch.uint8), np.array([1, 1]), np.array([-6], np.int16),
    [True, False] * 3, np.array([False] * 6), torch.tensor([True, False, True] * 2), range(2, 5),
]  # fmt: skip


@pytest.mark.parametrize("pick", PICKS, ids=str)
@pytest.mark.parametrize("mask", [None, 0.6])
def test_picks(pick, mask):
    x = ragged_of(mask=mask)
    numbers = np.arange(6)[
        pick if isinstance(pick, slice) else np.asarray(pick, None if len(pick) else int)
    ]
    picked = x[pick]
    expected = [x.values[x.offsets[n] : x.offsets[n + 1]] for n in numbers.tolist()]
    assert picked.values.equal(torch.cat([x.values[:0], *expected]))
    assert picked.lengths.tolist() == [LENGTHS[n] for n in numbers]
    kept = torch.ones(x.n_steps, 1)
    if mask is not None:
        kept = x.mask[:, None].double()
        assert picked.mask.equal(
            torch.cat([x.mask[:0], *(x.mask[x.offsets[n] : x.offsets[n + 1]] for n in numbers)])
        )
    times = torch.zeros(x.n_steps, 1)
    for n in numbers:
        times[x.offsets[n] : x.offsets[n + 1]] += 1
    (grad,) = torch.autograd.grad(picked.values.sum(), x.values)
    assert grad.equal((times * kept).double().expand_as(grad))


@pytest.mark.parametrize("row", [2, -4, np.int64(2), np.uint8(2), np.array(2), torch.tensor(-4)])
def test_one_row(row):
    x = ragged_of()
    assert x[row].equal(x.values[4:11])
    assert gradients([x[row]], [x.values])[0][:4].count_nonzero() == 0
    assert [len(row) for row in x] == LENGTHS


def test_rows_that_are_not_there():
    x = ragged_of()
    for row in (6, -7, np.int64(6), 2**70):
        with pytest.raises(RowIndexError, match=rf"row {row} of a batch of 6 rows"):
            x[row]
    for rows in ([0, 6], torch.tensor([-7])):
        with pytest.raises(IndexError, match=r"out of bounds|out of range"):
            x[rows]
    with pytest.raises(InvalidInputError, match="one for each of 6 rows; got 2"):
        x[[True, False]]
    for rows in (
        [0.5],
        np.array([1.0]),
        torch.tensor([1.0]),
        1.0,
        "a",
        None,
        ...,
        (1, 2),
        [[1]],
        x,
    ):
        with pytest.raises(UnsupportedTypeError, match="rows are picked by"):
            x[rows]


@pytest.mark.parametrize("side", ["post", "pre"])
@pytest.mark.parametrize("maxlen", [0, 1, 3, 100, 2**70])
def test_truncate(maxlen, side):
    x = ragged_of()
    cut = x.truncate(maxlen, side)
    for row, other in zip(x, cut, strict=True):
        n = min(maxlen, len(row))
        assert other.equal(row[:n] if side == "post" else row[len(row) - n :])
    for bad in (-1, 1.5, None, True):
        with pytest.raises(InvalidInputError, match="maxlen"):
            x.truncate(bad)
    with pytest.raises(InvalidInputError, match="side"):
        x.truncate(1, "left")


# -- a pytree that is copied, saved and sent -----------------------------------------------------


@pytest.mark.parametrize("mask", [None, 0.6])
def test_pytree(mask):
    x = ragged_of(mask=mask)
    leaves, spec = pytree.tree_flatten({"x": [x]})
    assert leaves[0] is x.values
    assert leaves[1] is x.offsets
    assert same(pytree.tree_unflatten(leaves, spec)["x"][0], x)
    shapes = pytree.tree_map_only(torch.Tensor, lambda one: tuple(one.shape), x)
    assert (shapes.values, shapes.offsets) == ((15, 3), (7,))
    assert pytree.tree_map(lambda one: one, x).mask is x.mask
    assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec


@pytest.mark.parametrize("mask", [None, 0.6])
def test_copies_and_files(mask):
    x = ragged_of(mask=mask)
    file = io.BytesIO()
    torch.save({"x": x}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)["x"]
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="RaggedTensor"):
        torch.load(file)
    file.seek(0)
    with torch.serialization.safe_globals([rt.RaggedTensor]):
        trusted = torch.load(file)["x"]
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), loaded, trusted):
        assert same(other, x)
        assert other.values.data_ptr() != x.values.data_ptr()
        assert other.requires_grad
    assert copy.copy(x).values is x.values
    with pytest.raises(AttributeError):
        x.values = x.offsets


class Batches(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, number):
        return ragged_of([number, 2], grad=False, seed=number), number


@pytest.mark.parametrize("workers", [0, 2])
def test_dataloader(workers):
    loader = torch.utils.data.DataLoader(Batches(), batch_size=None, num_workers=workers)
    for number, (x, label) in enumerate(loader):
        assert same(x, ragged_of([number, 2], grad=False, seed=number))
        assert label == number


# -- what it says of itself -----------------------------------------------------------------------


def test_facts():
    x = ragged_of(mask=0.5)
    assert (len(x), x.n_steps, x.item_shape, x.dtype) == (6, 15, (3,), torch.float64)
    assert x.lengths.tolist() == LENGTHS
    assert repr(x) == (
        "RaggedTensor(6 rows, 15 steps, 3 float64, lengths 0–7, masked, requires grad)"
    )
    assert repr(ragged_of([], (), grad=False)) == "RaggedTensor(0 rows, 0 steps, float64)"
    assert "meta" in repr(x.to("meta"))
    assert x.to(torch.float32).dtype == torch.float32
    assert not x.detach().requires_grad
    assert x.with_mask(None).mask is None


# -- hostile input ------------------------------------------------------------------------------

VALUES, OFFSETS = torch.ones(5, 2), torch.tensor([0, 2, 5])


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ([0, 3, 2, 5], "decrease at row 1, from 3 to 2"),
        ([0, 2, 6], "run past the values in row 1"),
        ([0, 2**62, 2**63 - 1], "run past the values in row 0"),
        ([-1, 2, 5], "start at -1"),
        ([1, 2, 5], "go from 1 to 5"),
        ([0, 2, 4], "go from 0 to 4"),
        ([], "got none at all"),
        ([0], "go from 0 to 0"),
    ],
)
def test_offsets_that_do_not_fit(offsets, words):
    with pytest.raises(InvalidInputError, match=words):
        rt.RaggedTensor(VALUES, torch.tensor(offsets, dtype=torch.int64))


@pytest.mark.parametrize(
    "parts",
    [
        (VALUES, OFFSETS.int()),
        (VALUES, OFFSETS.double()),
        (VALUES, OFFSETS[None]),
        (VALUES, OFFSETS[0]),
        (VALUES[0, 0], OFFSETS),
        (VALUES.numpy(), OFFSETS),
        (VALUES.tolist(), OFFSETS),
        (VALUES, OFFSETS.tolist()),
        (VALUES, OFFSETS, [True] * 5),
        (None, OFFSETS),
        (VALUES, None),
        (rt.RaggedTensor(VALUES, OFFSETS), OFFSETS),
        (VALUES.to_sparse(), OFFSETS),
    ],
)
def test_parts_of_the_wrong_kind(parts):
    with pytest.raises(UnsupportedTypeError):
        rt.RaggedTensor(*parts)


def test_masks_and_devices_that_do_not_fit():
    for mask in (torch.ones(5), torch.ones(4) > 0, torch.ones(5, 2) > 0, torch.tensor(True)):
        with pytest.raises(InvalidInputError, match=r"mask must be bool \(5,\)"):
            rt.RaggedTensor(VALUES, OFFSETS, mask)
        with pytest.raises(InvalidInputError, match="mask must be bool"):
            rt.RaggedTensor(VALUES, OFFSETS).with_mask(mask)
    for parts in ((VALUES.to("meta"), OFFSETS), (VALUES, OFFSETS.to("meta"))):
        with pytest.raises(DeviceError, match="one device"):
            rt.RaggedTensor(*parts)
    x = rt.RaggedTensor(VALUES, OFFSETS)
    for values in (VALUES[:1], torch.ones(())):
        with pytest.raises((InvalidInputError, UnsupportedTypeError)):
            x.with_values(values)
    with pytest.raises(UnsupportedTypeError):
        x.with_values(x)
    with pytest.raises(UnsupportedTypeError):
        x.with_values([1.0] * 5)


def test_widths_that_are_too_large():
    x = rt.RaggedTensor(VALUES, OFFSETS)
    for width in (2**40, 2**62):
        with pytest.raises((InvalidInputError, MemoryError, RuntimeError)):
            x.to_padded(width=width)
    for width in (2**63, -1, 2.0, "3", 2):
        with pytest.raises(InvalidInputError, match="width"):
            x.to_padded(width=width)
    with pytest.raises(InvalidInputError, match=r"value 0\.5 does not fit"):
        x.with_values(VALUES.int()).to_padded(0.5)


def test_rows_of_nothing():
    for lengths in ([], [0], [0, 0]):
        x = ragged_of(lengths)
        assert x.to_padded()[0].shape == (len(lengths), 0, 3)
        assert x[:].n_steps == x.truncate(3).n_steps == 0
        assert rt.temporal_concat([x, x]).n_steps == 0
        assert [len(part) for part in rt.temporal_split(x, 2)] == [len(lengths)] * 2


def test_a_broken_pickle_is_found_by_the_ops():
    """Nothing is checked as it is loaded; whatever runs checks."""
    broken = ragged_of(grad=False)
    broken.offsets[2] = 2**40
    again = pickle.loads(pickle.dumps(broken))
    for call in (
        lambda: rt.temporal_pool(again),
        lambda: rt.temporal_softmax(again),
        lambda: again[:],
        lambda: again.to_padded(width=7),
        lambda: rt.nn.LSTM(3, 2).double()(again),
    ):
        with pytest.raises((InvalidInputError, MemoryError)):
            call()
