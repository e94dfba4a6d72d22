"""The inputs and attributes of ONNX's recurrent operators, checked."""

from typing import Any

import numpy as np

from ragmask.arrays.coerce import to_numpy
from ragmask.arrays.protocol import Array
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.kernels.cells import Cell
from ragmask.rows.checks import check_count


def of_direction(cell: Cell, direction: int, **inputs: Any) -> dict[str, Array]:
    """The part of each input that is there which belongs to a direction."""
    for name in ("W", "R"):
        if inputs[name] is None:
            raise InvalidInputError(f"{name} is needed; got None")
    arrays = {name: to_numpy(one, name) for name, one in inputs.items() if one is not None}
    of_r, of_w, gates = arrays["R"].shape, arrays["W"].shape, cell.gates
    directions, units = (of_r[0], of_r[2]) if len(of_r) == 3 else (0, 0)
    shapes = {
        "R": ((directions, gates * units, units), f"(directions, {gates} · units, units)"),
        "W": ((directions, gates * units, *of_w[2:3]), f"(directions, {gates} · units, features)"),
        "B": ((directions, 2 * gates * units), f"(directions, {2 * gates} · units)"),
        "P": ((directions, 3 * units), "(directions, 3 · units)"),
    }
    for name, (shape, meaning) in shapes.items():
        if (array := arrays.get(name)) is None:
            continue
        if array.dtype.kind != "f":
            raise UnsupportedTypeError(f"{name} must hold floats; got {array.dtype}")
        if not units or array.shape != shape or array.ndim != meaning.count(",") + 1:
            raise InvalidInputError(
                f"{name} has shape {array.shape}; {meaning} is needed, and R has {of_r}"
            )
    if check_count("direction", direction) >= directions:
        raise InvalidInputError(
            f"direction must be less than the number of them, {directions}; got {direction}"
        )
    return {name: array[direction] for name, array in arrays.items()}


def check_attributes(
    known: tuple[str, ...], direction: int, activations: Any, clip: Any, layout: Any
) -> None:
    """Raise, naming it, for an attribute that changes what is computed."""
    if clip is not None:
        raise UnsupportedTypeError(f"clip={clip!r} is not supported: here sums are not clipped")
    if layout not in (0, 1):
        raise InvalidInputError(f"layout must be 0 or 1; got {layout!r}")
    if activations is None:
        return
    if isinstance(activations, str | bytes):
        raise UnsupportedTypeError(f"activations must be a list of names; got {activations!r}")
    names = [one.decode() if isinstance(one, bytes) else str(one) for one in activations]
    own = names[len(known) * direction :][: len(known)]
    if [one.lower() for one in own] != [one.lower() for one in known]:
        raise UnsupportedTypeError(
            f"activations {', '.join(names)} are not supported: those of a direction must be "
            f"{', '.join(known)}"
        )


def joined(cell: Cell, order: tuple[int, ...], arrays: dict[str, Array]) -> tuple[Array, ...]:
    """Kernel, recurrent kernel and bias, with the gates that ONNX has in this order."""
    kernel, recurrent_kernel = arrays["W"].T, arrays["R"].T
    columns = kernel.shape[1]
    biases = arrays.get("B", np.zeros(2 * columns, kernel.dtype)).reshape(2, columns)
    if not cell.apart:
        biases = biases.sum(0, dtype=np.result_type(biases, np.float32))

    def reordered(array: Array) -> Array:
        gates = np.split(array, cell.gates, axis=-1)
        return np.concatenate([gates[place] for place in order], axis=-1)

    return tuple(map(reordered, (kernel, recurrent_kernel, biases)))
