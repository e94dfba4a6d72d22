"""The calls on one batch: (name, function) pairs."""

import pickle
from functools import partial
from itertools import product

import numpy as np
from inputs import VOCABULARY, values_of

import ragmask as rm

SIDES = "pre", "post"
HOWS = "mean", "sum", "max", "first", "last"


def on_batch(x):
    if isinstance(x, rm.Ragged):
        yield from on_rows(x)
    else:
        yield from on_dense(x)
    yield from ufuncs(x)
    yield from ops(x)
    dtype = x.dtype
    item_shape = x.shape[2:] if isinstance(x, np.ndarray) else x.item_shape
    if dtype.kind in "iu" and item_shape == ():
        yield from embeddings(x)
    if dtype.kind == "f" and len(item_shape) == 1:
        yield from lstms(x, item_shape[0])


def on_rows(r):
    rows = len(r)
    order = np.random.default_rng(5).permutation(rows)
    yield "itself", lambda: [r, r.n_steps, r.max_length, r.is_compact, r.device, len(r), repr(r)]
    yield "offsets", lambda: r.offsets
    yield "compact", r.compact
    yield "to_rows", r.to_rows
    yield "pickle", lambda: pickle.loads(pickle.dumps(r))
    yield "to_arrow", r.to_arrow
    yield "from to_arrow", lambda: rm.Ragged.from_arrow(r.to_arrow())
    yield "with_values", lambda: r.with_values(np.arange(len(r.values)))
    for name, index in {
        "3": 3,
        "-1": -1,
        "2:5": slice(2, 5),
        "::-3": slice(None, None, -3),
        "list": [0, -1, 0],
        "permutation": order,
        "bools": order % 2 == 0,
        "outside": [rows],
        "none": [],
    }.items():
        yield f"[{name}]", partial(r.__getitem__, index)
    for maxlen, side in product((0, 1, 7, 10**6), SIDES):
        yield f"truncate {maxlen} {side}", partial(r.truncate, maxlen, side)
    for maxlen, multiple_of, padding, truncating in product(
        (None, 0, 5, 30), (None, 8), SIDES, SIDES
    ):
        options = {"multiple_of": multiple_of, "padding": padding, "truncating": truncating}
        yield f"to_padded {maxlen} {options}", partial(r.to_padded, maxlen, value=1, **options)
    for dtype in ("float64", "int64", "float16", "complex128", "bool"):
        yield f"to_padded {dtype}", partial(r.to_padded, dtype=dtype)
    yield "to_padded value", lambda: r.to_padded(value=np.full(r.item_shape, 7).astype(r.dtype))
    yield "to_padded NaN", lambda: r.to_padded(value=np.nan)
    yield "to_padded out", lambda: r.to_padded(out=r.to_padded(value=1))
    yield "to_padded buffers", lambda: r.to_padded(maxlen=9, out=buffers(r, len(r) * 16))
    yield "from its own padded", lambda: rm.Ragged.from_padded(r.to_padded(padding="pre"))


def buffers(r, steps):
    size = steps * int(np.prod(r.item_shape))
    return np.zeros(size, r.dtype), np.zeros(steps, bool)


def on_dense(x):
    values = x.values if isinstance(x, rm.Padded) else x
    yield "itself", lambda: [x, repr(x)]
    yield "from_padded", lambda: rm.Ragged.from_padded(x)
    yield "from_padded value", lambda: rm.Ragged.from_padded(values, value=0)
    lengths = np.arange(len(values)) % (values.shape[1] + 1)
    yield "from_padded lengths", lambda: rm.Ragged.from_padded(values, lengths=lengths)
    keep = np.random.default_rng(6).random(values.shape[:2]) < 0.5
    yield "from_padded mask", lambda: rm.Ragged.from_padded(values, keep)


def ufuncs(x):
    one = np.ones((), x.dtype) if x.dtype.kind != "M" else np.timedelta64(1, "s")
    yield "x + one", lambda: x + one
    yield "one + x", lambda: one + x
    yield "x * x", lambda: x * x
    yield "x != one", lambda: x != one
    yield "-x", lambda: -x
    yield "x // 3", lambda: x // 3
    yield "divmod", lambda: np.divmod(x, 3)
    yield "exp", lambda: np.exp(x)
    yield "isnan", lambda: np.isnan(x)
    yield "maximum", lambda: np.maximum(x, x)
    yield "x + x[::-1]", lambda: x + x[::-1]
    yield "add.reduce", lambda: np.add.reduce(x)


