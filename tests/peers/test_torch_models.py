"""Models of layers, trained as torch modules and brought back."""

import copy

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask.cli.app import app
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.torch import trained
from ragmask.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Add,
    Attention,
    Average,
    Bidirectional,
    Concatenate,
    Conv1D,
    Dense,
    DepthwiseConv1D,
    Dropout,
    Embedding,
    GRUCell,
    Input,
    Layer,
    Masking,
    Maximum,
    Minimum,
    Model,
    MultiHeadAttention,
    Multiply,
    Sequential,
    SimpleRNN,
    Subtract,
    TemporalConcat,
    TemporalPool,
    TemporalSoftmax,
    TemporalSplit,
)

FEATURES, VOCABULARY = 4, 9
MERGING = Subtract, Average, Maximum, Minimum, Multiply
LENGTHS = np.array([3, 0, 5, 1, 4])


def frames():
    """Vectors, some of whose steps are masked or zeros."""
    random = np.random.default_rng(0)  # other masks could leave a convolution without a step
    values = random.normal(size=(LENGTHS.sum(), FEATURES)).astype(np.float32)
    values[::5] = 0
    ragged = rm.Ragged.from_offsets(values, np.cumsum([0, *LENGTHS]))
    return rm.Ragged(ragged.values, ragged.starts, LENGTHS, random.random(len(values)) < 0.8)


def ids():
    values = np.random.default_rng(0).integers(0, VOCABULARY, LENGTHS.sum())
    return rm.Ragged.from_offsets(values, np.cumsum([0, *LENGTHS]))


def of_frames(build):
    x = Input((None, FEATURES), name="frames")
    return Model(x, build(x)), frames()


def of_ids(build):
    x = Input((None,), dtype="int64", name="ids")
    return Model(x, build(x)), ids()


def branches(x):
    one, other = Dense(6, "tanh")(Masking()(x)), Dense(6)(Masking()(x))
    both = Concatenate()([one, other])
    rows, unlike = TemporalPool("mean")(one), Dense(6)(x)
    return {
        "sum": Add()([one, other]),
        **{kind.__name__: kind()([one, unlike]) for kind in MERGING},
        "with rows": Multiply()([rows, Maximum()([one, rows])]),
        "state": GRU(3)(both),
        "joined": TemporalConcat()([one, x6(x)]),
    }


def x6(x):
    return Dense(6, "relu", use_bias=False)(x)


def states(x):
    outputs, h, c = LSTM(5, return_sequences=True, return_state=True)(x)
    return [LSTM(5)(outputs, initial_state=[h, c]), TemporalPool("max")(outputs)]


def convolutions(padding, strides=1, dilation_rate=2):
    options = {"padding": padding, "strides": strides, "dilation_rate": dilation_rate}
    return Sequential(
        [
            Input((None, FEATURES)),
            Conv1D(6, 2, groups=2, activation="tanh", **options),
            DepthwiseConv1D(2, depth_multiplier=2, padding=padding),
            Conv1D(3, 1, use_bias=False),
        ]
    )


def bidirectional(mode, cell=LSTM, **options):
    return of_frames(lambda x: Bidirectional(cell(3, **options), merge_mode=mode)(x))


def multi_head(x):
    """To steps of the same batch; with a window, a gate, and a key of its own."""
    masked, options = Masking()(x), {"kernel_initializer": "random_normal"}
    plain = MultiHeadAttention(2, 3, **options)(x, masked, use_causal_mask=True)
    gated = MultiHeadAttention(1, 2, 3, use_bias=False, use_gate=True, sliding_window=2)
    return [plain, gated(masked, x, key=Dense(3)(masked))]


def looks(x):
    plain, scaled = Attention(), Attention(use_scale=True)
    return [plain([x, Masking()(x)], use_causal_mask=True), scaled([x, x, Dense(FEATURES)(x)])]


