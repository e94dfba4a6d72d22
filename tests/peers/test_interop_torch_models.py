"""torch's modules as models: the same numbers."""

import numpy as np
import pytest
import torch

import ragmask as rm
from ragmask.interop.torch import from_packed, from_torch, to_packed


def lengthy_frames():
    """Rows of 3 features; the fourth is empty."""
    lengths = np.array([9, 1, 30, 0, 4])
    values = np.random.default_rng(0).standard_normal((lengths.sum(), 3)).astype("float32")
    return rm.Ragged(values, np.cumsum(lengths) - lengths, lengths)


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("module_class", "layer_class", "added"),
    [
        (torch.nn.LSTM, rm.layers.LSTM, 20),
        (torch.nn.GRU, rm.layers.GRU, 0),
        (torch.nn.RNN, rm.layers.SimpleRNN, 5),
    ],
)
def test_a_module_as_a_model(module_class, layer_class, added, num_layers, bidirectional, bias):
    """Of two biases that torch always adds, there is one: `added` numbers less."""
    torch.manual_seed(0)
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    dropout = 0.3 * (num_layers > 1)
    module = module_class(3, 5, dropout=dropout, batch_first=bias, **options).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight *= 2  # so that gates do not all stand half open
    model, frames = from_torch(module), lengthy_frames()
    assert type(model) is rm.layers.Sequential
    assert [type(layer) for layer in model.layers] == num_layers * [
        rm.layers.Bidirectional if bidirectional else layer_class
    ]
    counted = sum(weight.numel() for weight in module.parameters())
    assert model.count_params() == counted - bias * num_layers * (1 + bidirectional) * added
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
        (lambda: torch.nn.Linear(3, 4), "or an nn.LSTM, nn.GRU or nn.RNN; got Linear"),
        (lambda: torch.nn.RNN(3, 4, nonlinearity="relu"), "tanh', which .*; got 'relu'"),
        (lambda: torch.nn.LSTM(3, 4).state_dict(), "nn.RNN; got OrderedDict"),
        (lambda: torch.nn.LSTM(3, 4, proj_size=2), r"projection \(proj_size\) is not supported"),
        (lambda: torch.nn.LSTM(3, 4).double(), "weight_ih_l0 is torch.float64, .* module.float"),
        (lambda: torch.nn.LSTM(3, 4, device="meta"), "weight_ih_l0 lives on meta"),
    ],
)
def test_modules_that_cannot_be_layers(module, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        from_torch(module())
