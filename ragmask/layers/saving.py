"""Models as folders: model.json says what they are made of, weights.safetensors holds the numbers.

Reading a folder runs no code from it: a layer is made by the class registered under its name, from
arguments that are JSON, and weights are arrays.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ragmask.devices import Array
from ragmask.errors import InvalidInputError, MissingExtraError, RagmaskError, UnsupportedTypeError
from ragmask.layers import core, recurrent, temporal
from ragmask.layers.graph import Symbol, input_symbol, leaves_of, symbols_in
from ragmask.layers.layer import Layer
from ragmask.layers.model import InputLayer, Model, Sequential
from ragmask.vocabulary import Vocabulary

FORMAT = 1
_OWN = (
    *(core.Activation, core.Add, core.Concatenate, core.Dense, core.Dropout, core.Embedding),
    *(core.Masking, recurrent.LSTM, recurrent.Bidirectional, temporal.TemporalConcat),
    *(temporal.TemporalPool, temporal.TemporalSoftmax, temporal.TemporalSplit, InputLayer),
)
_registered: dict[str, type[Layer]] = {cls.__name__: cls for cls in _OWN}
L = TypeVar("L", bound=type[Layer])


def register(cls: L) -> L:
    """Let saved models hold layers of this class, known by its name.

    >>> import ragmask as rm
    >>> @rm.layers.register
    ... class Twice(rm.layers.Layer):
    ...     def call(self, inputs):
    ...         return inputs * 2

    What `get_config` gives must be JSON. Raises InvalidInputError for a name that is taken.
    """
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise UnsupportedTypeError(f"register takes a class of layers; got {cls!r}")
    known = _registered.get(cls.__name__)
    again = known is not None and (known.__module__, known.__qualname__) == (
        cls.__module__,
        cls.__qualname__,
    )
    if known is not None and not again:
        raise InvalidInputError(f"a layer is registered as {cls.__name__!r} already: {known!r}")
    _registered[cls.__name__] = cls
    return cls


# -- writing ------------------------------------------------------------------------------


def save_model(model: Model, path: str | os.PathLike[str], vocabulary: Any = None) -> None:
    """What `Model.save` does: a whole folder, or none."""
    if not model._nodes:
        raise InvalidInputError(f"model {model.name!r} is not built: call it on a batch first")
    told = json.dumps({"format": FORMAT, **_tell_model(model)}, indent=1, allow_nan=False)
    weights = _weights_of(model)
    vocabularies = _by_input(model, vocabulary)
    target = Path(path)
    if target.exists() and not (target / "model.json").is_file():
        raise InvalidInputError(f"{target} is there, and is no saved model: nothing is replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        (folder / "model.json").write_text(told, encoding="utf-8")
        _safetensors().save_file(weights, os.fspath(folder / "weights.safetensors"))
        for name, words in vocabularies.items():
            words.save(folder / _vocabulary_file(model, name))
        folder.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        folder.replace(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _weights_of(model: Model) -> dict[str, Array]:
    """{"layer/weight": array}; a layer that is held twice has its weights once."""
    return {name.partition("/")[2]: weight for name, weight in model.named_weights()}


def _by_input(model: Model, vocabulary: Any) -> dict[str, Vocabulary]:
    names = model._entry_names()
    if vocabulary is None:
        return dict(model.vocabularies)
    if isinstance(vocabulary, Vocabulary):
        if len(names) != 1:
            raise InvalidInputError(
                f"model {model.name!r} has {len(names)} inputs: pass {{input: Vocabulary}}"
            )
        return {names[0]: vocabulary}
    given = dict(vocabulary)
    for name in given:
        if name not in names:
            raise InvalidInputError(
                f"model {model.name!r} has no input {name!r}; it has {', '.join(names)}"
            )
    return given


def _tell_model(model: Model) -> dict[str, Any]:
    """A model as JSON: its layers once each, and its nodes, which name them."""
    layers: dict[str, Layer] = {}
    for node in model._nodes:
        if layers.setdefault(node.layer.name, node.layer) is not node.layer:
            raise InvalidInputError(f"two layers are named {node.layer.name!r}")
    places = {
        id(symbol): [number, at]
        for number, node in enumerate(model._nodes)
        for at, symbol in enumerate(symbols_in(node.outputs))
    }

    def tell(structure: Any, where: str) -> Any:
        return _tell(structure, where, places)

    return {
        "class": "Sequential" if isinstance(model, Sequential) else "Model",
        "name": model.name,
        "layers": [_tell_layer(layer) for layer in layers.values()],
        "nodes": [
            {
                "layer": node.layer.name,
                "inputs": tell(node.inputs, node.layer.name),
                "args": tell(list(node.args), node.layer.name),
                "mask": tell(node.mask, node.layer.name),
                "options": tell(dict(node.options), node.layer.name),
            }
            for node in model._nodes
        ],
        "inputs": tell(model.inputs, model.name),
        "outputs": tell(model.outputs, model.name),
    }


def _tell_layer(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, Model):
        return _tell_model(layer)
    name = type(layer).__name__
    if _registered.get(name) is not type(layer):
        raise InvalidInputError(
            f"layer {layer.name!r} is of class {name}, which no saved model can name: "
            "put @rm.layers.register above it"
        )
    config = {
        key: value
        for key, value in layer.get_config().items()
        if not (callable(value) and key.endswith("initializer"))  # its weights are there
    }
    return {"class": name, "name": layer.name, "config": _tell(config, layer.name, {})}


def _tell(value: Any, where: str, places: Mapping[int, list[int]]) -> Any:
    if isinstance(value, Symbol):
        return {"symbol": places[id(value)]}
    if isinstance(value, Layer):
        return {"layer": _tell_layer(value)}
    if isinstance(value, dict):
        return {"dict": {str(key): _tell(one, where, places) for key, one in value.items()}}
    if isinstance(value, list | tuple):
        return [_tell(one, where, places) for one in value]
    if isinstance(value, np.ndarray):
        return _tell(value.tolist(), where, places)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UnsupportedTypeError(
        f"layer {where!r}: its configuration holds a {type(value).__name__}, which is no JSON"
    )


# -- reading ------------------------------------------------------------------------------


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read what `Model.save` wrote; `model.vocabularies` has the vocabularies saved with it.

    Custom layers are found by the name they were registered under. The folder may come from
    anywhere: no code in it is run. Raises InvalidInputError, naming the layer, for what does not
    fit: an unknown layer, a graph that is none, weights missing, too many, or of other shapes.
    """
    folder = Path(path)
    source = folder / "model.json"
    if not source.is_file():
        raise InvalidInputError(f"{folder} holds no saved model: there is no model.json in it")
    try:
        told = json.loads(source.read_text(encoding="utf-8"))
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            found = told.get("format") if isinstance(told, dict) else told
            raise InvalidInputError(
                f"it is of format {found!r}; this version of ragmask reads {FORMAT}"
            )
        model = _make_model(told)
    except RagmaskError as error:
        raise type(error)(f"{source}: {error}") from error
    except (
        *(ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError),
        *(TypeError, ValueError),
    ) as error:
        raise InvalidInputError(f"{source} describes no model: {error!r}") from error
    _set_weights(model, folder / "weights.safetensors")
    for name in model._entry_names():
        words = folder / _vocabulary_file(model, name)
        if words.is_file():
            model.vocabularies[name] = Vocabulary.load(words)
    return model


