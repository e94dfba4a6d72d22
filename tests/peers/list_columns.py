"""One table of the methods of columns of lists, and columns for them, for every library's tests."""

import numpy as np
import pyarrow as pa

import ragmask as rm
from tests.operations import FEATURES, GRU, LSTM, RNN, TABLE, VOCABULARY


def _models():
    ids = rm.layers.Input((None,), dtype="int32", name="ids")
    more = rm.layers.Input((2,), name="more")
    words = rm.layers.Embedding(VOCABULARY, 4, mask_zero=True, name="words")(ids)
    state = rm.layers.LSTM(3, name="state")(words)
    both = rm.layers.Concatenate(name="both")([state, more])
    return rm.layers.Model(ids, {"state": state, "words": words}), rm.layers.Model(
        [ids, more], both
    )


MODEL, TWO_INPUTS = _models()

ON_NUMBERS = {
    "softmax": lambda x: x.softmax(),
    "cumsum": lambda x: x.cumsum(),
    "flip": lambda x: x.flip(),
    "sort": lambda x: x.sort(),
    "argsort": lambda x: x.argsort(descending=True),
    "topk": lambda x: x.topk(2),
    "mean": lambda x: x.pool(),
    "sum": lambda x: x.pool("sum"),
    "max": lambda x: x.pool("max"),
    "first": lambda x: x.pool("first"),
    "last": lambda x: x.pool("last"),
    "min": lambda x: x.pool("min"),
    "std": lambda x: x.pool("std"),
    "logsumexp": lambda x: x.pool("logsumexp"),
    "argmax": lambda x: x.pool("argmax"),
    "count": lambda x: x.pool("count"),
    "masking": lambda x: x.masking(1.0),
    "lengths": lambda x: x.lengths(),
    "truncate": lambda x: x.truncate(2, "pre"),
    "pad": lambda x: x.pad(3, truncating="pre"),
    "pad, nulls": lambda x: x.pad(7, padding="pre", value=None),
    "pad, the longest": lambda x: x.pad(multiple_of=4),
    "split": lambda x: x.split(2, width=10),
    "split, the longest": lambda x: x.split(1),
}
ON_IDS = {
    "embedding": lambda x: x.embedding(TABLE),
    "embedding, mask_zero": lambda x: x.embedding(TABLE, mask_zero=True),
    "cumsum of integers": lambda x: x.cumsum(),
    "mean of integers": lambda x: x.pool("mean"),
    "sum of integers": lambda x: x.pool("sum"),
    "apply": lambda x: x.apply(MODEL),
}
ON_VECTORS = {
    **ON_NUMBERS,
    "lstm": lambda x: x.lstm(LSTM),
    "lstm, h": lambda x: x.lstm(LSTM, "h", go_backwards=True),
    "lstm, c": lambda x: x.lstm(LSTM, "c"),
    "gru": lambda x: x.gru(GRU, zero_output_for_mask=True),
    "gru, h": lambda x: x.gru(GRU, "h"),
    "rnn": lambda x: x.rnn(RNN),
    "rnn, h": lambda x: x.rnn(RNN, "h"),
}
# {test: (column, method)}
METHODS = {
    f"{name} of {column}": (column, method)
    for column, methods in {
        "numbers": ON_NUMBERS,
        "ids": ON_IDS,
        "vectors": ON_VECTORS,
        "lists": ON_VECTORS,
        "fixed": ON_NUMBERS,
    }.items()
    for name, method in methods.items()
}


def columns(rows=50, seed=0):
    """A table of every kind of column: empty lists, null lists and null numbers are in all."""
    random = np.random.default_rng(seed)

    def item(draw):
        return None if random.random() < 0.1 else draw()

    def lists(draw):
        def one():
            return [item(draw) for _ in range(random.integers(6))]

        return [item(one) for _ in range(rows)]

    vectors = lists(lambda: random.standard_normal(FEATURES).astype(np.float32).tolist())
    return pa.table(
        {
            "numbers": pa.array(lists(random.random), pa.large_list(pa.float64())),
            "ids": pa.array(
                lists(lambda: int(random.integers(VOCABULARY - 1))), pa.large_list(pa.int32())
            ),
            "vectors": pa.array(vectors, pa.large_list(pa.list_(pa.float32(), FEATURES))),
            "lists": pa.array(vectors, pa.large_list(pa.large_list(pa.float32()))),
            "fixed": pa.array(
                [item(lambda: random.random(4).tolist()) for _ in range(rows)],
                pa.list_(pa.float32(), 4),
            ),
            "more": pa.array(random.random((rows, 2)).tolist(), pa.list_(pa.float32(), 2)),
            "row": np.arange(rows),
        }
    )
