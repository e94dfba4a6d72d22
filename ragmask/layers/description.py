"""What model.json says: a model as JSON, and a model of JSON that anybody may have written.

It lists layers in an order in which each names, by their numbers, only those before it; models are
layers too, and the last is the one that was saved:

    {"format": "ragmask model 1",
     "layers": [
       {"class": "InputLayer", "name": "ids", "config": {"shape": [null], "dtype": "int32"}},
       {"class": "LSTM", "name": "lstm", "config": {"units": 32}},
       {"class": "Sequential", "name": "guide", "input": 0, "chain": [1]}]}

A Model has nodes in the place of a chain: a layer's number, and what it is called on. What a
description may cost is bounded by what it brings along, so that no small file fills the memory or
never ends.
"""

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from reprlib import repr as short
from typing import Any

import numpy as np

from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, RagmaskError, UnsupportedTypeError
from ragmask.files import MODEL_FORMAT
from ragmask.layers import initializers
from ragmask.layers.graph import Symbol, input_symbol, symbols_in
from ragmask.layers.inputs import InputLayer
from ragmask.layers.layer import Layer
from ragmask.layers.registry import class_of, is_model, registered

FORMAT = f"{MODEL_FORMAT}1"
Model = Any  # layers.model.Model, which saves itself by what is here


# -- writing ------------------------------------------------------------------------------


def describe(model: Model) -> dict[str, Any]:
    """A model as JSON, without its weights."""
    return {"format": FORMAT, "layers": _Writer().write(model)}


class _Writer:
    """Layers as JSON, each once, behind those it needs."""

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self.numbers: dict[int, int] = {}

    def write(self, model: Model) -> list[dict[str, Any]]:
        self.number_of(model)
        return self.layers

    def number_of(self, layer: Layer) -> int:
        if id(layer) not in self.numbers:
            told = self.tell_model(layer) if is_model(layer) else self.tell_layer(layer)
            self.numbers[id(layer)] = len(self.layers)
            self.layers.append(told)
        return self.numbers[id(layer)]

    def tell_layer(self, layer: Layer) -> dict[str, Any]:
        cls = type(layer)
        if registered(cls.__name__) is not cls:
            raise InvalidInputError(
                f"layer {layer.name!r} is of class {cls.__name__}, which no saved model can name: "
                "put @rm.layers.register above it"
            )
        config = {
            key: self.tell(value, f"layer {layer.name!r}", {})
            for key, value in layer.get_config().items()
            if not (callable(value) and key.endswith("initializer"))  # its weights are there
        }
        if not _takes(cls, "name"):
            config.pop("name", None)
        told = {"class": cls.__name__, "name": layer.name, "config": config}
        held = [one.name for one in _held(layer)]
        return {**told, "holds": held} if held else told

    def tell_model(self, model: Model) -> dict[str, Any]:
        if type(model) not in map(registered, ("Model", "Sequential")):
            raise UnsupportedTypeError(
                f"model {model.name!r} is of class {type(model).__name__}: only a Model or a "
                "Sequential itself can be saved"
            )
        head: dict[str, Any] = {"class": type(model).__name__, "name": model.name}
        if type(model).__name__ == "Sequential":
            head["input"] = self.number_of(model.inputs.node.layer)
            return {**head, "chain": [self.number_of(layer) for layer in model._given_layers]}
        places = {
            id(symbol): [number, at]
            for number, node in enumerate(model._nodes)
            for at, symbol in enumerate(symbols_in(node.outputs))
        }
        nodes = []
        for node in model._nodes:
            told: dict[str, Any] = {"layer": self.number_of(node.layer)}
            parts = {"inputs": node.inputs, "mask": node.mask}
            parts |= {"args": node.args or None, "options": node.options or None}
            for key, value in parts.items():
                if value is not None:
                    told[key] = self.tell(value, f"layer {node.layer.name!r}", places)
            nodes.append(told)
        ends = {
            key: self.tell(value, f"model {model.name!r}", places)
            for key, value in (("inputs", model.inputs), ("outputs", model.outputs))
        }
        return {**head, "nodes": nodes, **ends}

    def tell(self, value: Any, where: str, places: Mapping[int, list[int]]) -> Any:
        """JSON; what JSON has not is {kind: JSON}."""

        def tell(one: Any) -> Any:
            return self.tell(one, where, places)

        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Symbol):
            return {"symbol": places[id(value)]}
        if isinstance(value, Layer):
            return {"layer": self.number_of(value)}
        if isinstance(value, list):
            return [tell(one) for one in value]
        if isinstance(value, tuple):
            return {"tuple": [tell(one) for one in value]}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"dict": {key: tell(one) for key, one in value.items()}}
        if isinstance(value, np.dtype):
            return value.name
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            numbers = [tell(one) for one in value.reshape(-1).tolist()]
            return {"array": [value.dtype.name, list(value.shape), numbers]}
        kind = "dict whose keys are no strings" if isinstance(value, dict) else type(value).__name__
        raise UnsupportedTypeError(f"{where} is given a {kind}, which cannot be saved as JSON")