SEQUENCES = {"return_sequences": True}
MODELS = {
    "dense": lambda: of_frames(lambda x: Dense(3, "softmax")(x)),
    **{
        f"convolutions, {padding}": lambda padding=padding: of_frames(
            lambda x: [convolutions(padding)(x), convolutions(padding, 2, 1)(x)]
        )
        for padding in ("valid", "same", "causal")
    },
    "gelu": lambda: of_frames(lambda x: Activation("gelu")(Dense(3, "sigmoid")(x))),
    "embedding": lambda: of_ids(lambda x: Embedding(VOCABULARY, 3)(x)),
    "masked": lambda: of_ids(lambda x: LSTM(5)(Embedding(VOCABULARY, 3, mask_zero=True)(x))),
    "attention": lambda: of_frames(lambda x: TemporalSoftmax()(Dense(1)(x))),
    "pools": lambda: of_frames(
        lambda x: [TemporalPool(how)(x) for how in ("mean", "sum", "max", "first", "last", "std")]
    ),
    "split": lambda: of_frames(lambda x: TemporalSplit(2, width=6)(Masking()(x))),
    "branches": lambda: of_frames(branches),
    "states": lambda: of_frames(states),
    "backwards": lambda: of_frames(
        lambda x: GRU(3, go_backwards=True, zero_output_for_mask=True, **SEQUENCES)(x)
    ),
    "no bias": lambda: of_frames(lambda x: GRU(3, use_bias=False)(SimpleRNN(3, **SEQUENCES)(x))),
    "concat": lambda: bidirectional("concat", **SEQUENCES),
    "sum": lambda: bidirectional("sum", GRU, **SEQUENCES),
    "mul": lambda: bidirectional("mul"),
    "ave": lambda: bidirectional("ave", SimpleRNN),
    "both": lambda: bidirectional(None, return_state=True),
    "multi-head": lambda: of_frames(multi_head),
    "looks": lambda: of_frames(looks),
    "inner": lambda: of_frames(
        lambda x: Sequential([Input((None, FEATURES)), LSTM(3, **SEQUENCES), Dropout(0.5)])(x)
    ),
}


def arrays_of(batch):
    """Kept numbers, masks and rows of what a model gives, numpy's or torch's."""
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, list | tuple):
        return [array for one in batch for array in arrays_of(one)]
    if isinstance(batch, rt.RaggedTensor):
        batch = batch.detach().to_ragged()
    if isinstance(batch, rm.Ragged):
        rows = batch.compact()
        mask = np.ones(rows.n_steps, bool) if rows.mask is None else rows.mask
        return [rows.values[mask], mask, rows.lengths]
    return [batch.detach().numpy() if isinstance(batch, torch.Tensor) else batch]


def check_alike(given, expected):
    for one, other in zip(arrays_of(given), arrays_of(expected), strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_module_gives_what_its_model_gives(name):
    model, batch = MODELS[name]()
    module = rt.to_torch(model).eval()
    check_alike(module(batch), model(batch))
    check_alike(module({model.input_names[0]: rt.RaggedTensor.from_ragged(batch)}), model(batch))


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_has_a_gradient_and_comes_back(name):
    model, batch = MODELS[name]()
    module = rt.to_torch(model).eval()
    if not list(module.parameters()):
        return
    numbers = [
        one.values if isinstance(one, rt.RaggedTensor) else one
        for one in torch.utils._pytree.tree_leaves(
            module(batch), is_leaf=lambda one: isinstance(one, rt.RaggedTensor)
        )
    ]
    sum((one * torch.randn(one.shape)).sum() for one in numbers).backward()
    assert all(weight.grad is not None for weight in module.parameters())
    torch.optim.SGD(module.parameters(), 0.1).step()
    trained = rt.from_torch(module)
    assert [name for name, _ in trained.named_weights()] == [
        name for name, _ in model.named_weights()
    ]
    check_alike(trained(batch), module(batch))
    assert not all(
        np.array_equal(one, other)
        for one, other in zip(trained.weights, model.weights, strict=True)
    )


def test_arrays_of_other_ranks_are_joined_as_the_model_joins_them():
    flat, deep = Input((3,), name="flat"), Input((2, 3), name="deep")
    model = Model([flat, deep], [Add()([flat, deep]), Concatenate(axis=1)([deep, deep])])
    batches = [
        np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
        for shape in ((3,), (2, 3))
    ]
    check_alike(rt.to_torch(model)(list(map(torch.tensor, batches))), model(batches))


def test_dropout_drops_while_training():
    model = Sequential([Input((None, 50)), Dropout(0.5)])
    batch = rm.Ragged.from_rows([np.ones((40, 50), np.float32)])
    module = rt.to_torch(model)
    assert 0.4 < (module(batch).values == 0).float().mean() < 0.6
    assert (module.eval()(batch).values == 1).all()


@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_drop_features_of_rows_while_training(both):
    layer = GRU(4, dropout=0.5)
    layer = Bidirectional(layer) if both else layer
    model = Sequential([Input((None, FEATURES)), layer])
    batch = rm.Ragged.from_rows([np.ones((3, FEATURES), np.float32)] * 20)
    module = rt.to_torch(model)
    plain = module.eval()(batch)
    check_alike(plain, model(batch))
    assert (module.train()(batch) != plain).any()
    assert len(torch.unique(module(batch), dim=0)) > 1  # though all rows are the same
    dropped = trained._dropped(GRU(4, dropout=0.5), rt.RaggedTensor.from_ragged(batch), True)
    steps = dropped.values.reshape(20, 3, FEATURES)
    assert (steps == steps[:, :1]).all()
    assert set(steps.unique().tolist()) == {0, 2}


def test_a_copied_module_has_weights_of_its_own():
    model, batch = MODELS["masked"]()
    module = rt.to_torch(model)
    other = copy.deepcopy(module)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    check_alike(module(batch), model(batch))
    assert not other(batch).any()
    other.load_state_dict(module.state_dict())
    check_alike(other(batch), model(batch))


class Mine(Layer):
    def call(self, inputs):
        return inputs * 2


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: Sequential([Input((None, 3)), Mine(name="mine")]), "layer 'mine' is a Mine, and"),
        (
            lambda: of_frames(lambda x: LSTM(3, activation="relu", name="rows")(x))[0],
            "layer 'rows' has activation='relu', and its gradient is not known",
        ),
        (
            lambda: of_frames(lambda x: Bidirectional(GRU(3, recurrent_dropout=0.5))(x))[0],
            r"layer 'forward_gru.*' has recurrent_dropout=0.5, and its gradient",
        ),
        (
            lambda: of_frames(lambda x: SimpleRNN(3, stateful=True, name="rows")(x))[0],
            "layer 'rows' has stateful=True, and its gradient is not known",
        ),
        (
            lambda: of_frames(lambda x: Bidirectional(RNN(GRUCell(3), name="rows"))(x))[0],
            "layer 'forward_rows' is a RNN, and its gradient is not known",
        ),
        (
            lambda: of_frames(lambda x: MultiHeadAttention(1, 2, dropout=0.5, name="looks")(x, x))[
                0
            ],
            "layer 'looks' has dropout=0.5, and to_torch knows 0 alone",
        ),
        (
            lambda: of_frames(lambda x: Attention(score_mode="concat", name="looks")([x, x]))[0],
            "layer 'looks' has score_mode='concat', and to_torch knows 'dot' alone",
        ),
        (lambda: Sequential([LSTM(3)]), "is not built: call it on a batch first"),
        (lambda: LSTM(3), "takes a model of layers; got LSTM"),
    ],
)
def test_models_without_gradients(model, message):
    with pytest.raises(rm.RagmaskError, match=message):
        rt.to_torch(model())


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.ones(2, 3, FEATURES), "input 'frames' is a RaggedTensor .*; got a Tensor"),
        ([[1.0]], "called on RaggedTensors and tensors; got list"),
        ({"other": frames()}, "is called on one batch, 'frames'; got other"),
    ],
)
def test_batches_that_do_not_fit(batch, message):
    module = rt.to_torch(MODELS["dense"]()[0])
    with pytest.raises(rm.RagmaskError, match=message):
        module(batch)


