"""The ops against torch, in float64: on masked dense arrays, and LSTMs on packed sequences."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS

GLOSSES = Path(__file__).parents[2] / "examples" / "data" / "wordnet_glosses.parquet"
LENGTHS = [7, 1, 12, 3, 3, 20, 9, 2]


def batch_of(lengths, features, dtype="float64", seed=0):
    lengths = np.asarray(lengths, np.int64)
    values = np.random.default_rng(seed).standard_normal((int(lengths.sum()), features))
    return rm.Ragged(values.astype(dtype), np.cumsum(lengths) - lengths, lengths)


def masked_padded(features):
    """A Padded with masked steps between kept ones; each row keeps one at least."""
    padded = batch_of(LENGTHS, features).to_padded()
    mask = padded.mask & (np.random.default_rng(1).random(padded.mask.shape) < 0.7)
    mask[:, 0] = True
    return rm.Padded(padded.values, mask)


def torch_lstm(features, units, layers=1, bidirectional=False, dtype=torch.float64):
    torch.manual_seed(0)
    return torch.nn.LSTM(
        features, units, layers, batch_first=True, bidirectional=bidirectional, dtype=dtype
    )


def packed_run(module, batch, state=None):
    """torch's outputs row after row without padding, and its last states."""
    padded = torch.from_numpy(batch.to_padded().values)
    lengths = torch.from_numpy(batch.lengths.copy())
    packed = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        outputs, last = module(packed, state)
    dense = pad_packed_sequence(outputs, batch_first=True)[0].numpy()
    steps = np.concatenate([row[:length] for row, length in zip(dense, batch.lengths, strict=True)])
    if not isinstance(last, tuple):  # of a GRU, or an RNN
        return steps, last.numpy()
    return steps, *(one.numpy() for one in last)


# -- the ops on masked arrays -------------------------------------------------------------


def test_embedding():
    table = torch.randn(11, 5, dtype=torch.float64)
    ids = rm.Ragged.from_rows([[1, 10, 0], [], [4]])
    expected = torch.nn.functional.embedding(torch.from_numpy(ids.values.copy()), table)
    np.testing.assert_array_equal(rm.embedding(ids, table).values, expected.numpy())


@pytest.mark.parametrize("features", [1, 3, 40])
def test_softmax(features):
    padded = masked_padded(features)
    scores = torch.from_numpy(padded.values)
    kept = torch.from_numpy(padded.mask)[..., None]
    expected = scores.masked_fill(~kept, -torch.inf).softmax(dim=1)
    soft = rm.temporal_softmax(padded)
    np.testing.assert_allclose(soft.values, expected.numpy(), 1e-14, 1e-14)


@pytest.mark.parametrize("features", [1, 3, 40])
def test_pooling(features):
    padded = masked_padded(features)
    values = torch.from_numpy(padded.values)
    kept = torch.from_numpy(padded.mask)[..., None]
    total = (values * kept).sum(dim=1)
    places = torch.arange(values.shape[1]) * kept[..., 0]
    expected = {
        "sum": total,
        "mean": total / kept.sum(dim=1),
        "max": values.masked_fill(~kept, -torch.inf).amax(dim=1),
        "first": values[:, 0],
        "last": values[torch.arange(len(values)), places.argmax(dim=1)],
    }
    for how, tensor in expected.items():
        np.testing.assert_allclose(rm.temporal_pool(padded, how), tensor.numpy(), 1e-13, 1e-13)


def test_split_and_concat():
    padded = batch_of(LENGTHS, 3).to_padded(multiple_of=4)
    values = torch.from_numpy(padded.values)
    parts = rm.temporal_split(padded, 4)
    for part, expected in zip(parts, torch.chunk(values, 4, dim=1), strict=True):
        np.testing.assert_array_equal(part.values, expected.numpy())
    np.testing.assert_array_equal(rm.temporal_concat(parts).values, values.numpy())


# -- LSTMs on packed sequences ------------------------------------------------------------


