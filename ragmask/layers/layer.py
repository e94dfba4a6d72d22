"""The layer, and Keras's masking protocol: who makes, uses, changes, passes on and drops a mask."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache, wraps
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from ragmask.errors import InvalidInputError, MissingAttributeError, UnsupportedTypeError
from ragmask.layers.batch import are_ids, as_batch, mask_of, shape_of, spec_of, with_masks
from ragmask.layers.calls import (
    add_masks,
    inputs_and_others,
    names_in,
    normal_shape,
    shapes_for,
    told,
    uses_masks,
)
from ragmask.layers.configured import Configured
from ragmask.layers.graph import (
    Node,
    Symbol,
    check_numbers,
    first_of,
    leaves_of,
    map_structure,
)
from ragmask.layers.limits import spend_call
from ragmask.layers.notes import noted
from ragmask.layers.shapes import found_by_trying, shapes_given
from ragmask.layers.spec import Spec, shown_shape
from ragmask.layers.weighted import Weighted

_FOR_TRAINING = re.compile(r"(\w+_)?(regularizer|constraint)|autocast")
_DTYPES = "float16", "float32", "float64"
_NOT_HELD = "_arguments", "_calls"  # attributes whose layers are no part of this one
NOTHING: Mapping[str, Any] = MappingProxyType({})
_names: Counter[str] = Counter()


def _once(build: Callable[..., None]) -> Callable[..., None]:
    """A `build` that makes weights once and marks the layer as built; none if it fails."""

    first, *_ = names_in(build) or ("input_shape",)

    @wraps(build)
    def built(self: "Layer", input_shape: Any = None, *others: Any, **named: Any) -> None:
        input_shape = named.pop(first, input_shape)
        if self._is_building:  # it is called by that of a subclass
            build(self, input_shape, *others, **named)
            return
        shape = normal_shape(input_shape)
        if self._built_for:
            if self.weights:
                self._check_shape(shape)
            return
        before = self._built_for, dict(self._own_weights), self._fixed
        self._built_for, self._is_building = () if shape is None else shape, True
        try:
            named = {key: normal_shape(one) for key, one in named.items()}
            build(self, shape, *map(normal_shape, others), **named)
        except BaseException:
            self._built_for, self._own_weights, self._fixed = before
            raise
        finally:
            self._is_building = False

    return built


class Layer(Configured, Weighted):
    """What turns batches into batches, has weights, and says what becomes of masks.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> class Relu(rm.layers.Layer):
    ...     def __init__(self, **options):
    ...         super().__init__(**options)
    ...         self.supports_masking = True
    ...
    ...     def call(self, inputs):
    ...         return np.maximum(inputs, 0)
    >>> ids = rm.Ragged.from_rows([[1, 0], [2]])
    >>> vectors = rm.layers.Embedding(3, 4, mask_zero=True)(ids)
    >>> Relu()(vectors).mask
    array([ True, False,  True])

    A layer of your own defines `call(self, inputs)`, and if it wants to see the mask,
    `call(self, inputs, mask=None)`. It may take several batches, `call(self, query, value)`, and
    see the mask of each, `value_mask=None`; a batch may be None, or in a list. Its weights are made
    by `add_weight`, in `__init__` or in `build(self, input_shape)`, which is called once, with None
    for rows and time. Layers held as attributes, or in lists of them, are part of it.

    Masks travel inside batches: `Ragged.mask`, `Padded.mask`. What a layer's output has for a mask
    is what `compute_mask(inputs, mask)` gives: by default the input's own where `supports_masking`
    is True, else none; but where the inputs have none, one that layers inside it made stays. A mask
    passed by hand, `layer(x, mask=m)`, takes the place of x's own. For a Ragged it is a Ragged of
    bools of the same lengths; for others bools (rows, width).

    `layer(x, training=True)` tells a `call` that names `training`, and all layers inside.

    name : by default the class's, in snake_case, and a number.
    dtype : of its weights, "float32" by default.
    input_shape : of a row, where it is the first of a Sequential: (None, features).

    trainable : which of its weights are in `trainable_weights`; nothing is trained here.

    Regularizers and constraints are for training: taken, kept in `get_config`, and not used.
    """

    supports_masking: bool = False
    # whether `call` gives its output the right mask by itself, as ragmask's own layers do
    _masks_itself: bool = False

    # of what `compute_output_shape` supposes that it takes
    _input_dtype: np.dtype[Any] = np.dtype(np.float32)

    name: str
    _built_for: Any
    _is_building: bool
    _calls: list[Node]  # on symbols
    _row_shape: tuple[int | None, ...] | None

    def __new__(cls, *args: Any, **options: Any) -> Self:
        layer = super().__new__(cls)
        made: dict[str, Any] = {"_arguments": (args, options), "_own_weights": {}, "_calls": []}
        made |= {"_built_for": None, "_is_building": False, "_row_shape": None, "_version": 0}
        layer.__dict__.update(made)
        layer.name = _name_of(cls)
        return layer

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        input_shape: Any = None,
        **for_training: Any,
    ) -> None:
        if name is not None:
            if not isinstance(name, str) or not name or "/" in name:
                raise InvalidInputError(f"a layer's name is a word without slashes; got {name!r}")
            self.name = name
        if dtype is not None:
            self.dtype = _dtype_of(self.name, dtype)
        if trainable is not True:
            self.trainable = trainable
        if input_shape is not None:
            self._row_shape = tuple(input_shape)
        for key in for_training:
            if not _FOR_TRAINING.fullmatch(key):
                raise InvalidInputError(
                    f"layer {self.name!r}: {type(self).__name__} takes no {key}="
                )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "build" in vars(cls):
            cls.build = _once(cls.build)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_calls": []}  # a copy has not been called on anything

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name, weight in self._own_weights.items():
            own = np.array(weight)  # what pickle gives may never be written to
            own.flags.writeable = False
            self._own_weights[name] = own
            held = [key for key, value in vars(self).items() if value is weight]
            self.__dict__.update(dict.fromkeys(held, own))

    # -- what a layer of your own may define ------------------------------------------------

    @_once
    def build(self, input_shape: Any) -> None:
        """Make the weights; input_shape has None for rows and time, and is a list for lists.

        It may be called by hand, before `set_weights`, and counts once. Where `call` takes several
        batches by their names, `build(self, query_shape, value_shape)` gets the shapes of each.
        """

    def call(self, inputs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no call(self, inputs)")

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The output's mask, from the inputs and their mask; None for none."""
        return mask if self.supports_masking else None

    # -- weights ----------------------------------------------------------------------------

    @property
    def sublayers(self) -> list["Layer"]:
        """The layers it holds as attributes, in the order they were assigned."""
        found: list[Layer] = []
        for key, value in vars(self).items():
            if key not in _NOT_HELD:
                found += _layers_in(value)
        return list({id(layer): layer for layer in found if layer is not self}.values())

    @property
    def built(self) -> bool:
        """Whether its weights are there: after `build`, or the first call."""
        return self._built_for is not None

    @built.setter
    def built(self, is_built: bool) -> None:
        if not is_built:
            self._built_for = None
        elif self._built_for is None:
            self._built_for = ()  # for any shape

    @property
    def trainable(self) -> bool:
        """Whether it is to be trained, where that is done; the layers it holds with it."""
        return self._is_trainable

    @trainable.setter
    def trainable(self, is_trainable: bool) -> None:
        if not isinstance(is_trainable, bool):
            raise InvalidInputError(
                f"layer {self.name!r}: trainable is to be a boolean; got {is_trainable!r}"
            )
        self._is_trainable = is_trainable
        for layer in self.sublayers:
            layer.trainable = is_trainable

    # -- calling ----------------------------------------------------------------------------

    def __call__(self, *args: Any, mask: Any = None, **options: Any) -> Any:
        with self._noted():
            inputs, args, options = inputs_and_others(type(self).call, args, options)
            if mask is None:  # unless it came by its place
                mask = options.pop("mask", None)
            if first_of(Symbol, (inputs, mask, args, options)) is not None:
                return self._connect(Node(self, inputs, args, mask, options))
            return self._run(inputs, args, mask, options)

    def _run(self, inputs: Any, args: Any, mask: Any, options: dict[str, Any]) -> Any:
        """Call it on batches."""
        spend_call(self._own_weights.values())
        if inputs is None:
            raise UnsupportedTypeError("it is called on None: a layer takes a batch")
        inputs = map_structure(as_batch, inputs)
        self._build_for(inputs, options)
        if mask is not None:
            inputs = with_masks(inputs, mask)
        call = type(self).call
        with told(call, options) as given:
            add_masks(call, inputs, given)
            outputs = self.call(inputs, *args, **given)
        if self._masks_itself:
            return outputs
        own = mask_of(inputs)
        computed = self.compute_mask(inputs, own)
        if own is None and computed is None and type(self).compute_mask is Layer.compute_mask:
            return outputs  # what mask they have was made by the layers inside
        return with_masks(outputs, computed)

    @property
    def uses_mask(self) -> bool:
        """Whether `call` names a mask."""
        return uses_masks(type(self).call)

    def _noted(self) -> AbstractContextManager[None]:
        """Errors inside say that they come from this layer."""
        return noted(f"in layer {self.name!r}")

    def _build_for(self, inputs: Any, options: Mapping[str, Any] = NOTHING) -> None:
        shape = map_structure(shape_of, inputs)
        if self._built_for is None:
            self.build(*shapes_for(type(self).build, type(self).call, inputs, options))
        elif shape != self._built_for and self._own_weights and not are_ids(inputs):
            self._check_shape(shape)  # the layers it holds see to themselves

    def _check_shape(self, shape: Any) -> None:
        """Raise for steps of another shape than the weights were made for."""
        if not _fits(shape, self._built_for):
            raise InvalidInputError(
                f"layer {self.name!r} was built for inputs of shape "
                f"{shown_shape(self._built_for)}; got {shown_shape(shape)}"
            )

    # -- in a graph -------------------------------------------------------------------------

    def _connect(self, node: Node) -> Any:
        """The symbols of what it gives for symbols."""
        parts = node.inputs, node.args, node.mask, node.options
        specs = self._output_specs(
            *map_structure(lambda one: one.spec if isinstance(one, Symbol) else one, parts)
        )
        node.outputs = map_structure(lambda spec: Symbol(spec, node), specs)
        self._calls.append(node)
        return node.outputs

    @property
    def input(self) -> Any:
        """The symbols that it was first called on."""
        return self._first_call.inputs

    @property
    def output(self) -> Any:
        """The symbols that it gave when it was first called on some.

        >>> import ragmask as rm
        >>> frames = rm.layers.Input((None, 12), name="frames")
        >>> hidden = rm.layers.Dense(8, name="hidden")
        >>> model = rm.layers.Model(frames, rm.layers.Dense(2)(hidden(frames)))
        >>> rm.layers.Model(model.inputs, hidden.output).output_names
        ['hidden']
        """
        return self._first_call.outputs

    @property
    def _first_call(self) -> Node:
        if not self._calls:
            raise MissingAttributeError(
                f"layer {self.name!r} was not called on an Input, or on what comes of one: it has "
                "no input and no output"
            )
        return self._calls[0]

    def _output_specs(self, inputs: Any, args: Any, mask: Any, options: dict[str, Any]) -> Any:
        """What is known of its outputs, from what is known of its inputs."""
        if mask is not None:
            inputs = with_masks(inputs, mask)
        given = list(leaves_of(Spec, (inputs, args, options)))
        if _describes_outputs(type(self).__mro__):
            inputs = map_structure(spec_of, inputs)
            self._build_for(inputs, options)
            describe = type(self).compute_output
            with told(describe, options) as known:
                outputs = self.compute_output(inputs, *args, **known)
            if not (self._masks_itself or self.supports_masking):
                outputs = with_masks(outputs, None)
        else:
            check_numbers(given)
            outputs = Layer.compute_output(self, inputs, *args, **options)
        specs = [*given, *leaves_of(Spec, outputs)]
        check_numbers(specs)
        spend_call(self._own_weights.values(), [spec.numbers for spec in specs])
        return outputs

    def compute_output(self, inputs: Any, *args: Any, **options: Any) -> Any:
        """What is known of its outputs: here, found out on made-up rows."""
        is_declared = type(self).compute_output_shape is not Layer.compute_output_shape
        return found_by_trying(self, inputs, args, options, is_declared)

    def compute_output_shape(self, *shapes: Any, **named: Any) -> Any:
        """The shape of what it gives for a batch of this shape, with None for what is not known.

        >>> import ragmask as rm
        >>> rm.layers.LSTM(4, return_sequences=True).compute_output_shape((32, None, 12))
        (32, None, 4)

        For several batches a list of shapes, or one for each argument of `call`.
        """
        with self._noted():
            return shapes_given(self, shapes, named)