def test_rows_that_differ_have_no_common_start():
    x, y = Input((None, FEATURES)), Input((None, FEATURES))
    model = Model([x, y], MultiHeadAttention(1, 2, name="looks")(x, y, use_causal_mask=True))
    with pytest.raises(rm.InvalidInputError, match="layer 'looks' has a causal mask or a window"):
        rt.to_torch(model)([frames(), frames().truncate(2)])


def test_defined_here_trained_in_torch_applied_by_the_command_line(tmp_path):
    rm.layers.set_random_seed(0)
    x = Input((None, 12), name="frames")
    state = Bidirectional(GRU(16))(Dropout(0.2)(x))
    model = Model(x, {"speaker": Dense(10)(state)})
    module = rt.to_torch(model)
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    columns = ["frames", "speaker"]
    stream = rm.stream(JAPANESE_VOWELS, columns).shuffle(seed=0).batch(rows=64)
    losses = []
    for _ in range(4):
        for batch in stream:
            optimizer.zero_grad()
            speakers = torch.tensor(batch["speaker"]).long()
            loss = torch.nn.functional.cross_entropy(module(batch["frames"])["speaker"], speakers)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]

    trained = rt.from_torch(module.eval())
    trained.save(tmp_path / "model")
    paths = tmp_path / "model", JAPANESE_VOWELS, tmp_path / "out.parquet"
    result = CliRunner().invoke(app, ["apply", *map(str, paths)])
    assert result.exit_code == 0, result.output
    found = np.concatenate(
        [batch["speaker"] for batch in rm.stream(tmp_path / "out.parquet").batch(rows=1000)]
    )
    (batch,) = rm.stream(JAPANESE_VOWELS, columns).batch(rows=1000)
    with torch.no_grad():
        expected = module(batch["frames"])["speaker"].numpy()
    np.testing.assert_allclose(found, expected, 1e-4, 1e-5)
    assert (found.argmax(1) == batch["speaker"]).mean() > 0.8


def test_training_that_the_graph_fixes_is_not_the_modules():
    x = Input((None, 50))
    module = rt.to_torch(Model(x, Dropout(0.5)(x, training=True))).eval()
    batch = rm.Ragged.from_rows([np.ones((20, 50), np.float32)])
    assert set(module(batch).values.unique().tolist()) == {0.0, 2.0}
