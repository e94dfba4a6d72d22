"""The shape of what a layer gives, of the shapes of what it takes."""

import copy
from typing import Any

from ragmask.errors import InvalidInputError
from ragmask.layers.calls import inputs_and_others
from ragmask.layers.graph import map_structure
from ragmask.layers.limits import limited
from ragmask.layers.spec import Spec, is_shape, shown_shape

_ENOUGH = 1 << 40  # weights, which are zeros and soon gone


def shapes_given(layer: Any, shapes: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What `Layer.compute_output_shape` does. A layer that has no weights yet is left so."""
    if "input_shape" in named:
        shapes = (named.pop("input_shape"), *shapes)
    args = tuple(_specs_of(shape, layer) for shape in shapes)
    options = {key.removesuffix("_shape"): _specs_of(one, layer) for key, one in named.items()}
    inputs, args, options = inputs_and_others(type(layer).call, args, options)
    rows = _rows_of((*shapes, *named.values()))
    with limited(_ENOUGH):
        layer = layer if layer.built else copy.deepcopy(layer)
        outputs = layer._output_specs(inputs, args, None, options)
    return map_structure(lambda spec: (rows, *spec.shape[1:]), outputs)


def _specs_of(shape: Any, layer: Any) -> Any:
    """What is known of batches of these shapes."""
    if shape is None:
        return None
    if isinstance(shape, dict):
        return {key: _specs_of(one, layer) for key, one in shape.items()}
    if not is_shape(shape):
        if not isinstance(shape, list | tuple):
            raise InvalidInputError(
                f"a shape is a tuple of sizes, or a list of such; got {shape!r}"
            )
        return [_specs_of(one, layer) for one in shape]
    if len(shape) < 1 or any(size is None for size in shape[2:]):
        raise InvalidInputError(
            f"a shape is (rows, …) or (rows, time, …), and only rows and time may be None; "
            f"got {shown_shape(tuple(shape))}"
        )
    kind: Any = "ragged" if len(shape) > 1 and shape[1] is None else "dense"
    return Spec((None, *shape[1:]), layer._input_dtype, kind)


def _rows_of(shapes: Any) -> int | None:
    """The first number of rows that is written."""
    if is_shape(shapes):
        return shapes[0] if shapes else None
    parts = shapes.values() if isinstance(shapes, dict) else shapes
    return next((rows for one in parts or () if (rows := _rows_of(one)) is not None), None)
