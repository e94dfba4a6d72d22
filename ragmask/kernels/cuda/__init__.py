"""CUDA kernels, the twins of those in `ragmask.kernels.cpu`: same names, same meaning.

They take and give device arrays, and never validate. `launch(kernel, rows, *arguments, stream=0)`
runs one, as `kernel[blocks, THREADS, stream](*arguments)` does where a block has `WARPS` rows. A
recurrent layer takes two: `project`, and `lstm`, `gru` or `rnn`, launch one of several kernels; its
gradient takes `gather`, `lstm_keeping` and `lstm_gradient`, and those of weights beside them. The
body of each, one row's work, is a device function `<name>_row` for kernels of your own. Needs the
extra `cuda` (CUDA 13) or `cuda12`; importing it needs no driver, launching does.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ragmask.errors import MissingExtraError
from ragmask.kernels.cells import CELLS
from ragmask.kernels.registry import KERNELS

if find_spec("numba_cuda") is None:  # numba's own target of that name is the old one
    raise MissingExtraError(
        'ragmask.kernels.cuda needs numba-cuda, which is not installed: pip install "ragmask[cuda]"'
        ', or "ragmask[cuda12]" where the driver is of CUDA 12'
    )

from ragmask.kernels.cuda.attention import ATTENTION_MEMORY
from ragmask.kernels.cuda.launch import Limits, launch, launch_blocks
from ragmask.kernels.cuda.recurrent.arguments import Options, RowArrays, States
from ragmask.kernels.cuda.recurrent.gemm import project
from ragmask.kernels.cuda.recurrent.launch import gather
from ragmask.kernels.cuda.recurrent.weights import pack_weights, rearrange, unpack_weights
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
from ragmask.kernels.cuda.softmax import SOFTMAX_MEMORY
from ragmask.kernels.cuda.teams import THREADS, WARPS, is_short, kept_span

# The kernels and cells on record, and their row functions. They are bound at once, as loading a
# module later would bind it to the name of the kernel in it.
_MODULES = {record.name: record.module for record in KERNELS}
_MODULES |= {name: f"recurrent.{name}" for name in (cell.name.lower() for cell in CELLS)}
_FUNCTIONS = {
    name: getattr(import_module(f"{__name__}.{module}"), name)
    for kernel, module in _MODULES.items()
    for name in (kernel, f"{kernel}_row")
}
_FUNCTIONS |= {
    name: getattr(import_module(f"{__name__}.recurrent.{cell.name.lower()}"), name)
    for cell in CELLS
    for name in cell.names[1:]
}
globals().update(_FUNCTIONS)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


__all__ = [
    "ATTENTION_MEMORY",
    "Limits",
    "Options",
    "RowArrays",
    "States",
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
    "is_short",
    "kept_span",
    "gather",
    "launch",
    "launch_blocks",
    "pack_weights",
    "project",
    "rearrange",
    "unpack_weights",
    *_FUNCTIONS,
]
