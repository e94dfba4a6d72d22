"""The layer, and Keras's masking protocol: who makes, uses, changes, passes on and drops a mask."""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import cache
from typing import Any

import numpy as np

from ragmask.arrays.coerce import to_numpy
from ragmask.arrays.protocol import Array, check_size
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers import initializers
from ragmask.layers.batch import are_ids, as_batch, mask_of, shape_of, spec_of, with_masks
from ragmask.layers.graph import (
    BATCHES,
    Node,
    Symbol,
    check_numbers,
    first_of,
    leaves_of,
    map_structure,
)
from ragmask.layers.limits import MOST_NUMBERS, spend_call
from ragmask.layers.notes import noted
from ragmask.layers.spec import Spec, shown_shape

_MANY_STEPS = 840  # which all numbers up to 8 divide
_names: Counter[str] = Counter()


class Layer:
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
    `call(self, inputs, mask=None)`. Its weights are made by `add_weight`, in `__init__` or in
    `build(self, input_shape)`, which is called once, with None for rows and time. Layers held as
    attributes, or in lists of them, are part of it.

    Masks travel inside batches: `Ragged.mask`, `Padded.mask`. What a layer's output has for a mask
    is what `compute_mask(inputs, mask)` gives: by default the input's own where `supports_masking`
    is True, else none; but where the inputs have none, one that layers inside it made stays. A mask
    passed by hand, `layer(x, mask=m)`, takes the place of x's own. For a Ragged it is a Ragged of
    bools of the same lengths; for others bools (rows, width).

    name : by default the class's, in snake_case, and a number.
    """

    supports_masking: bool = False
    # whether `call` gives its output the right mask by itself, as ragmask's own layers do
    _masks_itself: bool = False

    name: str
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    _own_weights: dict[str, Array]
    _built_for: Any
    _version: int  # how often `set_weights` has changed its weights

    def __new__(cls, *args: Any, **options: Any) -> "Layer":
        layer = super().__new__(cls)
        made: dict[str, Any] = {"_arguments": (args, options), "_own_weights": {}}
        layer.__dict__.update(made, _built_for=None, _version=0)
        layer.name = _name_of(cls)
        return layer

    def __init__(self, *, name: str | None = None) -> None:
        if name is not None:
            if not isinstance(name, str) or not name or "/" in name:
                raise InvalidInputError(f"a layer's name is a word without slashes; got {name!r}")
            self.name = name

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name, weight in self._own_weights.items():
            own = np.array(weight)  # what pickle gives may never be written to
            own.flags.writeable = False
            self._own_weights[name] = own
            held = [key for key, value in vars(self).items() if value is weight]
            self.__dict__.update(dict.fromkeys(held, own))

    # -- what a layer of your own may define ------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights; input_shape has None for rows and time, and is a list for lists."""

    def call(self, inputs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no call(self, inputs)")

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The output's mask, from the inputs and their mask; None for none."""
        return mask if self.supports_masking else None

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again: those it was made with, and its name."""
        parameters = inspect.signature(type(self).__init__)
        args, options = self._arguments
        bound = parameters.bind(self, *args, **options).arguments
        config = dict(list(bound.items())[1:])
        for key, parameter in parameters.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                config.update(config.pop(key, {}))
        return {**config, "name": self.name}

    # -- weights ----------------------------------------------------------------------------

    def add_weight(
        self,
        name: str | None = None,
        shape: Any = (),
        initializer: Any = "glorot_uniform",
        dtype: Any = "float32",
        **_: Any,
    ) -> Array:
        """A new weight: an array that only `set_weights` may change.

        initializer : "glorot_uniform", "orthogonal", "random_normal", "random_uniform", "zeros",
            "ones", or a function of a shape. Drawn from the generator that `set_random_seed` sets.
        """
        name = name or f"weight_{len(self._own_weights)}"
        if name in self._own_weights:
            raise InvalidInputError(f"layer {self.name!r} has a weight {name!r} already")
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        what = f"layer {self.name!r}: its weight {name!r}"
        check_size(shape, 8)  # bytes, in which numbers are drawn
        weight = np.ascontiguousarray(initializers.make(initializer, shape, what), dtype)
        if weight.shape != shape:
            raise InvalidInputError(
                f"layer {self.name!r}: the initializer of {name!r} gave shape {weight.shape}; "
                f"the weight has {shape}"
            )
        weight.flags.writeable = False
        self._own_weights[name] = weight
        return weight

    @property
    def sublayers(self) -> list["Layer"]:
        """The layers it holds as attributes, in the order they were assigned."""
        found: list[Layer] = []
        for key, value in vars(self).items():
            if key != "_arguments":
                found += _layers_in(value)
        return list({id(layer): layer for layer in found if layer is not self}.values())

    def named_weights(self) -> Iterator[tuple[str, Array]]:
        """("name/weight", array): its own, then those of its layers, each once."""
        yield from self._named_weights(set())

    def _named_weights(self, seen: set[int]) -> Iterator[tuple[str, Array]]:
        """Those of layers that were not seen yet."""
        seen.add(id(self))
        for name, weight in self._own_weights.items():
            yield f"{self.name}/{name}", weight
        for layer in self.sublayers:
            if id(layer) not in seen:
                for name, weight in layer._named_weights(seen):
                    yield f"{self.name}/{name}", weight

    @property
    def weights(self) -> list[Array]:
        """Its arrays, read-only, in Keras's order."""
        return [weight for _, weight in self.named_weights()]

    def get_weights(self) -> list[Array]:
        """Copies of its arrays, in Keras's order."""
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Replace all weights: arrays of the shapes that `get_weights` gives."""
        given = [to_numpy(array, "a weight") for array in weights]
        own = list(self.named_weights())
        if len(given) != len(own):
            built = "" if self.built else "; it is not built yet: call it on a batch first"
            raise InvalidInputError(
                f"layer {self.name!r} has {len(own)} weights; got {len(given)}{built}"
            )
        for (name, weight), array in zip(own, given, strict=True):
            if array.shape != weight.shape:
                raise InvalidInputError(
                    f"layer {self.name!r}: weight {name!r} has shape {weight.shape}; "
                    f"got {array.shape}"
                )
            if array.dtype.kind not in "biuf":
                raise UnsupportedTypeError(
                    f"layer {self.name!r}: weight {name!r} is {weight.dtype}; got {array.dtype}"
                )
        for (_, weight), array in zip(own, given, strict=True):
            weight.flags.writeable = True
            weight[...] = array
            weight.flags.writeable = False
        self._weights_changed()

    def _weights_changed(self) -> None:
        """Forget what was computed from the weights."""
        self._version += 1
        for layer in self.sublayers:
            layer._weights_changed()

    def count_params(self) -> int:
        """How many numbers its weights are."""
        return sum(weight.size for weight in self.weights)

    @property
    def built(self) -> bool:
        """Whether its weights are there."""
        return self._built_for is not None

    # -- calling ----------------------------------------------------------------------------

    def __call__(self, inputs: Any, *args: Any, mask: Any = None, **options: Any) -> Any:
        with self._noted():
            if "training" in options and not takes(type(self).call, "training"):
                del options["training"]  # any layer may be told, as in Keras
            if first_of(Symbol, (inputs, mask, args, options)) is not None:
                return self._connect(Node(self, inputs, args, mask, options))
            return self._run(inputs, args, mask, options)

    def _run(self, inputs: Any, args: Any, mask: Any, options: dict[str, Any]) -> Any:
        """Call it on batches."""
        spend_call(self._own_weights.values())
        inputs = map_structure(as_batch, inputs)
        self._build_for(inputs)
        if mask is not None:
            inputs = with_masks(inputs, mask)
        if self.uses_mask:
            options["mask"] = mask_of(inputs)
        outputs = self.call(inputs, *args, **options)
        if self._masks_itself:
            return outputs
        given = mask_of(inputs)
        computed = self.compute_mask(inputs, given)
        if given is None and computed is None and type(self).compute_mask is Layer.compute_mask:
            return outputs  # what mask they have was made by the layers inside
        return with_masks(outputs, computed)

    # -- in a graph -------------------------------------------------------------------------

    def _connect(self, node: Node) -> Any:
        """The symbols of what it gives for symbols."""
        parts = node.inputs, node.args, node.mask, node.options
        specs = self._output_specs(
            *map_structure(lambda one: one.spec if isinstance(one, Symbol) else one, parts)
        )
        node.outputs = map_structure(lambda spec: Symbol(spec, node), specs)
        return node.outputs

    def _output_specs(self, inputs: Any, args: Any, mask: Any, options: dict[str, Any]) -> Any:
        """What is known of its outputs, from what is known of its inputs."""
        if mask is not None:
            inputs = with_masks(inputs, mask)
        given = list(leaves_of(Spec, (inputs, args, options)))
        if _describes_outputs(type(self).__mro__):
            inputs = map_structure(spec_of, inputs)
            self._build_for(inputs)
            outputs = self.compute_output(inputs, *args, **options)
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
        given = inputs, args, options

        def tried(steps: int) -> Any:
            inputs, args, options = map_structure(
                lambda one: one.example(steps) if isinstance(one, Spec) else one, given
            )
            return self._run(inputs, args, None, options)

        def known(batch: Any) -> Spec:
            if not isinstance(batch, BATCHES):
                raise UnsupportedTypeError(
                    f"layer {self.name!r} gave a {type(batch).__name__}; "
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
            raise
        return map_structure(known, outputs)

    def _noted(self) -> AbstractContextManager[None]:
        """Errors inside say that they come from this layer."""
        return noted(f"in layer {self.name!r}")

    @property
    def uses_mask(self) -> bool:
        """Whether `call` names a mask."""
        return takes(type(self).call, "mask")

    def _build_for(self, inputs: Any) -> None:
        shape = map_structure(shape_of, inputs)
        if self._built_for is None:
            self._built_for = shape
            try:
                self.build(shape)
            except BaseException:
                self._built_for = None
                raise
        elif shape != self._built_for and self._own_weights and not are_ids(inputs):
            self._check_shape(shape)  # the layers it holds see to themselves

    def _check_shape(self, shape: Any) -> None:
        """Raise for steps of another shape than the weights were made for."""
        if not _fits(shape, self._built_for):
            raise InvalidInputError(
                f"layer {self.name!r} was built for inputs of shape "
                f"{shown_shape(self._built_for)}; got {shown_shape(shape)}"
            )

    def __repr__(self) -> str:
        config = {key: value for key, value in self.get_config().items() if key != "name"}
        arguments = "".join(f", {key}={value!r}" for key, value in config.items())
        return f"{type(self).__name__}({self.name!r}{arguments})"


@cache
def _describes_outputs(classes: tuple[type, ...]) -> bool:
    """Whether its `compute_output` fits its `call`: a user's class may have one of its own."""
    names = "call", "compute_mask", "compute_output"
    first = next(found for one in classes if (found := set(names) & vars(one).keys()))
    return "compute_output" in first


@cache
def takes(call: Callable[..., Any], argument: str) -> bool:
    """Whether a layer's `call` names this argument."""
    return argument in inspect.signature(call).parameters


def _fits(shape: Any, built_for: Any) -> bool:
    if isinstance(shape, list | dict):
        return True
    if built_for == (None, None):  # steps are numbers, and their width in an array is free
        return len(shape) == 2
    return isinstance(built_for, tuple) and shape[-1:] == built_for[-1:]


def _layers_in(value: Any) -> list[Layer]:
    if isinstance(value, Layer):
        return [value]
    if isinstance(value, list | tuple):
        return [layer for one in value for layer in _layers_in(one)]
    if isinstance(value, dict):
        return [layer for one in value.values() for layer in _layers_in(one)]
    return []


def _name_of(cls: type) -> str:
    """Keras's way: `LSTM` is lstm, `TemporalSplit` temporal_split, and numbers tell them apart."""
    base = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
    number = _names[base]
    _names[base] += 1
    return f"{base}_{number}" if number else base
