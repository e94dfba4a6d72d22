"""A model as JSON.

It lists layers in an order in which each names, by their numbers, only those before it; models are
layers too, and the last is the one that is saved:

    {"format": "ragmask model 1",
     "layers": [
       {"class": "InputLayer", "name": "ids", "config": {"shape": [null], "dtype": "int32"}},
       {"class": "LSTM", "name": "lstm", "config": {"units": 32}},
       {"class": "Sequential", "name": "guide", "input": 0, "chain": [1]}]}

A Model has nodes in the place of a chain: a layer's number, and what it is called on.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.files import MODEL_FORMAT
from ragmask.layers.graph import Symbol, symbols_in
from ragmask.layers.layer import Layer, layers_inside
from ragmask.layers.network import Network
from ragmask.layers.registry import MODELS, REGISTERED

FORMAT = f"{MODEL_FORMAT}1"


def describe(model: Network) -> dict[str, Any]:
    """A model as JSON, without its weights."""
    writer = _Writer()
    writer.number_of(model)
    return {"format": FORMAT, "layers": writer.layers}


class _Writer:
    """Layers as JSON, each once, behind those it needs."""

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self.numbers: dict[int, int] = {}

    def number_of(self, layer: Layer) -> int:
        if id(layer) not in self.numbers:
            if isinstance(layer, Network):
                description = self.describe_model(layer)
            else:
                description = self.describe_layer(layer)
            self.numbers[id(layer)] = len(self.layers)
            self.layers.append(description)
        return self.numbers[id(layer)]

    def describe_layer(self, layer: Layer) -> dict[str, Any]:
        cls = type(layer)
        if REGISTERED.get(cls.__name__) is not cls:
            raise InvalidInputError(
                f"layer {layer.name!r} is of class {cls.__name__}, which no saved model can name: "
                "put @rm.layers.register above it"
            )
        config = {
            key: self.to_json(value, f"layer {layer.name!r}", {})
            for key, value in config_of(layer).items()
            if not (callable(value) and key.endswith("initializer"))  # its weights are there
        }
        if not _takes(cls, "name"):
            config.pop("name", None)
        description = {"class": cls.__name__, "name": layer.name, "config": config}
        held = [one.name for one in layers_inside(layer)]
        return {**description, "holds": held} if held else description

    def describe_model(self, model: Network) -> dict[str, Any]:
        if MODELS.get(type(model).__name__) is not type(model):
            raise UnsupportedTypeError(
                f"model {model.name!r} is of class {type(model).__name__}: only a Model or a "
                "Sequential itself can be saved"
            )
        head: dict[str, Any] = {"class": type(model).__name__, "name": model.name}
        if model._chain is not None:
            if model._nodes:
                head["input"] = self.number_of(model.input.node.layer)
            head["chain"] = [self.number_of(layer) for layer in model._chain]
            built = {} if model._nodes else {one: one._built_for for one in model._chain}
            of_shapes = {
                str(self.number_of(layer)): self.to_json(shape, f"layer {layer.name!r}", {})
                for layer, shape in built.items()
                if shape is not None and layer.weights
            }
            return {**head, "built": of_shapes} if of_shapes else head
        numbers = {
            id(symbol): [number, at]
            for number, node in enumerate(model._nodes)
            for at, symbol in enumerate(symbols_in(node.outputs))
        }
        nodes = []
        for node in model._nodes:
            call: dict[str, Any] = {"layer": self.number_of(node.layer)}
            parts = {"inputs": node.inputs, "mask": node.mask}
            parts |= {"args": node.args or None, "options": node.options or None}
            for key, value in parts.items():
                if value is not None:
                    call[key] = self.to_json(value, f"layer {node.layer.name!r}", numbers)
            nodes.append(call)
        ends = {
            key: self.to_json(value, f"model {model.name!r}", numbers)
            for key, value in (("inputs", model.input), ("outputs", model.output))
        }
        return {**head, "nodes": nodes, **ends}

    def to_json(self, value: Any, owner: str, numbers: Mapping[int, list[int]]) -> Any:
        """JSON; what JSON has not is {kind: JSON}. Symbols are [node, output] by these numbers."""

        def to_json(one: Any) -> Any:
            return self.to_json(one, owner, numbers)

        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Symbol):
            return {"symbol": numbers[id(value)]}
        if isinstance(value, Layer):
            return {"layer": self.number_of(value)}
        if isinstance(value, list):
            return [to_json(one) for one in value]
        if isinstance(value, tuple):
            return {"tuple": [to_json(one) for one in value]}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"dict": {key: to_json(one) for key, one in value.items()}}
        if isinstance(value, np.dtype):
            return value.name
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            items = [to_json(one) for one in value.reshape(-1).tolist()]
            return {"array": [value.dtype.name, list(value.shape), items]}
        kind = "dict whose keys are no strings" if isinstance(value, dict) else type(value).__name__
        raise UnsupportedTypeError(f"{owner} is given a {kind}, which cannot be saved as JSON")


def config_of(layer: Layer) -> dict[str, Any]:
    """The arguments that make a layer again, layers among them as such, which others may hold too;
    but what a class of its own says of itself, as it says it."""
    has_own = type(layer).get_config is not Layer.get_config
    return layer.get_config() if has_own else layer._config()


def _takes(cls: type, argument: str) -> bool:
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    return argument in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())