def _vocabulary_file(model: Model, name: str) -> str:
    """By the input's number: its name may be anything."""
    return f"vocabulary_{model._entry_names().index(name)}.json"


def _make_model(told: Mapping[str, Any]) -> Model:
    layers = {one["name"]: _make_layer(one) for one in told["layers"]}
    made: list[list[Symbol]] = []

    def make(structure: Any) -> Any:
        return _make(structure, made)

    for node in told["nodes"]:
        layer = layers.get(node["layer"])
        if layer is None:
            raise InvalidInputError(f"a node calls a layer {node['layer']!r}, which is not there")
        try:
            made.append(_call(layer, node, make))
        except RagmaskError as error:
            if layer.name in str(error):
                raise
            raise type(error)(f"layer {layer.name!r}: {error}") from error
    inputs, outputs = make(told["inputs"]), make(told["outputs"])
    if told["class"] == "Model":
        return Model(inputs, outputs, name=told["name"])
    if told["class"] != "Sequential":
        raise InvalidInputError(f"{told['class']!r} is no class of models")
    chain = [layers[node["layer"]] for node in told["nodes"][1:]]
    model = Sequential([inputs], name=told["name"])
    model._given_layers = chain
    model.inputs, model.outputs = inputs, outputs
    model._set_graph()
    return model


