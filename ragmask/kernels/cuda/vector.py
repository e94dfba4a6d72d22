"""Local arrays that stay in registers, and shared ones that four numbers are read from at once."""

from collections.abc import Callable
from typing import Any

from ragmask.kernels.compile import SIMULATED, cuda_device

# What `load_4` reads from shared memory is to be allocated with this alignment.
ALIGNED: Any = None if SIMULATED else 16


def unrolled(count: int, body: Callable[..., None]) -> Any:
    """A device function that calls `body(0, ...)` to `body(count - 1, ...)`.

    A loop of as many turns as this the compiler may leave a loop, and a local array in it then
    lies in memory. The number of the turn is a constant here.
    """
    last = count - 1
    if last == 0:

        @cuda_device
        def only(*arguments: Any) -> None:
            body(0, *arguments)

        return only

    before = unrolled(last, body)

    @cuda_device
    def all_turns(*arguments: Any) -> None:
        before(*arguments)
        body(last, *arguments)

    return all_turns