def other_mask(x):
    """A mask of x's kind that is not its own."""
    rng = np.random.default_rng(7)
    if isinstance(x, rm.Ragged):
        return rng.random(x.n_steps) < 0.5
    return rng.random(x.shape[:2]) < 0.5


def output_of(x, *item_shape, dtype):
    if isinstance(x, rm.Ragged):
        return np.zeros((x.n_steps, *item_shape), dtype)
    return np.zeros((*x.shape[:2], *item_shape), dtype)


def ops(x):
    item_shape = x.item_shape if isinstance(x, rm.Ragged) else x.shape[2:]
    mask = other_mask(x)
    for value in (0, 1, np.nan, 300):
        yield f"masking {value}", partial(rm.masking, x, value)
    for sections, width in ((1, None), (2, None), (3, 24), (4, 400), (0, None)):
        split = partial(rm.temporal_split, x, sections, width=width)
        yield f"split {sections} {width}", split
        yield (
            f"split and joined {sections} {width}",
            lambda split=split: rm.temporal_concat(split()),
        )
    yield "joined with itself", lambda: rm.temporal_concat([x, x + x])
    yield "joined with float64", lambda: rm.temporal_concat([x, x * np.float64(2)])
    for how in (*HOWS, "no such"):
        yield f"pool {how}", partial(rm.temporal_pool, x, how)
        yield f"pool {how} mask", partial(rm.temporal_pool, x, how, mask=mask)
    yield "softmax", partial(rm.temporal_softmax, x)
    yield "softmax mask", partial(rm.temporal_softmax, x, mask=mask)
    yield "softmax extremes", lambda: rm.temporal_softmax(x * x.dtype.type(1e4))
    out = output_of(x, *item_shape, dtype=x.dtype)
    yield "softmax out", lambda: [rm.temporal_softmax(x, out=out), out]
    if hasattr(rm, "temporal_cumsum"):
        yield "cumsum", lambda: rm.temporal_cumsum(x)
    if hasattr(rm, "temporal_sort"):
        for op in (rm.temporal_flip, rm.temporal_sort, rm.temporal_argsort):
            yield op.__name__, partial(op, x)
            yield f"{op.__name__} mask", partial(op, x, mask=mask)
        yield "temporal_topk", partial(rm.temporal_topk, x, 3)
    if hasattr(rm, "temporal_conv"):
        kernel = values_of((3, *item_shape), "float32", seed=10)
        for causal in (True, False):
            yield f"conv {causal}", partial(rm.temporal_conv, x, kernel, causal=causal)


def embeddings(ids):
    for dtype, item_shape in product(("float16", "float32", "float64", "int8"), ((5,), (), (2, 4))):
        table = values_of((VOCABULARY, *item_shape), dtype, seed=8)
        for zero in (False, True):
            call = partial(rm.embedding, ids, table, mask_zero=zero)
            yield f"embedding {dtype} {item_shape} {zero}", call
    table = values_of((VOCABULARY, 16), "float32", seed=9)
    out = output_of(ids, 16, dtype="float32")
    yield "embedding out", lambda: [rm.embedding(ids, table, out=out), out]
    yield "embedding outside", lambda: rm.embedding(ids, table[:10])


def lstm_weights(features, units, dtype):
    rng = np.random.default_rng(10)
    shapes = (features, 4 * units), (units, 4 * units), (4 * units,)
    return rm.LSTMWeights(*(rng.standard_normal(shape).astype(dtype) / 4 for shape in shapes))


def lstms(x, features):
    rng = np.random.default_rng(11)
    for units in (1, 5, 32, 40):
        weights = lstm_weights(features, units, "float64" if x.dtype == "float64" else "float32")
        state = tuple(rng.standard_normal((len(x), units)).astype("float32") for _ in "hc")
        options = {
            "": {},
            "mask": {"mask": other_mask(x)},
            "backwards": {"go_backwards": True},
            "zero output": {"zero_output_for_mask": True, "mask": other_mask(x)},
            "initial state": {"initial_state": state},
            "no outputs": {"outputs": False},
            "all": {
                "mask": other_mask(x),
                "go_backwards": True,
                "zero_output_for_mask": True,
                "initial_state": state,
            },
        }
        for name, chosen in options.items():
            yield f"lstm {units} {name}", partial(rm.lstm, x, weights, **chosen)
        out = output_of(x, units, dtype=x.dtype)
        run = partial(rm.lstm, x, weights, out=out)
        yield f"lstm {units} out", lambda run=run, out=out: [run(), out]
    yield "lstm features", partial(rm.lstm, x, lstm_weights(features + 1, 4, "float32"))
