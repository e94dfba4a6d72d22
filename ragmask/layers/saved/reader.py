"""A model of JSON that anybody may have written."""

from collections.abc import Mapping
from functools import partial
from reprlib import repr as short
from typing import Any

import numpy as np

from ragmask.errors import InvalidInputError
from ragmask.layers.graph import Symbol, symbols_in
from ragmask.layers.inputs import InputLayer
from ragmask.layers.layer import Layer, layers_inside
from ragmask.layers.limits import limited
from ragmask.layers.network import Network
from ragmask.layers.notes import noted
from ragmask.layers.registry import MODELS, REGISTERED
from ragmask.layers.saved.writer import FORMAT


def model_of(description: Any, numbers: int) -> Network:
    """The model of a description; its weights are zeros yet.

    numbers : how many its weights are in the file: what it asks for beyond is an error.
    """
    with limited(numbers):
        return _Reader().read(description)


def read_description(description: Any) -> Any:
    """The model of a description that was written here; its weights are new."""
    check_format(description)
    return _Reader().read(description)


def check_format(description: Any) -> None:
    found = description.get("format") if isinstance(description, dict) else description
    if found != FORMAT:
        raise InvalidInputError(
            f"it is of format {short(found)}; this version of ragmask reads {FORMAT!r}"
        )


class _Reader:
    """Makes layers and models of a description that may hold anything."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.inside: list[tuple[Layer, list[str]]] = []  # layers, and the names of those in them

    def read(self, description: Any) -> Network:
        for one in _get(description, "layers", list, "the description"):
            name = _get(one, "name", str, f"layer {len(self.layers)}")
            if not name or "/" in name:
                raise InvalidInputError(f"a layer's name is a word without slashes; got {name!r}")
            with noted(f"in layer {name!r}"):
                self.layers.append(self.make_layer(one, name))
        if not self.layers or not isinstance(self.layers[-1], Network):
            raise InvalidInputError("the last of its layers is no model")
        for layer, names in self.inside:
            with layer._noted():
                self.name_inside(layers_inside(layer), names)
        return self.layers[-1]

    # -- layers

    def make_layer(self, description: Mapping[str, Any], name: str) -> Layer:
        kind = _get(description, "class", str, "it")
        if kind in MODELS:
            return self.make_model(MODELS[kind], description, name)
        cls = REGISTERED.get(kind)
        if cls is None:
            raise InvalidInputError(
                f"layer {name!r} is of class {short(kind)}, which is not known here: import what "
                "defines it, with @rm.layers.register above it, before loading"
            )
        config = _get(description, "config", dict, "it")
        arguments = {key: self.from_json(value, []) for key, value in config.items()}
        layer: Layer = cls.from_config(arguments)
        layer.name = name
        names = _get(description, "holds", list, "it") if "holds" in description else []
        self.inside.append((layer, names))
        return layer

    def name_inside(self, layers: list[Layer], names: list[str]) -> None:
        """Layers that a layer made for itself get the names that their weights are known by."""
        if len(layers) != len(names):
            raise InvalidInputError(f"it holds {len(layers)} layers; the file has {len(names)}")
        for layer, name in zip(layers, names, strict=True):
            if not isinstance(name, str):
                raise InvalidInputError(f"a layer's name is a word; got {short(name)}")
            layer.name = name

    # -- models

    def make_model(self, cls: type[Network], description: Mapping[str, Any], name: str) -> Network:
        model: Any = cls.__new__(cls)
        if cls is MODELS["Sequential"]:
            layers = [self.layer_at(one) for one in _get(description, "chain", list, "it")]
            if "input" not in description:
                return self.unbuilt(cls(layers, name=name), description)
            inputs, outputs = self.chain(description, layers)
            model._chain, model._entry = layers, inputs
        else:
            inputs, outputs = self.graph(description)
        Network.__init__(model, inputs, outputs, name=name)
        made: Network = model
        return made

    def graph(self, description: Mapping[str, Any]) -> list[Any]:
        """A model's inputs and outputs."""
        made: list[list[Symbol]] = []
        for node in _get(description, "nodes", list, "it"):
            layer = self.layer_at(_get(node, "layer", int, "a node"))
            with layer._noted():
                keys = "inputs", "args", "mask", "options"
                parts = [self.from_json(node.get(key), made) for key in keys]
                call = self.call_of(layer, *parts)
            made.append(list(symbols_in(call())))
        ends = [_get(description, key, None, "it") for key in ("inputs", "outputs")]
        return [self.from_json(end, made) for end in ends]

    def call_of(self, layer: Layer, inputs: Any, args: Any, mask: Any, options: Any) -> Any:
        """A call of a layer, made and not run yet: it says by itself where its errors come from."""
        if isinstance(layer, InputLayer):
            return lambda: layer.output
        if not list(symbols_in((inputs, args, mask, options))):
            raise InvalidInputError("it is called on nothing that comes from an input")
        return partial(layer, inputs, *(args or ()), mask=mask, **(options or {}))

    def unbuilt(self, model: Network, description: Mapping[str, Any]) -> Network:
        """A Sequential that was on no batch yet; layers in it may have weights all the same."""
        for number, shape in description.get("built", {}).items():
            self.layer_at(int(number)).build(self.from_json(shape, []))
        return model

    def chain(self, description: Mapping[str, Any], layers: list[Layer]) -> tuple[Symbol, Any]:
        """A Sequential's input and its output."""
        entry = self.layer_at(_get(description, "input", int, "it"))
        if not isinstance(entry, InputLayer) or not layers:
            raise InvalidInputError("a Sequential has an input and layers")
        output: Any = entry.output
        for layer in layers:
            if isinstance(layer, InputLayer):
                raise InvalidInputError("an Input comes first")
            output = layer(output)
        return entry.output, output

    # -- values

    def layer_at(self, number: Any) -> Layer:
        if type(number) is not int or not 0 <= number < len(self.layers):
            raise InvalidInputError(
                f"it needs layer {short(number)}, which is not there before it: layers cannot hold "
                "each other in a cycle"
            )
        return self.layers[number]

    def from_json(self, given: Any, made: list[list[Symbol]]) -> Any:
        """What the writer's `to_json` was given, of symbols that are made already."""
        if isinstance(given, list):
            return [self.from_json(one, made) for one in given]
        if not isinstance(given, dict):
            return given
        if len(given) != 1:
            raise InvalidInputError(f"{short(given)} is no {{kind: value}}")
        ((kind, value),) = given.items()
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
            return tuple(self.from_json(one, made) for one in value)
        if kind == "dict":
            return {key: self.from_json(one, made) for key, one in value.items()}
        if kind == "array":
            dtype, shape, numbers = value
            array = np.array([self.from_json(one, made) for one in numbers], dtype)
            if array.dtype.kind not in "biuf":
                raise InvalidInputError(f"an array of {array.dtype} is none of numbers")
            return array.reshape(shape)
        raise InvalidInputError(f"{short(kind)} is no kind of value")


def _get(given: Any, key: str, kind: type | None, what: str) -> Any:
    """An entry of a JSON object, of the kind it must be."""
    if not isinstance(given, dict) or key not in given:
        raise InvalidInputError(f"{what} has no {key!r}: {short(given)}")
    if kind is not None and type(given[key]) is not kind:
        words = {list: "a list", dict: "an object", str: "a string", int: "a number"}
        raise InvalidInputError(
            f"{what} must have {words[kind]} as {key!r}; got {short(given[key])}"
        )
    return given[key]