@pytest.mark.parametrize(("features", "units"), [(1, 1), (3, 17), (12, 40), (40, 33)])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_lstm_on_packed_sequences(features, units, layers, bidirectional):
    module = torch_lstm(features, units, layers, bidirectional)
    batch = batch_of(LENGTHS, features)
    expected, expected_h, expected_c = packed_run(module, batch)
    hs, cs = [], []
    for layer in range(layers):
        outputs = []
        for reverse in (False, True)[: 1 + bidirectional]:
            weights = rm.LSTMWeights.from_torch(module.state_dict(), layer, reverse)
            output, h, c = rm.lstm(batch, weights, go_backwards=reverse)
            outputs.append(output.values)
            hs.append(h)
            cs.append(c)
        batch = batch.with_values(np.concatenate(outputs, axis=1))
    np.testing.assert_allclose(batch.values, expected, 1e-12, 1e-12)
    np.testing.assert_allclose(np.stack(hs), expected_h, 1e-12, 1e-12)
    np.testing.assert_allclose(np.stack(cs), expected_c, 1e-12, 1e-12)


@pytest.mark.parametrize(("features", "units"), [(1, 1), (3, 17), (40, 33)])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("module_class", "op", "kind"),
    [(torch.nn.GRU, rm.gru, rm.GRUWeights), (torch.nn.RNN, rm.rnn, rm.RNNWeights)],
)
def test_gru_and_rnn_on_packed_sequences(
    module_class, op, kind, features, units, bidirectional, bias
):
    """From an initial state, and over two layers."""
    torch.manual_seed(0)
    options = {"batch_first": True, "bidirectional": bidirectional, "bias": bias}
    module = module_class(features, units, 2, **options, dtype=torch.float64)
    batch = batch_of(LENGTHS, features)
    sides = (False, True)[: 1 + bidirectional]
    state = torch.randn(2 * len(sides), len(batch), units, dtype=torch.float64)
    expected, last = packed_run(module, batch, state)
    for layer in range(2):
        outputs = []
        for reverse in sides:
            weights = kind.from_torch(module.state_dict(), layer, reverse)
            at = layer * len(sides) + reverse
            output, h = op(batch, weights, initial_state=state[at], go_backwards=reverse)
            outputs.append(output.values)
            np.testing.assert_allclose(h, last[at], 1e-12, 1e-12)
        batch = batch.with_values(np.concatenate(outputs, axis=1))
    np.testing.assert_allclose(batch.values, expected, 1e-12, 1e-12)


