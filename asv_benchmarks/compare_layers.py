"""The layers' table of compare.py: models beside Keras compiled by JAX, and beside bare ops."""

import io
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from benchmarks.common import fastest, lstm_weights, parquet_file
from rich.console import Console
from tables import Row, against, installed, show_rate, wanted

import ragmask as rm
from ragmask.cli.apply import run
from ragmask.layers import LSTM, Embedding, Input, Sequential

GLOSSES = Path(__file__).parents[1] / "examples" / "data" / "wordnet_glosses.parquet"
FEATURES, UNITS = 64, 128


def layers():
    """An Embedding of 64 features and an LSTM of 128 units: float32, forward only, two threads."""
    vocabulary, batch = glosses(256)
    model = model_of(vocabulary)
    embedding, lstm = model.layers
    padded = batch.to_padded()
    shape = f"256 glosses of WordNet, {vocabulary:,} words"
    keras = installed("keras", KERAS_BACKEND="jax") if installed("jax") else None
    run_keras = keras and compiled_in_keras(keras, model, padded)
    what = f"Sequential, {shape}"
    yield against(what, lambda: model(batch), "Keras on JAX, compiled, padded", run_keras, target=8)

    def by_hand():
        vectors = rm.embedding(batch, embedding.embeddings, mask_zero=True)
        return rm.lstm(vectors, lstm.lstm_weights, outputs=False)

    yield against(what, lambda: model(batch), "ragmask's ops by hand", by_hand)

    ids = rm.Ragged.from_rows([np.arange(1, 6)] * 8)
    adds, peer = "what a layer adds, 8 rows of 5 ids", "ragmask's two ops"
    if wanted(adds):
        alone, ops = fastest(
            lambda: lstm(embedding(ids)),
            lambda: rm.lstm(
                rm.embedding(ids, embedding.embeddings, mask_zero=True),
                lstm.lstm_weights,
                outputs=False,
            ),
        )
        yield Row(adds, max(alone - ops, 0) / 2, peer, ops, of="seconds", target=5e-5)

    unfused = "its two layers, one by one"
    yield against(what, lambda: model(batch), unfused, lambda: lstm(embedding(batch)), target=1.2)


def glosses(rows):
    """How many words there are, and ids of some glosses."""
    tokens = pq.read_table(GLOSSES, columns=["tokens"])["tokens"]
    vocabulary = rm.Vocabulary.build(tokens, max_size=50_000)
    return len(vocabulary), vocabulary.encode(tokens[:rows].combine_chunks())


def model_of(vocabulary, name="ids"):
    """Built, with weights as the LSTM's other tables have them."""
    embedding = Embedding(vocabulary, FEATURES, mask_zero=True)
    model = Sequential([Input((None,), "int32", name=name), embedding, LSTM(UNITS, name="state")])
    weights = lstm_weights(FEATURES, UNITS)
    table = np.random.default_rng(0).standard_normal((vocabulary, FEATURES))
    model.set_weights([table, weights.kernel, weights.recurrent_kernel, weights.bias])
    return model


def compiled_in_keras(keras, model, padded):
    """A function that runs the same model in Keras, compiled; its result is looked at first."""
    import jax

    embedding = model.layers[0]
    twin = keras.Sequential(
        [
            keras.layers.Embedding(embedding.input_dim, FEATURES, mask_zero=True),
            keras.layers.LSTM(UNITS),
        ]
    )
    ids = jax.numpy.asarray(padded.values)
    twin(ids)
    twin.set_weights(model.get_weights())
    state = [variable.value for variable in twin.trainable_variables]
    fixed = [variable.value for variable in twin.non_trainable_variables]

    @jax.jit
    def run(state, ids):
        return twin.stateless_call(state, fixed, ids)[0]

    np.testing.assert_allclose(np.asarray(run(state, ids)), model(padded), 1e-4, 1e-5)
    return lambda: run(state, ids).block_until_ready()


def apply(rows=200_000):
    """`ragmask apply` on a Parquet file of log-normal rows of ids (decoding, the model, writing its
    states) beside the model's ops alone, on batches that are decoded already."""
    what = f"{rows:,} rows"
    if not wanted(what):
        return
    with tempfile.TemporaryDirectory() as folder:
        source = parquet_file(rows, folder)
        stream = rm.stream(source, ["tokens"])
        batches = [batch["tokens"] for batch in stream.batch(rows=1024)]
        vocabulary = 1 + max(int(batch.values.max()) for batch in batches)
        model = model_of(vocabulary, "tokens")
        embedding, lstm = model.layers
        model.save(Path(folder) / "model")

        def run_apply():
            console = Console(file=io.StringIO())
            to = str(Path(folder) / "out.parquet")
            run(str(Path(folder) / "model"), [source], to, [], [], 1024, console)

        def run_model():
            for batch in batches:
                model(batch)

        def run_ops():
            for batch in batches:
                vectors = rm.embedding(batch, embedding.embeddings, mask_zero=True)
                rm.lstm(vectors, lstm.lstm_weights, outputs=False)

        ours, model_alone, ops = fastest(run_apply, run_model, run_ops, rounds=2, seconds=0)
        show = partial(show_rate, rows)
        yield Row(what, ours, "its ops alone, by hand", ops, target=0.9, show=show)
        yield Row(what, ours, "its model alone, fused", model_alone, show=show)


TABLES = (layers, apply)
