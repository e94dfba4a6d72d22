"""How many blocks a kernel is launched with."""

from typing import Any, NamedTuple

from ragmask.kernels.cuda.teams import THREADS, WARPS

_GRANTED_BYTES = 48 << 10  # shared memory that a block has without asking


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
        kernel[-(-rows // WARPS), THREADS, stream](*arguments)


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
            getattr(configured, "pre_launch_callbacks", []).append(_ask_for_shared_memory)
        configured(*arguments)


def _ask_for_shared_memory(compiled: Any, configured: Any) -> None:
    """Let a kernel have more of it than is granted: numba-cuda does not."""
    from numba.cuda.cudadrv import driver

    function = compiled._codelibrary.get_cufunc()
    names = driver.binding.CUfunction_attribute
    attribute = names.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    place = function.handle, function.device.id
    driver.driver.cuKernelSetAttribute(attribute, configured.sharedmem, *place)
