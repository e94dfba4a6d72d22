"""How many blocks a kernel is launched with."""

from typing import Any

from ragmask.kernels.cuda.teams import THREADS, WARPS


def launch(kernel: Any, rows: int, *arguments: Any, stream: Any = 0) -> None:
    """Run a kernel over so many rows; nothing where there are none, which CUDA refuses."""
    if rows:
        kernel[-(-rows // WARPS), THREADS, stream](*arguments)
