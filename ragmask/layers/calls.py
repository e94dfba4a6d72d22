"""How a layer's functions are called: what they name, and what the call around them says."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from ragmask.errors import InvalidInputError
from ragmask.layers.batch import mask_of, shape_of
from ragmask.layers.graph import BATCHES, first_of, map_structure
from ragmask.layers.spec import Spec, is_shape

_training: ContextVar[bool | None] = ContextVar("_training", default=None)
_NAMED = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD


@contextmanager
def told(function: Callable[..., Any], options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Options for a layer's function; `training` is among them where it names that, and known.

    It is known from these options, else from the call around this one, and reaches those inside.
    """
    options = dict(options)
    given = options.pop("training", None)
    training = _training.get() if given is None else bool(given)
    if training is not None and takes(function, "training"):
        options["training"] = training
    token = _training.set(training)
    try:
        yield options
    finally:
        _training.reset(token)


@cache
def names_in(function: Callable[..., Any]) -> tuple[str, ...]:
    """What a function names, without what it calls self."""
    return tuple(inspect.signature(function).parameters)[1:]


@cache
def takes(function: Callable[..., Any], argument: str) -> bool:
    return argument in names_in(function)


@cache
def _in_order(function: Callable[..., Any]) -> tuple[str, ...]:
    """What may be given without a name, in its order."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return tuple(one.name for one in parameters if one.kind in _NAMED)


@cache
def _takes_more(function: Callable[..., Any]) -> bool:
    """Whether it takes any number of things without a name."""
    parameters = inspect.signature(function).parameters.values()
    return any(one.kind is one.VAR_POSITIONAL for one in parameters)


def inputs_and_others(
    call: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """What comes first, what is left without a name, and everything else by its name."""
    names = _in_order(call)
    if args:
        first, *rest = args
    elif names and names[0] in options:
        first, rest = options.pop(names[0]), []
    else:
        what = names[0] if names else "inputs"
        raise InvalidInputError(f"it is called on nothing: pass it {what}")
    if _takes_more(call):
        return first, tuple(rest), options
    for name, value in zip(names[1:], rest, strict=False):
        if name in options:
            raise InvalidInputError(f"it is given {name!r} twice: by its place and by its name")
        options[name] = value
    return first, tuple(rest[len(names[1:]) :]), options


def uses_masks(call: Callable[..., Any]) -> bool:
    return takes(call, "mask") or bool(_masks_named(call))


@cache
def _masks_named(call: Callable[..., Any]) -> tuple[tuple[str, str], ...]:
    """Each batch whose mask a call names, and what it names it."""
    names = names_in(call)
    return tuple((name, f"{name}_mask") for name in names if f"{name}_mask" in names)


def add_masks(call: Callable[..., Any], inputs: Any, options: dict[str, Any]) -> None:
    """Give a call the masks that it names and was not given: `mask` is that of what comes first,
    `value_mask` that of `value`."""
    if takes(call, "mask") and "mask" not in options:
        options["mask"] = mask_of(inputs)
    for name, wanted in _masks_named(call):
        if options.get(wanted) is None:
            is_first = name == names_in(call)[0]
            options[wanted] = mask_of(inputs if is_first else options.get(name))


def shapes_for(
    build: Callable[..., Any], call: Callable[..., Any], inputs: Any, options: Mapping[str, Any]
) -> list[Any]:
    """The shapes that a layer is built for: of what comes first; where `build` takes several, of
    those that it names, `value_shape` of `value`."""
    wanted, names = _in_order(build), names_in(call)
    if len(wanted) < 2:
        return [map_structure(shape_of, inputs)]
    given = {**dict.fromkeys(names[:1], inputs), **options}
    shapes = []
    for shape in wanted:
        name = shape.removesuffix("_shape")
        if name == shape or name not in names:
            raise InvalidInputError(
                "where build takes several shapes, each is NAME_shape, of what call takes as NAME, "
                f"{', '.join(names)}; got {shape}"
            )
        batch = given.get(name)
        known = first_of(BATCHES | Spec, batch) is not None
        shapes.append(map_structure(shape_of, batch) if known else None)
    return shapes


def normal_shape(shape: Any) -> Any:
    """A shape as `shape_of` gives it, of one that a caller wrote: None for rows and time."""
    if isinstance(shape, dict):
        return {key: normal_shape(one) for key, one in shape.items()}
    if is_shape(shape):
        has_time = len(shape) > 2 or tuple(shape[1:]) == (None,)
        lead = (None, None) if has_time else (None,)
        return (*lead, *(one if one is None else int(one) for one in shape[len(lead) :]))
    return [normal_shape(one) for one in shape] if isinstance(shape, list | tuple) else shape
