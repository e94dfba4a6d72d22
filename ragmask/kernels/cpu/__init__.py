"""CPU kernels: plain serial loops over rows `[first_row, last_row)`, `out` last.

Each can be called from your own `@njit` code. They release the GIL and never validate. Where
there is no mask, pass None; to the recurrent ones, whose every variant takes seconds to compile, an
empty one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ragmask.kernels.cells import CELLS
from ragmask.kernels.cpu.batches import begin_batches, best_fit, shuffle
from ragmask.kernels.registry import KERNELS

__all__ = ["begin_batches", "best_fit", "shuffle"]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


# now, and not on first use: an imported module would hide the kernel of its name
for _kernel in KERNELS:
    globals()[_kernel.name] = _kernel.cpu
    __all__.append(_kernel.name)
for _cell in (cell.name.lower() for cell in CELLS):
    globals()[_cell] = getattr(import_module(f"{__name__}.recurrent.{_cell}"), _cell)
    __all__.append(_cell)
