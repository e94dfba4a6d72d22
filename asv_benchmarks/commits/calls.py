"""Every public call on every batch: (name, function) pairs, in the same order for each commit."""

import io
import pickle
import tempfile
from contextlib import redirect_stdout
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
from batch_calls import HOWS, SIDES, on_batch
from inputs import DTYPES, ITEM_SHAPES, VOCABULARY, large_layouts, layouts

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS

THREADS = 1, 3
FLOATS = "float16", "float32", "float64"


def calls():
    for dtype, item_shape in product(DTYPES, ITEM_SHAPES):
        for layout, batch in layouts(dtype, item_shape).items():
            yield from named(f"{dtype} {item_shape} {layout}", on_batch(batch))
    yield from named("constructors", constructors())
    yield from named("pad_sequences", pad_sequences())
    yield from named("weights", weights())
    yield from named("vocabulary", vocabulary())
    for threads in THREADS:
        rm.set_num_threads(threads)
        yield from named(f"{threads} threads", large_calls())


def large_calls():
    """What is worth sharing out among threads."""
    for dtype, item_shape in (("float32", (16,)), ("float64", ()), ("int64", ()), ("int8", (3,))):
        for layout, batch in large_layouts(dtype, item_shape).items():
            yield from named(f"{dtype} {item_shape} {layout}", on_batch(batch))
    yield from named("stream", streams())
    yield from named("layers", layers())


def named(what, pairs):
    for name, call in pairs:
        yield f"{what}: {name}", call


# -- what batches are made of --------------------------------------------------------------


def constructors():
    rows = [[1, 2, 3], [], [4], [5, 6]]
    for dtype in (None, "float32", "int8", "bool", "M8[s]", "U3"):
        yield f"from_rows {dtype}", partial(rm.Ragged.from_rows, rows, dtype)
    yield "from_rows vectors", lambda: rm.Ragged.from_rows([[[1.0, 2.0]], [[3, 4], [5, 6]]])
    yield "from_rows unlike", lambda: rm.Ragged.from_rows([[[1.0, 2.0]], [3]])
    yield "outside", lambda: rm.Ragged([1, 2], [0], [3])
    yield "offsets that fall", lambda: rm.Ragged.from_offsets([1, 2], [0, 2, 1])
    lists = [[1, None, 3], None, [], [4]]
    types = [pa.list_(pa.int32()), pa.large_list(pa.float64()), pa.list_view(pa.int8())]
    types += [pa.list_(pa.timestamp("ms")), pa.list_(pa.date32())]
    arrays = [pa.array(lists, kind) for kind in types]
    arrays += [pa.array([[True, None], []])]
    arrays += [
        pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2)),
        pa.chunked_array([arrays[0]] * 2),
    ]
    arrays += [
        arrays[0][1:],
        pa.array([[[1, 2], [3, 4]], [[5, 6]]]),
        pa.array([1]),
        pa.array([["a"]]),
    ]
    for position, array in enumerate(arrays):
        for nulls, items in product(("empty", "error"), (None, "vectors", 2)):
            read = partial(rm.Ragged.from_arrow, array, nulls, items)
            yield f"from_arrow {position} {nulls} {items}", read
        yield f"round trip {position}", lambda array=array: rm.Ragged.from_arrow(array).to_arrow()


def pad_sequences():
    lists = [[1, 2, 3], [], [4], [5, 6]]
    given = {
        "lists": lists,
        "arrays": [np.array(row, float) for row in lists],
        "Arrow": pa.array(lists),
        "vectors": [[[1, 2]], [[3, 4], [5, 6]]],
        "words": [["a"], ["bc", "d"]],
        "nothing": [],
    }
    for name, sequences in given.items():
        for maxlen, padding, truncating in product((None, 0, 2, 5), SIDES, SIDES):
            options = {"maxlen": maxlen, "padding": padding, "truncating": truncating}
            yield f"{name} {options}", partial(rm.pad_sequences, sequences, **options)
        for dtype in ("float32", "uint8", object, "U4"):
            yield f"{name} {dtype}", partial(rm.pad_sequences, sequences, dtype=dtype, value=7)


def weights():
    rng = np.random.default_rng(12)
    keras = [rng.standard_normal(shape) for shape in ((3, 20), (5, 20), (20,))]
    torch = {
        "weight_ih_l0": rng.standard_normal((20, 3)),
        "weight_hh_l0": rng.standard_normal((20, 5)),
        "bias_ih_l0": rng.standard_normal(20),
        "bias_hh_l0": rng.standard_normal(20),
    }
    arrays = lambda weights: [weights.kernel, weights.recurrent_kernel, weights.bias, repr(weights)]  # noqa: E731
    for dtype in FLOATS:
        read = lambda dtype=dtype: rm.LSTMWeights.from_keras([a.astype(dtype) for a in keras])  # noqa: E731
        yield f"keras {dtype}", lambda read=read: arrays(read())
    yield "keras without bias", lambda: arrays(rm.LSTMWeights.from_keras(keras[:2]))
    yield "torch", lambda: arrays(rm.LSTMWeights.from_torch(torch))
    yield "torch, layer 1", lambda: arrays(rm.LSTMWeights.from_torch(torch, 1))
    yield "pickled", lambda: arrays(pickle.loads(pickle.dumps(rm.LSTMWeights.from_keras(keras))))
    yield "integers", lambda: rm.LSTMWeights(*(a.astype(int) for a in keras))


def vocabulary():
    words = rm.Vocabulary(["a", "b", "c"])
    lists = pa.array([["a", "x", None], [], None, ["c", "b"]])
    yield "encode", lambda: words.encode(lists)
    yield "encode a list", lambda: words.encode(["a", "z"])
    yield "decode", lambda: words.decode(words.encode(lists))
    yield "build", lambda: rm.Vocabulary.build(lists).words
    yield "json", words.to_json