def _takes(cls: type, argument: str) -> bool:
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    return argument in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _held(layer: Layer) -> list[Layer]:
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


# -- reading ------------------------------------------------------------------------------


def model_of(told: Any, numbers: int) -> Model:
    """The model of a description; its weights are zeros yet.

    numbers : how many its weights are in the file: what it asks for beyond is an error.
    """
    return _Reader(numbers).read(told)


@contextmanager
def about(what: str) -> Iterator[None]:
    """Errors inside say what they are about; there are no others than ragmask's."""
    try:
        yield
    except RagmaskError as error:
        if getattr(error, "__notes__", [""])[-1] != f"in {what}":
            error.add_note(f"in {what}")
        raise
    except OSError:
        raise
    except Exception as error:  # what wrong types lead to, in a layer's own code too
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        refused = InvalidInputError(f"{kind}{error}")
        refused.add_note(f"in {what}")
        raise refused from error


# What a description may ask for, whatever its file's size: small beside any memory and patience.
_SPARE_NUMBERS = 1 << 24  # of weights beyond those in the file
_TRIED_NUMBERS = 1 << 28  # of inputs and outputs, when layers are tried on a row
_CALL = 300_000  # numbers that could be multiplied in the time of a call
_SHARED = 1000  # calls of a layer that is as large as all weights


