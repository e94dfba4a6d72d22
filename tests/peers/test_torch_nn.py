"""Modules against torch's own, on packed rows and row by row: values, gradients, first weights."""

import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask import InvalidInputError, UnsupportedTypeError
from ragmask.data import JAPANESE_VOWELS
from tests.peers.ragged_tensors import (
    LENGTHS,
    assert_close,
    assert_same_bits,
    gradients,
    ragged_of,
    rows_of,
    spread,
)

KINDS = ["LSTM", "GRU", "RNN"]


def pair_of(kind, features, units, seed=0, dtype=torch.float64, **options):
    """Ours and torch's, with the same weights."""
    torch.manual_seed(seed)
    theirs = getattr(torch.nn, kind)(features, units, dtype=dtype, **options)
    options.pop("batch_first", None)
    ours = getattr(rt.nn, kind)(features, units, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def as_tuple(states):
    return states if isinstance(states, tuple) else (states,)


def row_by_row(module, x, hx=None):
    """Outputs (n_steps, …), 0 at masked steps, and last states: a row without steps has its first.

    torch's own module runs each row alone.
    """
    sides = 2 if module.bidirectional else 1
    shape = module.num_layers * sides, len(x), module.hidden_size
    count = 2 if isinstance(module, torch.nn.LSTM) else 1
    first = as_tuple(hx) if hx is not None else (x.values.new_zeros(shape),) * count
    outputs, last = [], []
    for number, row in enumerate(rows_of(x)):
        states = tuple(state[:, number] for state in first)
        if len(row):
            steps, ended = module(row, states if count == 2 else states[0])
            outputs.append(steps)
            last.append(as_tuple(ended))
        else:
            outputs.append(row.new_zeros(0, sides * module.hidden_size))
            last.append(states)
    return spread(x, outputs), *(torch.stack(list(state), 1) for state in zip(*last, strict=True))


def states_of(kind, layers, rows, units, seed=5):
    draws = torch.Generator().manual_seed(seed)
    made = [
        torch.randn(layers, rows, units, generator=draws, dtype=torch.float64).requires_grad_()
        for _ in range(2 if kind == "LSTM" else 1)
    ]
    return tuple(made) if kind == "LSTM" else made[0]


def run_ours(module, x, hx=None):
    outputs, last = module(x, hx)
    kept = 1 if x.mask is None else x.mask[:, None]
    return outputs.values * kept, *as_tuple(last)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("layers", "mask"), [(1, None), (1, 0.6), (3, None), (2, 0.5)])
@pytest.mark.parametrize("with_states", [False, True])
def test_values_and_all_gradients(kind, bias, bidirectional, layers, mask, with_states):
    options = {"num_layers": layers, "bias": bias, "bidirectional": bidirectional}
    ours, theirs = pair_of(kind, 3, 5, **options)
    x = ragged_of(mask=mask)
    hx = states_of(kind, layers * (1 + bidirectional), len(x), 5) if with_states else None
    inputs = [x.values, *(as_tuple(hx) if with_states else ())]
    results, expected = run_ours(ours, x, hx), row_by_row(theirs, x, hx)
    assert_close(results, expected)
    assert_close(
        gradients(results, [*inputs, *ours.parameters()]),
        gradients(expected, [*inputs, *theirs.parameters()]),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("features", "units"), [(1, 1), (4, 17), (12, 33)])
def test_on_packed_rows_of_japanese_vowels(kind, features, units):
    frames = rm.Ragged.from_arrow(pq.read_table(JAPANESE_VOWELS)["frames"])[::40].compact()
    frames = frames.with_values(frames.values[:, :features].astype("float64"))
    x = rt.RaggedTensor.from_ragged(frames)
    x = x.with_values(x.values.clone().requires_grad_())
    ours, theirs = pair_of(kind, features, units, bidirectional=True, batch_first=True)
    padded = pad_sequence(rows_of(x), batch_first=True)
    packed = pack_padded_sequence(padded, x.lengths, batch_first=True, enforce_sorted=False)
    steps, last = theirs(packed)
    dense = pad_packed_sequence(steps, batch_first=True)[0]
    expected = (
        torch.cat([row[:n] for row, n in zip(dense, x.lengths, strict=True)]),
        *as_tuple(last),
    )
    results = run_ours(ours, x)
    assert_close(results, expected)
    assert_close(
        gradients(results, [x.values, *ours.parameters()]),
        gradients(expected, [x.values, *theirs.parameters()]),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("used", ["outputs", "h", "c"])
def test_what_is_not_used_counts_as_0(kind, used):
    if used == "c" and kind != "LSTM":
        return
    ours, theirs = pair_of(kind, 3, 4)
    x, at = ragged_of(), ["outputs", "h", "c"].index(used)
    one, other = run_ours(ours, x)[at], row_by_row(theirs, x)[at]
    assert_close(
        gradients([one], [x.values, *ours.parameters()]),
        gradients([other], [x.values, *theirs.parameters()]),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_require_grad_gets_none(kind):
    """x alone, the weights alone, one weight alone, the states alone: the same bits as together."""
    x, ours = ragged_of(), getattr(rt.nn, kind)(3, 4, dtype=torch.float64)
    hx = states_of(kind, 1, len(x), 4)
    named = {"x": x.values, "hx": as_tuple(hx)[0], **dict(ours.named_parameters())}
    results = run_ours(ours, x, hx)
    whole = dict(zip(named, gradients(results, [*named.values()]), strict=True))
    for name in named:
        for other, tensor in named.items():
            tensor.requires_grad_(other == name)
        for state in as_tuple(hx)[1:]:
            state.requires_grad_(False)
        (alone,) = gradients(run_ours(ours, x, hx), [named[name]])
        assert alone.equal(whole[name])
    with torch.no_grad():
        assert not any(one.requires_grad for one in run_ours(ours, x, hx))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0], [1]])