# -- streams ------------------------------------------------------------------------------


def streams():
    columns = ["frames", "speaker"]
    plain = rm.stream(JAPANESE_VOWELS)
    some = rm.stream(JAPANESE_VOWELS, columns, filter=[("split", "==", "train")])
    shuffled = plain.shuffle(seed=3)
    small = plain.shuffle(seed=3, window_rows=200)
    settings = {
        "as it is": plain,
        "rows": plain.batch(rows=64),
        "rows, drop_last": plain.batch(rows=100, drop_last=True),
        "filter": some.batch(rows=50),
        "shuffle": shuffled.batch(rows=64),
        "shuffle, small windows": small.batch(rows=64),
        "tokens": shuffled.batch(tokens=1024, column="frames"),
        "tokens, not bucketed": small.batch(tokens=1024, column="frames", bucket=False),
        "packed": small.pack(128, "frames").batch(rows=4),
        "no prefetch": shuffled.batch(rows=64).prefetch(0),
        "map": plain.batch(rows=64).map(lambda batch: {"x": batch["frames"] + 1}),
    }
    for rank, even in product(range(3), (False, True)):
        name = f"shard {rank} {even}"
        settings[name] = small.shard(rank, 3, even=even).batch(tokens=900, column="frames")
    for name, stream in settings.items():
        yield name, partial(epochs, stream)
        yield f"{name}, resumed", partial(resumed, stream)
        yield f"{name}, facts", lambda stream=stream: [stream.num_rows, str(stream.schema)]
        yield f"{name}, length", partial(len, stream)
    yield "padding", lambda: shuffled.batch(tokens=1024, column="frames").measure_padding()
    yield "table", lambda: epochs(rm.stream(pa.table({"x": [[1], None, [2, 3]]})).batch(rows=2))
    yield "to_parquet", partial(written, some.shuffle(seed=1).batch(rows=50))


def epochs(stream):
    return [[batch for batch in stream] for _ in range(2)]  # noqa: C416


def resumed(stream):
    states = [batch.state for batch in stream]
    stream.load_state_dict(states[len(states) // 2])
    return list(stream)


def written(stream):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.parquet"
        stream.to_parquet(path)
        return list(rm.stream(path).batch(rows=100))


# -- layers -------------------------------------------------------------------------------


def layers():
    from ragmask import layers as L  # noqa: N812

    def sequence(*args, **options):
        return L.LSTM(*args, return_sequences=True, **options)

    def embedding(mask_zero=True):
        return L.Embedding(VOCABULARY, 6, mask_zero=mask_zero)

    def graph():
        ids = L.Input((None,), dtype="int32", name="ids")
        x = embedding()(ids)
        both = L.Concatenate()([sequence(8)(x), L.Dense(3, "tanh")(x)])
        weights = L.TemporalSoftmax()(L.Dense(1)(both))
        first, second = L.TemporalSplit(2, width=300)(both)
        return L.Model(
            ids,
            {
                "state": L.LSTM(4, return_state=True)(both),
                "weights": weights,
                "joined": L.TemporalConcat()([first, second]),
                "pooled": L.TemporalPool("max")(L.Add()([both, both])),
            },
        )

    on_ids = {
        "embedding": embedding,
        "fused": lambda: L.Sequential([embedding(), L.LSTM(16)]),
        "fused, no mask": lambda: L.Sequential([embedding(False), sequence(16)]),
        "fused, backwards": lambda: L.Sequential([embedding(), sequence(5, go_backwards=True)]),
        "deep": lambda: L.Sequential(
            [embedding(), L.Bidirectional(sequence(6)), L.Dropout(0.3), L.LSTM(7), L.Dense(3)]
        ),
        "graph": graph,
    }
    on_vectors = {
        "masking": lambda: L.Sequential([L.Masking(), L.LSTM(5, zero_output_for_mask=True)]),
        "lstm states": lambda: sequence(5, return_state=True, use_bias=False),
        "dense": lambda: L.Dense(4, activation="relu"),
        **{
            f"activation {name}": partial(L.Activation, name)
            for name in ("relu", "tanh", "sigmoid", "softmax", "gelu", "linear")
        },
        **{
            f"bidirectional {mode}": partial(
                lambda mode: L.Bidirectional(sequence(3, return_state=True), mode), mode
            )
            for mode in ("concat", "sum", "mul", "ave", None)
        },
        **{f"pool {how}": partial(L.TemporalPool, how) for how in HOWS},
        "softmax": L.TemporalSoftmax,
        "split": partial(L.TemporalSplit, 3, width=300),
    }
    for name, make in on_ids.items():
        for layout, batch in layouts("int32", ()).items():
            yield f"{name}, {layout}", partial(run_layer, make, batch)
    for name, make in on_vectors.items():
        for layout, batch in layouts("float32", (3,)).items():
            yield f"{name}, {layout}", partial(run_layer, make, batch)
    batch = layouts("int32", ())["masked"]
    yield "saved", partial(saved, graph, batch)
    yield "training", lambda: run_layer(on_ids["deep"], batch, training=True)


def run_layer(make, batch, **options):
    """Its outputs, twice, since a model settles at its first call; and its weights."""
    rm.layers.set_random_seed(0)
    layer = make()
    return [layer(batch, **options), layer(batch, **options), layer.get_weights()]


def saved(make, batch):
    rm.layers.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        model = make()
        model.save(Path(folder) / "model")
        return [model(batch), rm.layers.load_model(Path(folder) / "model")(batch)]
