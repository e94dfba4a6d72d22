"""What layers' arguments have in common: checked, or refused by name."""

from typing import Any

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.spec import shown_shape


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """A layer's options without those of quantized weights and adapters: none may be set."""
    for key in ("lora_rank", "lora_alpha", "quantization_config"):
        value = options.pop(key, None)
        if value is not None:
            raise UnsupportedTypeError(
                f"weights are plain arrays here: {key}={value!r} is for Keras; merge or dequantize "
                "them there, and take the weights that come of it"
            )
    return options


def axes_of(name: str, given: Any) -> list[int]:
    """One axis, or several, as a list."""
    axes = list(given) if isinstance(given, list | tuple) else [given]
    if not axes or any(isinstance(one, bool) or not hasattr(one, "__index__") for one in axes):
        raise UnsupportedTypeError(f"{name} is a number, or a list of numbers; got {given!r}")
    return [int(one) for one in axes]


def axes_in(layer: str, axis: Any, shape: Any) -> list[int]:
    """The axes of a layer's inputs, from the first, each once."""
    ndim = len(shape)
    axes = axes_of("axis", axis)
    if any(not -ndim <= one < ndim for one in axes):
        raise InvalidInputError(
            f"layer {layer!r} has axis={axis}: it is out of bounds for inputs of shape "
            f"{shown_shape(shape)}"
        )
    return sorted({one % ndim for one in axes})