class _Reader:
    """Makes layers and models of a description that may hold anything.

    numbers : how many there are in the file of weights.
    """

    def __init__(self, numbers: int) -> None:
        self.layers: list[Layer] = []
        self.holds: list[tuple[Layer, list[str]]] = []
        self.costs: dict[int, int] = {}  # of a call of each layer, in multiplications
        self.widths: dict[int, int] = {}  # the most numbers of a step inside each model
        self.most_numbers = numbers + _SPARE_NUMBERS
        self.work_left = self.most_numbers * _SHARED
        self.tried_left = _TRIED_NUMBERS

    def read(self, told: Mapping[str, Any]) -> Model:
        with initializers.as_zeros(self.most_numbers):
            self.make_layers(_get(told, "layers", list, "the description"))
        if not self.layers or not is_model(self.layers[-1]):
            raise InvalidInputError("the last of its layers is no model")
        for layer, names in self.holds:
            self.name_held(layer, names)
        return self.layers[-1]

    def make_layers(self, layers: list[Any]) -> None:
        for one in layers:
            name = _get(one, "name", str, f"layer {len(self.layers)}")
            if not name or "/" in name:
                raise InvalidInputError(f"a layer's name is a word without slashes; got {name!r}")
            with about(f"layer {name!r}"):
                self.layers.append(self.make_layer(one, name))

    # -- layers

    def make_layer(self, told: Mapping[str, Any], name: str) -> Layer:
        kind = _get(told, "class", str, "it")
        if kind in ("Model", "Sequential"):
            make = self.make_model if kind == "Model" else self.make_sequential
            model: Layer = make(told, name)
            return model
        cls = registered(kind)
        if cls is None:
            raise InvalidInputError(
                f"layer {name!r} is of class {short(kind)}, which is not known here: import what "
                "defines it, with @rm.layers.register above it, before loading"
            )
        config = _get(told, "config", dict, "it")
        layer = cls(**{key: self.make(value, []) for key, value in config.items()})
        layer.name = name
        held = _get(told, "holds", list, "it") if "holds" in told else []
        self.holds.append((layer, held))
        return layer

    def name_held(self, layer: Layer, names: list[str]) -> None:
        """Layers that a layer made for itself get the names that their weights are known by."""
        held = _held(layer)
        with about(f"layer {layer.name!r}"):
            if len(held) != len(names):
                raise InvalidInputError(f"it holds {len(held)} layers; the file has {len(names)}")
            for one, name in zip(held, names, strict=True):
                if not isinstance(name, str):
                    raise InvalidInputError(f"a layer's name is a word; got {short(name)}")
                one.name = name

    # -- models

    def make_model(self, told: Mapping[str, Any], name: str) -> Model:
        made: list[list[Symbol]] = []
        before = self.work_left
        for node in _get(told, "nodes", list, "it"):
            layer = self.layer_at(_get(node, "layer", int, "a node"))
            with about(f"layer {layer.name!r}"):
                parts = [
                    self.make(node.get(key), made) for key in ("inputs", "args", "mask", "options")
                ]
                made.append(list(symbols_in(self.call(layer, *parts))))
        ends = [self.make(_get(told, key, None, "it"), made) for key in ("inputs", "outputs")]
        model = class_of("Model")(*ends, name=name)
        return self.priced(model, before)

    def make_sequential(self, told: Mapping[str, Any], name: str) -> Model:
        entry = self.layer_at(_get(told, "input", int, "it"))
        chain = [self.layer_at(number) for number in _get(told, "chain", list, "it")]
        if not isinstance(entry, InputLayer) or not chain:
            raise InvalidInputError("a Sequential has an input and layers")
        before = self.work_left
        model = class_of("Sequential")([self.call(entry)], name=name)
        output = model._entry
        for layer in chain:
            with about(f"layer {layer.name!r}"):
                if isinstance(layer, InputLayer):
                    raise InvalidInputError("an Input comes first")
                output = self.call(layer, output)
        model._given_layers = chain
        model.inputs, model.outputs = model._entry, output
        model._set_graph()
        return self.priced(model, before)

    def call(
        self,
        layer: Layer,
        inputs: Any = None,
        args: Any = None,
        mask: Any = None,
        options: Any = None,
    ) -> Any:
        """What a layer gives for symbols; what that costs is paid before."""
        if isinstance(layer, InputLayer):
            self.try_on(math.prod(size or 1 for size in layer.shape))
            return input_symbol(layer, layer.shape, layer.dtype)
        sources = list(symbols_in((inputs, args, mask, options)))
        if not sources:
            raise InvalidInputError("it is called on nothing that comes from an input")
        steps = layer._probe_steps
        self.try_on(sum(_numbers(one, steps) for one in sources))
        self.try_on(self.widths.get(id(layer), 0) * steps)
        if id(layer) not in self.costs:
            self.costs[id(layer)] = _CALL * (1 + len(_held(layer)))
            self.costs[id(layer)] += layer.count_params()
        self.work_left -= self.costs[id(layer)]
        if self.work_left < 0:
            raise InvalidInputError("so many calls of layers in models in models would never end")
        outputs = layer(inputs, *(args or ()), mask=mask, **(options or {}))
        self.try_on(sum(_numbers(one, 1) for one in symbols_in(outputs)))
        return outputs

    def try_on(self, numbers: int) -> None:
        self.tried_left -= numbers
        if self.tried_left < 0:
            raise InvalidInputError("steps of so many numbers are more than fits any memory")

    def priced(self, model: Model, before: int) -> Model:
        """A model, once it is known what calling it costs."""
        self.costs[id(model)] = before - self.work_left
        self.widths[id(model)] = max(
            sum(_numbers(one, 1) for one in (*node.sources(), *symbols_in(node.outputs)))
            for node in model._nodes
        )
        return model

    # -- values

    def layer_at(self, number: Any) -> Layer:
        if type(number) is not int or not 0 <= number < len(self.layers):
            raise InvalidInputError(
                f"it needs layer {short(number)}, which is not there before it: layers cannot hold "
                "each other in a cycle"
            )
        return self.layers[number]

    def make(self, told: Any, made: list[list[Symbol]]) -> Any:
        """What `_Writer.tell` told, of symbols that are made already."""
        if isinstance(told, list):
            return [self.make(one, made) for one in told]
        if not isinstance(told, dict):
            return told
        if len(told) != 1:
            raise InvalidInputError(f"{short(told)} is no {{kind: value}}")
        ((kind, value),) = told.items()
        if kind == "symbol":
            node, at = value
            if not (0 <= node < len(made) and 0 <= at < len(made[node])):
                raise InvalidInputError(
                    f"something needs output {at} of node {node}, which is not there before it: "
                    "a graph has no cycles"
                )
            return made[node][at]
        if kind == "layer":
            return self.layer_at(value)
        if kind == "float":
            return float(value)
        if kind == "tuple":
            return tuple(self.make(one, made) for one in value)
        if kind == "dict":
            return {key: self.make(one, made) for key, one in value.items()}
        if kind == "array":
            dtype, shape, numbers = value
            array = np.array([self.make(one, made) for one in numbers], dtype)
            if array.dtype.kind not in "biuf":
                raise InvalidInputError(f"an array of {array.dtype} is none of numbers")
            return array.reshape(shape)
        raise InvalidInputError(f"{short(kind)} is no kind of value")


def _numbers(symbol: Symbol, steps: int) -> int:
    """How many numbers a symbol stands for when a layer is tried on a row of so many steps."""
    example = symbol.example
    if isinstance(example, Ragged):
        return math.prod(example.item_shape) * max(steps, 1)
    return math.prod(example.shape)


def _get(told: Any, key: str, kind: type | None, what: str) -> Any:
    """An entry of a JSON object, of the kind it must be."""
    if not isinstance(told, dict) or key not in told:
        raise InvalidInputError(f"{what} has no {key!r}: {short(told)}")
    if kind is not None and type(told[key]) is not kind:
        words = {list: "a list", dict: "an object", str: "a string", int: "a number"}
        raise InvalidInputError(
            f"{what} must have {words[kind]} as {key!r}; got {short(told[key])}"
        )
    return told[key]
