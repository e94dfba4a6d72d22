"""The states that a recurrent layer's rows begin with."""

from typing import Any

from ragmask.device_array import same_device
from ragmask.devices import Array, read_only, values_array
from ragmask.errors import InvalidInputError, UnsupportedTypeError


def initial_pair(initial: Any, like: Array) -> tuple[Array, Array]:
    """The caller's (h, c), checked: of like's shape and on its device, and cast to its dtype."""
    if not isinstance(initial, tuple | list) or len(initial) != 2:
        raise InvalidInputError(
            f"initial_state is a pair (h, c), each of shape {like.shape}; "
            f"got {type(initial).__name__}"
        )
    h, c = (
        values_array(state, f"initial_state's {name}")
        for name, state in zip("hc", initial, strict=True)
    )
    same_device(x=like, h=h, c=c)
    return _checked(h, "h", like), _checked(c, "c", like)


def _checked(state: Array, name: str, like: Array) -> Array:
    if state.dtype.kind not in "biuf":
        raise UnsupportedTypeError(f"initial_state's {name} holds no reals; got {state.dtype}")
    if state.shape != like.shape:
        raise InvalidInputError(
            f"initial_state's {name} has shape {state.shape}; (rows, units) is {like.shape}"
        )
    return read_only(state.astype(like.dtype, copy=False))
