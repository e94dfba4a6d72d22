"""CPU kernels: plain serial loops over rows `[first_row, last_row)`, `out` last.

Each can be called from your own `@njit` code. They release the GIL and never validate.
"""

from ragmask.kernels.cpu.pad import compact, pad

__all__ = ["compact", "pad"]
