"""How many blocks a kernel is launched with."""

from functools import cache
from typing import Any, NamedTuple

from ragmask.kernels.cuda.move import LONG_BYTES
from ragmask.kernels.cuda.teams import THREADS, WARPS
from ragmask.kernels.kernel import Kernel
from ragmask.kernels.registry import KERNELS

_MOST_BLOCKS = 2**31 - 1  # of a grid
_GRANTED_BYTES = 48 << 10  # shared memory that a block has without asking
TILE = 64 * 64  # numbers of a result that a block of attention makes at a time


class Limits(NamedTuple):
    """What a device has."""

    multiprocessors: int
    shared_bytes: int  # for a block that asks


def device_limits() -> Limits:
    """Those of the current device."""
    from numba import cuda

    device = cuda.get_current_device()
    return Limits(device.MULTIPROCESSOR_COUNT, device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)


def launch(kernel: Any, rows: int, *arguments: Any, stream: Any = 0) -> None:
    """Run a kernel over so many rows; nothing where there are none, which CUDA refuses."""
    if rows:
        blocks = -(-rows // WARPS)
        parts = min(parts_of(kernel, blocks, *arguments), _MOST_BLOCKS // blocks)
        kernel[blocks * parts, THREADS, stream](*arguments)


def parts_of(kernel: Any, blocks: int, *arguments: Any) -> int:
    """How many blocks share the same 4 rows; all rows alone would take `blocks`.

    One for each 32 features; where bytes are only moved, one for each 16 KiB of the result; in
    attention one for each row, and one for each of the result's tiles. Pad, which writes far more
    than it reads, and what has no use for it, do not share.
    """
    sharing = _sharing().get(kernel)
    parts = 1
    if sharing is not None and sharing.what == "features":
        features = arguments[sharing.position]
        parts = -(-(features.shape[1] if sharing.kind == "items" else features) // 32)
    elif sharing is not None and sharing.what == "tiles":
        parts = WARPS + len(arguments[sharing.position]) // (blocks * TILE)
    elif sharing is not None:
        result = arguments[sharing.position]
        parts = len(result) * result.dtype.itemsize // (blocks * LONG_BYTES)
    return max(parts, 1)


class _Sharing(NamedTuple):
    """What blocks share of a kernel's rows, and the argument that says how much of it there is."""

    what: str
    position: int
    kind: str


@cache
def _sharing() -> dict[Any, _Sharing]:
    return {record.cuda: _sharing_of(record) for record in KERNELS if record.shares}


def _sharing_of(record: Kernel) -> _Sharing:
    assert record.shares is not None
    kinds = dict(record.parameters)
    names = list(kinds)
    if record.shares == "features":
        name = "features" if "features" in kinds else names[list(kinds.values()).index("items")]
        return _Sharing("features", names.index(name), kinds[name])
    return _Sharing(record.shares, names.index("out") - len(names), kinds["out"])


def launch_blocks(
    kernel: Any,
    blocks: int,
    threads: int,
    *arguments: Any,
    shared_bytes: int = 0,
    stream: Any = 0,
) -> None:
    """Run a kernel with so many blocks, of so much dynamic shared memory; nothing where none."""
    if blocks:
        configured = kernel[blocks, threads, stream, shared_bytes]
        if shared_bytes > _GRANTED_BYTES:
            # the simulator has no such list, and no such limit
            callbacks = getattr(configured, "pre_launch_callbacks", [])
            if _ask_for_shared_memory not in callbacks:  # numba-cuda keeps what is configured
                callbacks.append(_ask_for_shared_memory)
        configured(*arguments)


def _ask_for_shared_memory(compiled: Any, configured: Any) -> None:
    """Let a kernel have more of it than is granted: numba-cuda does not."""
    from numba.cuda.cudadrv import driver

    function = compiled._codelibrary.get_cufunc()
    names = driver.binding.CUfunction_attribute
    attribute = names.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    shared_bytes, device = configured.sharedmem, function.device.id
    driver.driver.cuKernelSetAttribute(attribute, shared_bytes, function.handle, device)
