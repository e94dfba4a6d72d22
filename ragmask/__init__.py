"""ragmask: batches of sequences of unequal length, padded and masked on demand.

>>> import ragmask as rm
>>> r = rm.Ragged.from_rows([[711, 632, 71], [73, 8, 3215, 55, 927], []])
>>> r.to_padded().values
array([[ 711,  632,   71,    0,    0],
       [  73,    8, 3215,   55,  927],
       [   0,    0,    0,    0,    0]])

`help(rm.NAME)` says more of each:

batches     Ragged, Padded, NestedRagged, NestedPadded; pad_sequences, concatenate
streams     stream, mix, Stream, Batch; Vocabulary, of words and their ids
ids, masks  embedding, masking
over time   temporal_softmax, temporal_pool, temporal_repeat, temporal_cumsum, temporal_flip,
            temporal_sort, temporal_argsort, temporal_topk, temporal_conv, temporal_attention,
            temporal_split, temporal_concat
recurrent   lstm, gru, rnn; LSTMWeights, GRUWeights, RNNWeights; LSTMResult, GRUResult, RNNResult
threads     get_num_threads, set_num_threads
errors      RagmaskError, and of that kind InvalidInputError, UnsupportedTypeError, RowIndexError,
            StepIndexError, MissingAttributeError, MissingExtraError, DeviceError, StreamError
layers      models of layers with Keras's masking protocol
interop     torch, keras, jax, datasets, polars, pandas, duckdb, ray, spark: one package for each
kernels     cpu and cuda: the kernels, to call from @njit and @cuda.jit code
data        paths of data sets that come with the package

Names load on first use: importing ragmask compiles nothing and imports no optional package.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.2.0"


def _homes() -> dict[str, str]:
    """{name: module} of the stub beside this file: `from module import name as name`."""
    stub = Path(__file__).with_suffix(".pyi").read_text("utf-8")
    words = (line.split() for line in stub.splitlines() if line.startswith("from ragmask"))
    return {name: module for _, module, _, name, *_ in words}


# No __all__: help(ragmask) would be the help of every class that it names, some 4,000 lines.
_HOME = _homes()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ragmask' has no attribute {name!r}")
    home = _HOME[name]
    if home == __name__:
        return import_module(f"{home}.{name}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, *(name for name in globals() if name.startswith("__"))])
