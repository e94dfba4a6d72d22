"""ragmask: batches of sequences of unequal length, padded and masked on demand.

>>> import ragmask as rm
>>> r = rm.Ragged.from_rows([[711, 632, 71], [73, 8, 3215, 55, 927], []])
>>> r.to_padded().values
array([[ 711,  632,   71,    0,    0],
       [  73,    8, 3215,   55,  927],
       [   0,    0,    0,    0,    0]])

Names load on first use: importing ragmask compiles nothing and imports no optional package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragmask import layers
    from ragmask.batches.padded import Padded
    from ragmask.batches.ragged import Ragged
    from ragmask.batches.sequences import pad_sequences
    from ragmask.errors import (
        DeviceError,
        InvalidInputError,
        MissingExtraError,
        RagmaskError,
        RowIndexError,
        StreamError,
        UnsupportedTypeError,
    )
    from ragmask.ops import (
        LSTMResult,
        embedding,
        lstm,
        masking,
        temporal_concat,
        temporal_pool,
        temporal_softmax,
        temporal_split,
    )
    from ragmask.streaming.batch import Batch
    from ragmask.streaming.stream import Stream, stream
    from ragmask.threads import get_num_threads, set_num_threads
    from ragmask.vocabulary import Vocabulary
    from ragmask.weights import LSTMWeights

__version__ = "0.1.0"

_HOME = {
    "DeviceError": "ragmask.errors",
    "InvalidInputError": "ragmask.errors",
    "MissingExtraError": "ragmask.errors",
    "RagmaskError": "ragmask.errors",
    "RowIndexError": "ragmask.errors",
    "StreamError": "ragmask.errors",
    "UnsupportedTypeError": "ragmask.errors",
    "LSTMResult": "ragmask.ops.recurrent",
    "embedding": "ragmask.ops.embeddings",
    "lstm": "ragmask.ops.recurrent",
    "masking": "ragmask.ops.masks",
    "temporal_concat": "ragmask.ops.split",
    "temporal_pool": "ragmask.ops.pool",
    "temporal_softmax": "ragmask.ops.softmax",
    "temporal_split": "ragmask.ops.split",
    "pad_sequences": "ragmask.batches.sequences",
    "Padded": "ragmask.batches.padded",
    "Ragged": "ragmask.batches.ragged",
    "Batch": "ragmask.streaming.batch",
    "Stream": "ragmask.streaming.stream",
    "stream": "ragmask.streaming.stream",
    "get_num_threads": "ragmask.threads",
    "set_num_threads": "ragmask.threads",
    "Vocabulary": "ragmask.vocabulary",
    "LSTMWeights": "ragmask.weights",
}

__all__ = [
    "Batch",
    "DeviceError",
    "InvalidInputError",
    "LSTMResult",
    "LSTMWeights",
    "MissingExtraError",
    "Padded",
    "Ragged",
    "RagmaskError",
    "RowIndexError",
    "Stream",
    "StreamError",
    "UnsupportedTypeError",
    "Vocabulary",
    "__version__",
    "embedding",
    "get_num_threads",
    "layers",
    "lstm",
    "masking",
    "pad_sequences",
    "set_num_threads",
    "stream",
    "temporal_concat",
    "temporal_pool",
    "temporal_softmax",
    "temporal_split",
]


def __getattr__(name: str) -> Any:
    if name == "layers":
        return import_module("ragmask.layers")
    if name not in _HOME:
        raise AttributeError(f"module 'ragmask' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