def test_no_rows_and_empty_rows(kind, lengths):
    x, ours = ragged_of(lengths), getattr(rt.nn, kind)(3, 4, 2, bidirectional=True).double()
    outputs, *last = run_ours(ours, x)
    assert outputs.shape == (sum(lengths), 8)
    assert all(state.shape == (4, len(lengths), 4) for state in last)
    grads = gradients([outputs, *last], [x.values, *ours.parameters()])
    assert all(grad.isfinite().all() for grad in grads)
    if not sum(lengths):
        assert all((grad == 0).all() for grad in grads)


def test_no_features():
    x = ragged_of(item=(0,))
    ours, twin = rt.nn.GRU(0, 4).double(), rt.nn.GRU(1, 4).double()
    state = twin.state_dict() | {"weight_ih_l0": twin.weight_ih_l0[:, :0]}
    ours.load_state_dict(state)
    zeros = x.with_values(torch.zeros(x.n_steps, 1, dtype=torch.float64))
    assert_close(run_ours(ours, x), run_ours(twin, zeros))
    grads = gradients(run_ours(ours, x), [*ours.parameters()])
    assert [tuple(grad.shape) for grad in grads] == [tuple(one.shape) for one in ours.parameters()]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_do_not_depend_on_others_or_threads(kind):
    """Thousands of steps: a row's outputs and gradients are those it has alone, to the bit."""
    draws = torch.Generator().manual_seed(0)
    lengths = torch.randint(0, 60, (100,), generator=draws).tolist()
    x = ragged_of(lengths, (5,), dtype=torch.float32)
    module = getattr(rt.nn, kind)(5, 19, bidirectional=True)
    of_outputs = torch.randn(x.n_steps, 38, generator=draws)

    def run(order):
        picked = x[order]
        weights = x.with_values(of_outputs)[order].values
        outputs, _ = module(picked)
        of_x, *of_weights = torch.autograd.grad(
            outputs.values, [picked.values, *module.parameters()], weights
        )
        return picked.with_values(outputs.values.detach()), picked.with_values(of_x), of_weights

    threads = rm.get_num_threads(), torch.get_num_threads()
    try:
        whole = run(slice(None))
        for count in (1, 2, 5):
            rm.set_num_threads(count)
            torch.set_num_threads(count)
            again = run(slice(None))
            assert_same_bits([one.values for one in again[:2]], [one.values for one in whole[:2]])
            assert_same_bits(again[2], whole[2])
        backwards = torch.arange(99, -1, -1)
        outputs, of_x, of_weights = run(backwards)
        assert_same_bits(
            [outputs.values, of_x.values], [one[backwards].values for one in whole[:2]]
        )
        assert_close(of_weights, whole[2], 1e-3)
        some = [17, 3]
        outputs, of_x, _ = run(some)
        assert_same_bits([outputs.values, of_x.values], [one[some].values for one in whole[:2]])
    finally:
        rm.set_num_threads(threads[0])
        torch.set_num_threads(threads[1])


# -- parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_same_seed_gives_torchs_first_weights(kind, bias, bidirectional):
    options = {"num_layers": 2, "bias": bias, "bidirectional": bidirectional}
    torch.manual_seed(3)
    theirs = getattr(torch.nn, kind)(3, 5, **options).state_dict()
    torch.manual_seed(3)
    ours = getattr(rt.nn, kind)(3, 5, **options)
    assert list(ours.state_dict()) == list(theirs)
    assert_same_bits(ours.state_dict().values(), theirs.values())
    back = getattr(torch.nn, kind)(3, 5, **options)
    back.load_state_dict(ours.state_dict(), strict=True)


def test_embedding_is_torchs():
    torch.manual_seed(3)
    theirs = torch.nn.Embedding(7, 3)
    torch.manual_seed(3)
    ours = rt.nn.Embedding(7, 3)
    assert_same_bits(ours.state_dict().values(), theirs.state_dict().values())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ids = rt.RaggedTensor(torch.tensor([1, 6, 1, 0]), torch.tensor([0, 3, 3, 4]))
    vectors = ours(ids)
    assert vectors.values.equal(theirs(ids.values))
    assert_close(
        gradients([vectors.values], [ours.weight]),
        gradients([theirs(ids.values)], [theirs.weight]),
        1e-6,
    )


