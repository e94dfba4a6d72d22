"""The operations: each takes a Ragged, a Padded or a dense array, and gives back its kind.

Each validates, allocates, and runs one kernel over views; none builds a padded array.
"""

from ragmask.ops.embeddings import embedding
from ragmask.ops.masks import masking
from ragmask.ops.pool import temporal_pool
from ragmask.ops.recurrent import LSTMResult, lstm
from ragmask.ops.softmax import temporal_softmax
from ragmask.ops.split import temporal_concat, temporal_split

__all__ = [
    "LSTMResult",
    "embedding",
    "lstm",
    "masking",
    "temporal_concat",
    "temporal_pool",
    "temporal_softmax",
    "temporal_split",
]
