"""Memory of the device, and work on its streams: all that asks the CUDA driver, but launches."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from numba import cuda

from ragmask.errors import DeviceError


@contextmanager
def on_device(device: int) -> Iterator[None]:
    """What is launched and allocated inside is for this device."""
    check_driver()
    with cuda.gpus[device]:
        yield


def check_driver() -> None:
    """Raise where no GPU can be used."""
    try:
        found = cuda.is_available()
    except Exception:  # a driver that is there and broken
        found = False
    if not found:
        raise DeviceError(
            "there is no CUDA device to use: it takes an NVIDIA GPU and its driver, which "
            "`nvidia-smi` should show; numba-cuda says why with `python -m numba -s`"
        )


def current_device() -> int:
    check_driver()
    number: int = cuda.current_context().device.id
    return number


def device_at(pointer: int) -> int:
    """The device on which the memory of that address lies."""
    check_driver()
    driver = import_module("cuda.bindings.driver")
    ordinal = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    error, device = driver.cuPointerGetAttribute(ordinal, pointer)
    return current_device() if int(error) else int(device)


def empty(n_bytes: int, stream: Any) -> Any:
    """An array of bytes on the current device."""
    return cuda.device_array(n_bytes, np.uint8, stream=stream)


def stream_at(pointer: int) -> Any:
    """The stream of that address; 0 is the default stream."""
    return cuda.external_stream(pointer) if pointer else cuda.default_stream()


def wait_for(pointer: int) -> None:
    """Wait until all work on the stream of that address is done."""
    stream_at(pointer).synchronize()


def wait_for_event(event: int) -> None:
    """Wait for the event of that address, behind which somebody else's work is done."""
    driver = import_module("cuda.bindings.driver")
    (error,) = driver.cuEventSynchronize(driver.CUevent(event))
    if int(error):
        raise DeviceError(f"the event that guards the array cannot be waited for: {error}")


def wrap(array: Any) -> Any:
    """numba's own array over the same memory."""
    return cuda.as_cuda_array(array, sync=False)


def to_host(array: Any, out: Any, stream: Any) -> None:
    """Copy a device array to a numpy array, and wait for it."""
    if out.size:
        wrap(array).copy_to_host(out, stream=stream)
        stream.synchronize()


def to_device(array: Any, out: Any, stream: Any) -> None:
    """Copy a numpy array to a device array of the same shape and dtype."""
    if array.size:
        wrap(out).copy_to_device(array, stream=stream)
