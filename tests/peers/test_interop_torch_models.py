"""torch's modules as models: the same numbers."""

from collections import OrderedDict

import numpy as np
import pytest
import torch

import ragmask as rm
import ragmask.interop.torch as rt
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


@pytest.mark.parametrize("bias", [False, True])
def test_attention_of_steps_to_their_own_row(bias):
    torch.manual_seed(0)
    module = torch.nn.MultiheadAttention(6, 2, bias=bias, batch_first=True).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_()
    values = np.random.default_rng(0).standard_normal((lengthy_frames().n_steps, 6))
    frames = lengthy_frames().with_values(values.astype("float32"))
    found = from_torch(module)(frames)
    padded = frames[frames.lengths > 0].to_padded()
    x, mask = torch.from_numpy(padded.values), torch.from_numpy(padded.mask)
    with torch.no_grad():
        expected, _ = module(x, x, x, key_padding_mask=~mask)
    assert found.lengths.tolist() == frames.lengths.tolist()
    np.testing.assert_allclose(found.values, expected[mask].numpy(), 1e-4, 1e-5)


def test_a_models_weights_are_copies():
    module = torch.nn.LSTM(3, 4)
    model, frames = from_torch(module), lengthy_frames()
    before = model(frames).values
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    np.testing.assert_array_equal(model(frames).values, before)


def row_by_row(module, row):
    """What torch's modules give for one row, each taking the first of what the last one gave."""
    for inner in module:
        row = row_by_row(inner, row) if isinstance(inner, torch.nn.Sequential) else inner(row)
        row = row[0] if isinstance(row, tuple) else row
    return row


def tagger(**options):
    lstm = torch.nn.LSTM(6, 5, **options)
    return torch.nn.Sequential(
        torch.nn.Embedding(40, 6), lstm, torch.nn.Linear(5 * (1 + lstm.bidirectional), 3)
    )


shared = torch.nn.Linear(4, 4)
SEQUENTIALS = {
    "the issue's": lambda: tagger(),
    "batch first": lambda: tagger(batch_first=True),
    "deep": lambda: tagger(num_layers=2, bidirectional=True, dropout=0.5),
    "no bias": lambda: tagger(bias=False),
    "gru": lambda: torch.nn.Sequential(torch.nn.Embedding(40, 6), torch.nn.GRU(6, 4)),
    "rnn": lambda: torch.nn.Sequential(torch.nn.Embedding(40, 6), torch.nn.RNN(6, 4)),
    "inside": lambda: torch.nn.Sequential(
        torch.nn.Embedding(40, 4),
        torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Dropout(0.9)),
        torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Tanh()),
        torch.nn.GELU(),
    ),
    "shared": lambda: torch.nn.Sequential(torch.nn.Embedding(40, 4), shared, shared),
    "named": lambda: torch.nn.Sequential(
        OrderedDict(
            words=torch.nn.Embedding(40, 6),
            both=torch.nn.LSTM(6, 5, bidirectional=True),
            again=torch.nn.GRU(10, 5, bidirectional=True),
            head=torch.nn.Linear(10, 2),
            shares=torch.nn.Softmax(-1),
            as_is=torch.nn.Identity(),
            last=torch.nn.Sigmoid(),
        )
    ),
    "frames": lambda: torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(6, 2)),
}


@pytest.mark.parametrize("make", SEQUENTIALS.values(), ids=SEQUENTIALS)
def test_a_sequential_gives_what_torch_gives_row_by_row(make, tmp_path):
    torch.manual_seed(3)
    module = make().eval()
    rng = np.random.default_rng(1)
    lengths = np.array([7, 1, 19, 0, 4])
    takes_ids = any(isinstance(inner, torch.nn.Embedding) for inner in module)
    values = rng.integers(0, 40, 31) if takes_ids else rng.standard_normal((31, 6), np.float32)
    rows = rm.Ragged(values, np.cumsum(lengths) - lengths, lengths)
    model = from_torch(module)
    model.save(tmp_path / "model")
    outputs = rm.layers.load_model(tmp_path / "model")(rows)
    assert outputs.lengths.tolist() == lengths.tolist()
    with torch.no_grad():
        for ours, row in zip(outputs, rows, strict=True):
            if len(row):
                theirs = row_by_row(module, torch.tensor(np.array(row)))
                np.testing.assert_allclose(ours, theirs, 2e-6, 2e-6)