@cache
def _describes_outputs(classes: tuple[type, ...]) -> bool:
    """Whether its `compute_output` fits its `call`: a user's class may have one of its own."""
    names = "call", "compute_mask", "compute_output"
    first = next(found for one in classes if (found := set(names) & vars(one).keys()))
    return "compute_output" in first


def _fits(shape: Any, built_for: Any) -> bool:
    if isinstance(shape, list | dict) or built_for == ():
        return True
    if built_for == (None, None):  # steps are numbers, and their width in an array is free
        return len(shape) == 2
    return isinstance(built_for, tuple) and shape[-1:] == built_for[-1:]


def _dtype_of(layer: str, given: Any) -> np.dtype[Any]:
    name = getattr(given, "name", given)  # a numpy dtype's, or a Keras policy's
    if name not in _DTYPES:
        raise UnsupportedTypeError(
            f"layer {layer!r}: dtype is one of {', '.join(map(repr, _DTYPES))}; got {given!r}"
        )
    dtype: np.dtype[Any] = np.dtype(name)
    return dtype


def _layers_in(value: Any) -> list[Layer]:
    if isinstance(value, Layer):
        return [value]
    if isinstance(value, list | tuple):
        return [layer for one in value for layer in _layers_in(one)]
    if isinstance(value, dict):
        return [layer for one in value.values() for layer in _layers_in(one)]
    return []


def layers_inside(layer: Layer) -> list[Layer]:
    """The layers inside one, and inside those, each once."""
    found: list[Layer] = []
    seen, todo = {id(layer)}, layer.sublayers[::-1]
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            found.append(one)
            todo += one.sublayers[::-1]
    return found


def _name_of(cls: type) -> str:
    """Keras's way: `LSTM` is lstm, `TemporalSplit` temporal_split, and numbers tell them apart."""
    return new_name(snake_case(cls.__name__))


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", name).lower()


def new_name(base: str) -> str:
    """A name that no layer has got here before."""
    number = _names[base]
    _names[base] += 1
    return f"{base}_{number}" if number else base