def _call(layer: Layer, node: Mapping[str, Any], make: Callable[[Any], Any]) -> list[Symbol]:
    """The symbols that a layer gives for those before it."""
    if isinstance(layer, InputLayer):
        return [input_symbol(layer, layer.shape, layer.dtype)]
    inputs = make(node["inputs"])
    if next(leaves_of(Symbol, inputs), None) is None:
        raise InvalidInputError("it is called on nothing that comes from an input")
    outputs = layer(inputs, *make(node["args"]), mask=make(node["mask"]), **make(node["options"]))
    return list(symbols_in(outputs))


def _make_layer(told: Mapping[str, Any]) -> Layer:
    name = told["name"]
    if "nodes" in told:
        return _make_model(told)
    cls = _registered.get(told["class"])
    if cls is None:
        raise InvalidInputError(
            f"layer {name!r} is of class {told['class']!r}, which is not known here: import what "
            "defines it, with @rm.layers.register above it, before loading"
        )
    config = _make(told["config"], [])
    try:
        layer = cls(**config)
    except TypeError as error:
        raise InvalidInputError(f"layer {name!r}: {error}") from error
    if layer.name != name:
        raise InvalidInputError(f"layer {name!r} is named {layer.name!r} by its configuration")
    return layer


def _make(told: Any, made: list[list[Symbol]]) -> Any:
    if isinstance(told, list):
        return [_make(one, made) for one in told]
    if not isinstance(told, dict):
        return told
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
        return _make_layer(value)
    if kind == "float":
        return float(value)
    if kind == "dict":
        return {key: _make(one, made) for key, one in value.items()}
    raise InvalidInputError(f"{kind!r} is none of symbol, layer, dict and float")


def _set_weights(model: Model, path: Path) -> None:
    if not path.is_file():
        raise InvalidInputError(f"{path} is not there")
    try:
        found: dict[str, Array] = _safetensors().load_file(os.fspath(path))
    except MissingExtraError:
        raise
    except Exception as error:  # its own error classes
        raise InvalidInputError(f"{path} holds no weights: {error}") from error
    own = _weights_of(model)
    for name, weight in own.items():
        layer, _, last = name.rpartition("/")
        if name not in found:
            raise InvalidInputError(f"{path}: layer {layer!r} lacks its weight {last!r}")
        if found[name].shape != weight.shape:
            raise InvalidInputError(
                f"{path}: layer {layer!r}: weight {last!r} has shape {weight.shape}; "
                f"the file has {found[name].shape}"
            )
    extra = [name for name in found if name not in own]
    if extra:
        layer, _, last = extra[0].rpartition("/")
        raise InvalidInputError(f"{path}: layer {layer!r} of the model has no weight {last!r}")
    model.set_weights([found[name] for name in own])


def _safetensors() -> Any:
    try:
        return import_module("safetensors.numpy")
    except ImportError as error:
        raise MissingExtraError(
            'saving and loading models needs safetensors: pip install "ragmask[models]"'
        ) from error
