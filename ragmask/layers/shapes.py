"""What a layer gives, before there is a batch: of the shapes it takes, or found by trying."""

import copy
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import spec_of
from ragmask.layers.calls import inputs_and_others
from ragmask.layers.graph import BATCHES, leaves_of, map_structure
from ragmask.layers.limits import MOST_NUMBERS, limited, spend_call
from ragmask.layers.spec import Spec, is_shape, shown_shape

_ENOUGH = 1 << 40  # weights, which are zeros and soon gone
_MANY_STEPS = 840  # which all numbers up to 8 divide
_trying: ContextVar[bool] = ContextVar("_trying", default=False)


def is_trying() -> bool:
    """Whether a layer runs on made-up rows, which are to leave nothing behind."""
    return _trying.get()


def found_by_trying(
    layer: Any, inputs: Any, args: Any, options: dict[str, Any], is_declared: bool
) -> Any:
    """What is known of a layer's outputs: found out on made-up rows.

    is_declared : its class has a `compute_output_shape` of its own, which counts where that fails.
    """
    given = inputs, args, options

    def tried(steps: int) -> Any:
        inputs, args, options = map_structure(
            lambda one: one.example(steps) if isinstance(one, Spec) else one, given
        )
        token = _trying.set(True)
        try:
            return layer._run(inputs, args, None, options)
        finally:
            _trying.reset(token)

    def known(batch: Any) -> Any:
        if not isinstance(batch, BATCHES):
            raise UnsupportedTypeError(
                f"layer {layer.name!r} gave a {type(batch).__name__}; "
                "a layer gives a Ragged, a Padded, an array, or a list of them"
            )
        return spec_of(batch)

    try:
        outputs = tried(1)
    except Exception:
        numbers = _MANY_STEPS * sum(spec.numbers for spec in leaves_of(Spec, given))
        if numbers <= MOST_NUMBERS:
            spend_call((), [numbers])
            with suppress(Exception):  # perhaps it cuts time, and one step is too few
                return map_structure(known, tried(_MANY_STEPS))
        if is_declared:
            return _declared(layer, inputs)
        raise
    return map_structure(known, outputs)


def _declared(layer: Any, inputs: Any) -> Any:
    """What a class of a user's own says by its `compute_output_shape`, as in Keras."""
    given = list(leaves_of(Spec, inputs))
    shapes = layer.compute_output_shape(map_structure(lambda spec: spec.shape, inputs))

    def declared(shape: Any) -> Any:
        if not is_shape(shape):
            return [declared(one) for one in shape]
        has_time = len(shape) > 1 and shape[1] is None
        kind: Any = "ragged" if has_time else "dense"
        is_masked = layer.supports_masking and any(spec.is_masked for spec in given)
        return Spec((None, *shape[1:]), layer.dtype, kind).masked(is_masked)

    return declared(shapes)


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