def test_lstm_from_an_initial_state_without_biases():
    module = torch.nn.LSTM(3, 5, bias=False, batch_first=True, dtype=torch.float64)
    values, h, c = torch.randn(4, 6, 3).double(), torch.randn(4, 5).double(), torch.randn(4, 5)
    with torch.no_grad():
        expected, (last_h, _) = module(values, (h[None], c.double()[None]))
    weights = rm.LSTMWeights.from_torch(module.state_dict())
    result = rm.lstm(values, weights, initial_state=(h, c))
    np.testing.assert_allclose(result.outputs, expected.numpy(), 1e-12, 1e-12)
    np.testing.assert_allclose(result.h, last_h[0].numpy(), 1e-12, 1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_lstm_over_the_japanese_vowels(reverse):
    table = pq.read_table(JAPANESE_VOWELS)
    column = next(
        name for name in table.column_names if str(table.schema.field(name).type).count("list") > 1
    )
    frames = rm.Ragged.from_arrow(table[column])
    assert (len(frames), frames.item_shape) == (640, (12,))
    frames = frames.with_values(frames.values.astype("float64"))
    module = torch_lstm(12, 32, bidirectional=True)
    expected, expected_h, _ = packed_run(module, frames)
    weights = rm.LSTMWeights.from_torch(module.state_dict(), reverse=reverse)
    result = rm.lstm(frames, weights, go_backwards=reverse)
    half = slice(32, 64) if reverse else slice(0, 32)
    np.testing.assert_allclose(result.outputs.values, expected[:, half], 1e-11, 1e-11)
    np.testing.assert_allclose(result.h, expected_h[int(reverse)], 1e-11, 1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lstm_over_embedded_wordnet_glosses(dtype):
    stream = rm.stream(GLOSSES, columns=["tokens"])
    vocabulary = rm.Vocabulary.build(stream, max_size=5_000)
    table = np.random.default_rng(0).standard_normal((len(vocabulary), 24)).astype(dtype)
    module = torch_lstm(24, 40, dtype=getattr(torch, dtype))
    weights = rm.LSTMWeights.from_torch(module.state_dict())
    tolerance = 1e-11 if dtype == "float64" else 2e-6
    for batch in stream.batch(rows=40_000):
        ids = vocabulary.encode(batch["tokens"])[::50]
        vectors = rm.embedding(ids, table)
        result = rm.lstm(vectors, weights)
        expected, expected_h, expected_c = packed_run(module, vectors)
        np.testing.assert_allclose(result.outputs.values, expected, tolerance, tolerance)
        np.testing.assert_allclose(result.h, expected_h[0], tolerance, tolerance)
        np.testing.assert_allclose(result.c, expected_c[0], tolerance, 2 * tolerance)


SHAPES = [(8, 16, 50), (12, 40, 20), (64, 128, 100), (128, 256, 60), (3, 17, 400)]


@pytest.mark.parametrize(("features", "units", "longest"), SHAPES)
def test_float32_errs_no_more_than_torchs(features, units, longest):
    """Against the same weights and steps in float64, by torch: 1.5 times, or float32's epsilon."""
    single = torch_lstm(features, units, dtype=torch.float32)
    double = torch_lstm(features, units)
    double.load_state_dict(single.state_dict())
    lengths = np.random.default_rng(0).integers(longest // 2, longest + 1, 12)
    batch = batch_of(lengths, features, "float32")
    oracle, *_ = packed_run(double, batch.with_values(batch.values.astype("float64")))
    theirs, *_ = packed_run(single, batch)
    ours = rm.lstm(batch, rm.LSTMWeights.from_torch(single.state_dict())).outputs.values
    our_error, their_error = (np.abs(steps - oracle).max() for steps in (ours, theirs))
    assert our_error <= max(1.5 * their_error, np.finfo(np.float32).eps)


# -- tensors ------------------------------------------------------------------------------


def test_tensors_are_taken_like_arrays():
    values = torch.randn(2, 3, 4)
    expected = rm.temporal_softmax(values.numpy())
    out = torch.empty(2, 3, 4)
    np.testing.assert_array_equal(rm.temporal_softmax(values, out=out), expected)
    np.testing.assert_array_equal(out.numpy(), expected)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert rm.temporal_pool(values, "sum", mask=mask)[1].tolist() == [0, 0, 0, 0]
    ids = torch.tensor([[1, 2], [0, 1]])
    assert rm.embedding(ids, values[0]).shape == (2, 2, 4)


WEIGHTS = rm.LSTMWeights(np.ones((4, 8)), np.ones((2, 8)), np.ones(8))
GRAD = torch.ones(2, 3, 4, requires_grad=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda: rm.temporal_softmax(GRAD),
        lambda: rm.temporal_pool(GRAD),
        lambda: rm.masking(GRAD),
        lambda: rm.temporal_split(GRAD, 3),
        lambda: rm.temporal_concat([GRAD, GRAD]),
        lambda: rm.lstm(GRAD, WEIGHTS),
        lambda: rm.lstm(GRAD.detach(), WEIGHTS, initial_state=(GRAD[:, 0, :2], GRAD[:, 0, :2])),
        lambda: rm.embedding(torch.zeros(1, 1, dtype=torch.int64), GRAD[0]),
        lambda: rm.temporal_softmax(GRAD.detach(), out=GRAD),
        lambda: rm.LSTMWeights.from_torch(dict(torch_lstm(2, 3).named_parameters())),
    ],
)
def test_a_tensor_that_requires_grad_is_refused(call):
    with pytest.raises(rm.UnsupportedTypeError, match=r"requires grad, .* forward only.*detach"):
        call()


def test_bfloat16_is_refused():
    with pytest.raises(rm.UnsupportedTypeError, match="cannot be read as a numpy array"):
        rm.temporal_softmax(torch.ones(1, 2, 3, dtype=torch.bfloat16))
