"""CPU kernels: plain serial loops over rows `[first_row, last_row)`, `out` last.

Each can be called from your own `@njit` code. They release the GIL and never validate. Where
there is no mask, pass None; to the recurrent ones, whose every variant takes seconds to compile, an
empty one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ragmask.kernels.cells import CELLS
from ragmask.kernels.cpu.batches import begin_batches, best_fit, shuffle
from ragmask.kernels.cpu.recurrent.weight_gradient import weight_gradient
from ragmask.kernels.registry import KERNELS

__all__ = ["begin_batches", "best_fit", "shuffle", "weight_gradient"]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


# now, and not on first use: an imported module would hide the kernel of its name
for _kernel in KERNELS:
    globals()[_kernel.name] = _kernel.cpu
    __all__.append(_kernel.name)
for _cell in CELLS:
    _module = import_module(f"{__name__}.recurrent.{_cell.name.lower()}")
    for _name in _cell.names:
        globals()[_name] = getattr(_module, _name)
        __all__.append(_name)