def test_a_padding_idx_of_0_masks():
    module = torch.nn.Sequential(torch.nn.Embedding(9, 4, padding_idx=0), torch.nn.LSTM(4, 3))
    ids = rm.Ragged.from_rows([[3, 8, 0, 0], [5, 1]])
    outputs = from_torch(module)(ids)
    assert outputs.mask.tolist() == [True, True, False, False, True, True]
    short = from_torch(module)(ids.truncate(2))
    np.testing.assert_array_equal(outputs.values[outputs.mask], short.values)


def test_modules_of_ragmask_in_torchs_sequential():
    module = torch.nn.Sequential(rt.nn.Embedding(9, 4, mask_zero=True), rt.nn.GRU(4, 3))
    ids = rm.Ragged.from_rows([[3, 8, 0, 4], [5, 1]])
    x = module[0](rt.RaggedTensor.from_ragged(ids))
    theirs = module[1](x)[0].values.detach()
    np.testing.assert_allclose(from_torch(module)(ids).values, theirs, 1e-6, 1e-6)


def hooked():
    module = tagger()
    module[1].register_forward_hook(lambda *_: None)
    return module


class Own(torch.nn.Sequential):
    def forward(self, x):
        return self[0](x)


def after(*modules):
    return torch.nn.Sequential(torch.nn.Embedding(9, 4), *modules)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: after(torch.nn.Flatten()), r"module '1' \(Flatten\) is none of .*unequal numbers"),
        (lambda: after(torch.nn.Sequential(torch.nn.LayerNorm(4))), r"'1.0' \(LayerNorm\) is none"),
        (lambda: after(torch.nn.Softmax(1)), "'1' .*dim=1; -1 is known"),
        (lambda: after(torch.nn.Softmax()), "'1' .*dim=None; -1 is known"),
        (lambda: after(torch.nn.GELU("tanh")), "approximate='tanh'; 'none' is known"),
        (lambda: after(torch.nn.RNN(4, 3, nonlinearity="relu")), "nonlinearity='tanh'.*got 'relu'"),
        (lambda: after(torch.nn.LSTM(4, 3, proj_size=2)), r"projection \(proj_size\)"),
        (lambda: after(torch.nn.Linear(4, 3).double()), r"1\.weight is torch.float64"),
        (lambda: after(torch.nn.Linear(4, 3, device="meta")), "1.weight lives on meta"),
        (lambda: torch.nn.Sequential(torch.nn.Embedding(9, 4, padding_idx=3)), "padding_idx=3; 0 "),
        (lambda: torch.nn.Sequential(torch.nn.Embedding(9, 4, max_norm=1.0)), "has max_norm"),
        (hooked, r"'1' \(LSTM\) has hooks"),
        (lambda: Own(torch.nn.Linear(3, 4)), r"\(Own\) has a forward\(\) of its own"),
        (lambda: after(torch.nn.ModuleList()), r"\(ModuleList\) is none of"),
    ],
)
def test_sequentials_that_cannot_be_models(module, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        from_torch(module())


@pytest.mark.parametrize("modules", [[], [torch.nn.ReLU()]])
def test_a_sequential_that_does_not_say_what_a_step_is(modules):
    with pytest.raises(rm.InvalidInputError, match="begin with an Embedding"):
        from_torch(torch.nn.Sequential(*modules))


def test_modules_that_do_not_fit_each_other():
    with pytest.raises(rm.InvalidInputError, match=r"'linear_1'.* has shape"):
        from_torch(after(torch.nn.Linear(5, 3)))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: torch.nn.Linear(3, 4), "nn.RNN or nn.MultiheadAttention; got Linear"),
        (lambda: torch.nn.RNN(3, 4, nonlinearity="relu"), "tanh', which .*; got 'relu'"),
        (lambda: torch.nn.LSTM(3, 4).state_dict(), "nn.MultiheadAttention; got OrderedDict"),
        (lambda: torch.nn.LSTM(3, 4, proj_size=2), r"projection \(proj_size\) is not supported"),
        (lambda: torch.nn.LSTM(3, 4).double(), "weight_ih_l0 is torch.float64, .* module.float"),
        (lambda: torch.nn.LSTM(3, 4, device="meta"), "weight_ih_l0 lives on meta"),
        (lambda: torch.nn.MultiheadAttention(4, 2, kdim=3), "without kdim or vdim"),
        (lambda: torch.nn.MultiheadAttention(4, 2, add_bias_kv=True), "without add_bias_kv"),
        (lambda: torch.nn.MultiheadAttention(4, 2, add_zero_attn=True), "without add_zero_attn"),
    ],
)
def test_modules_that_cannot_be_layers(module, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        from_torch(module())
