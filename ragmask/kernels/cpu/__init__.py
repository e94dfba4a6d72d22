"""CPU kernels: plain serial loops over rows `[first_row, last_row)`, `out` last.

Each can be called from your own `@njit` code. They release the GIL and never validate. Where
there is no mask, pass None; to `lstm`, whose every variant takes seconds to compile, an empty one.
"""

from ragmask.kernels.cpu.batches import begin_batches, best_fit, shuffle
from ragmask.kernels.cpu.embedding import embedding
from ragmask.kernels.cpu.lstm import lstm
from ragmask.kernels.cpu.masking import count_kept, masking
from ragmask.kernels.cpu.pad import compact, pack, pad
from ragmask.kernels.cpu.pool import pool
from ragmask.kernels.cpu.softmax import softmax

__all__ = [
    "begin_batches",
    "best_fit",
    "compact",
    "count_kept",
    "embedding",
    "lstm",
    "masking",
    "pack",
    "pad",
    "pool",
    "shuffle",
    "softmax",
]
