"""CUDA kernels, the twins of those in `ragmask.kernels.cpu`: same names, same meaning.

They take and give device arrays, and never validate. `launch(kernel, rows, *arguments, stream=0)`
runs one, as `kernel[blocks, THREADS, stream](*arguments)` does where a block has `WARPS` rows. An
LSTM takes two: `project` and `lstm` are functions that launch one of several kernels. The
body of each, one row's work, is a device function `<name>_row` for kernels of your own. Needs the
extra `cuda` (CUDA 13) or `cuda12`; importing it needs no driver, launching does.
"""

from importlib.util import find_spec

from ragmask.errors import MissingExtraError

if find_spec("numba_cuda") is None:  # numba's own target of that name is the old one
    raise MissingExtraError(
        'ragmask.kernels.cuda needs numba-cuda, which is not installed: pip install "ragmask[cuda]"'
        ', or "ragmask[cuda12]" where the driver is of CUDA 12'
    )

from ragmask.kernels.cuda.embedding import embedding, embedding_row
from ragmask.kernels.cuda.gemm import project
from ragmask.kernels.cuda.launch import Limits, launch, launch_blocks
from ragmask.kernels.cuda.lstm import lstm
from ragmask.kernels.cuda.lstm_row import lstm_row
from ragmask.kernels.cuda.masking import count_kept, count_kept_row, masking, masking_row
from ragmask.kernels.cuda.pad import compact, compact_row, pack, pack_row, pad, pad_row
from ragmask.kernels.cuda.pool import pool, pool_row
from ragmask.kernels.cuda.rows import (
    add,
    both,
    by_length,
    check_rows,
    convert,
    cut,
    differences,
    fill,
    first_difference,
    first_outside,
    offsets,
    progression,
    spans,
    take,
    unpack_bits,
    where,
)
from ragmask.kernels.cuda.softmax import SOFTMAX_MEMORY, softmax, softmax_row
from ragmask.kernels.cuda.teams import THREADS, WARPS, is_short, kept_span

__all__ = [
    "Limits",
    "add",
    "both",
    "by_length",
    "check_rows",
    "convert",
    "cut",
    "differences",
    "fill",
    "first_difference",
    "first_outside",
    "offsets",
    "progression",
    "spans",
    "take",
    "unpack_bits",
    "where",
    "SOFTMAX_MEMORY",
    "THREADS",
    "WARPS",
    "compact",
    "compact_row",
    "count_kept",
    "count_kept_row",
    "embedding",
    "embedding_row",
    "is_short",
    "kept_span",
    "launch",
    "launch_blocks",
    "lstm",
    "lstm_row",
    "masking",
    "masking_row",
    "pack",
    "pack_row",
    "pad",
    "pad_row",
    "pool",
    "pool_row",
    "project",
    "softmax",
    "softmax_row",
]