def test_dropout_between_layers_while_training_only():
    x, ours = ragged_of(dtype=torch.float32), rt.nn.LSTM(3, 4, 2, dropout=1.0)
    dropped, (h, _) = ours(x)
    assert not gradients([dropped.values], [x.values])[0].any()
    ours.eval()
    assert gradients([ours(x)[0].values], [x.values])[0].any()
    assert_same_bits([h[0]], [ours(x)[1][0][0]])  # the first layer's has none


def test_modules_are_copied_pickled_and_moved():
    import copy
    import pickle

    module, x = rt.nn.LSTM(3, 4, 2, bidirectional=True), ragged_of(dtype=torch.float32)
    expected = module(x)[0].values
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert other(x)[0].values.equal(expected)
    assert module.double()(x.to(torch.float64))[0].dtype == torch.float64
    assert repr(module) == "LSTM(3, 4, num_layers=2, bidirectional=True)"


# -- dtypes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_modules(kind, dtype):
    ours, x = getattr(rt.nn, kind)(3, 4).to(dtype), ragged_of(dtype=dtype)
    outputs, last = ours(x)
    results = outputs.values, *as_tuple(last)
    assert {one.dtype for one in results} == {dtype}
    grads = gradients(results, [x.values, *ours.parameters()])
    assert {one.dtype for one in grads} == {dtype}
    twin = getattr(rt.nn, kind)(3, 4)
    twin.load_state_dict(ours.state_dict())
    wide = twin(x.with_values(x.values.float()))[0].values
    assert outputs.values.equal(wide.to(dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_autocast(kind):
    """What autocast made is computed in float32, and given back as it came."""
    linear, ours = torch.nn.Linear(3, 6), getattr(rt.nn, kind)(6, 4)
    x, out = ragged_of(dtype=torch.float32), torch.nn.Linear(4, 2)
    targets = torch.zeros(x.n_steps, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = x.with_values(linear(x.values))
        assert hidden.dtype == torch.bfloat16
        outputs, last = ours(hidden)
        assert {one.dtype for one in (outputs, *as_tuple(last))} == {torch.bfloat16}
        assert ours(x.with_values(hidden.values.float()))[0].dtype == torch.float32
        assert rt.temporal_softmax(hidden).dtype == torch.bfloat16
        assert rt.temporal_pool(hidden).dtype == torch.bfloat16
        logits = x.with_values(out(outputs.values))
        loss = rt.cross_entropy(logits, targets)
        assert loss.dtype == torch.float32
        likely = x.with_values(logits.values.sigmoid())
        for other in (
            rt.mean_squared_error(logits, logits.values * 0),
            rt.binary_cross_entropy(likely, likely.values * 0),
            rt.binary_cross_entropy(logits, likely.values * 0, from_logits=True),
        ):
            assert other.dtype == torch.float32
            other.backward(retain_graph=True)
    loss.backward()
    for weight in (*linear.parameters(), *ours.parameters(), *out.parameters(), x.values):
        assert weight.grad.dtype == torch.float32
        assert weight.grad.any()


# -- hostile input -----------------------------------------------------------------------------


def test_what_does_not_fit_says_so():
    x, lstm, gru = ragged_of(dtype=torch.float32), rt.nn.LSTM(3, 4), rt.nn.GRU(3, 4)
    state = torch.zeros(1, len(LENGTHS), 4)
    for module, hx in (
        (lstm, state),
        (lstm, (state,)),
        (lstm, (state, state[:, :2])),
        (lstm, ([0.0], [0.0])),
        (gru, (state,)),
        (gru, state[0]),
    ):
        with pytest.raises((InvalidInputError, UnsupportedTypeError), match="hx"):
            module(x, hx)
    with pytest.raises(InvalidInputError, match=r"input_size is 3"):
        lstm(ragged_of(item=(2,), dtype=torch.float32))
    for wrong in (x.to(torch.float64), x.to(torch.int64)):
        with pytest.raises(UnsupportedTypeError, match=r"take x\.to\(torch\.float32\)"):
            lstm(wrong)
    with pytest.raises(UnsupportedTypeError, match=r"layer's \.to\(torch\.float32\)"):
        lstm.double()(x)
    with pytest.raises(UnsupportedTypeError, match=r"initial_state of torch.float64"):
        gru(x, state.double())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"proj_size": 2}, "no projection"),
        ({"batch_first": True}, "leave batch_first"),
        ({"dropout": 1.5}, "dropout"),
        ({"num_layers": 0}, "num_layers"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": 2.0}, "hidden_size"),
        ({"input_size": -1}, "input_size"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises((InvalidInputError, UnsupportedTypeError), match=words):
        rt.nn.LSTM(**{"input_size": 3, "hidden_size": 4, **options})
