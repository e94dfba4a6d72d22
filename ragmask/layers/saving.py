"""Models as folders: model.json says what they are made of, weights.safetensors holds the numbers.

Reading a folder runs no code from it: a layer is made by the class registered under its name, from
arguments that are JSON, and weights are arrays. What a description may cost is bounded by what it
brings along, so that no small file fills the memory or never ends.

model.json lists layers in an order in which each names, by their numbers, only those before it;
models are layers too, and the last is the one that was saved:

    {"format": "ragmask model 1",
     "layers": [
       {"class": "InputLayer", "name": "ids", "config": {"shape": [null], "dtype": "int32"}},
       {"class": "LSTM", "name": "lstm", "config": {"units": 32}},
       {"class": "Sequential", "name": "guide", "input": 0, "chain": [1]}]}

A Model has nodes in the place of a chain: a layer's number, and what it is called on.
"""

import inspect
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from reprlib import repr as short
from typing import Any, TypeVar

import numpy as np

from ragmask.devices import Array
from ragmask.errors import InvalidInputError, MissingExtraError, RagmaskError, UnsupportedTypeError
from ragmask.layers import core, recurrent, temporal
from ragmask.layers.graph import Symbol, input_symbol, symbols_in
from ragmask.layers.layer import Layer
from ragmask.layers.model import InputLayer, Model, Sequential
from ragmask.ragged import Ragged
from ragmask.vocabulary import Vocabulary

FORMAT = "ragmask model 1"
_DESCRIPTION, _WEIGHTS = "model.json", "weights.safetensors"
_FILES = re.compile(r"model\.json|weights\.safetensors|vocabulary_\d+\.json")
_OWN = (
    *(core.Activation, core.Add, core.Concatenate, core.Dense, core.Dropout, core.Embedding),
    *(core.Masking, recurrent.LSTM, recurrent.Bidirectional, temporal.TemporalConcat),
    *(temporal.TemporalPool, temporal.TemporalSoftmax, temporal.TemporalSplit, InputLayer),
)
_MODELS = (Model, Sequential)
_registered: dict[str, type[Layer]] = {cls.__name__: cls for cls in _OWN}
L = TypeVar("L", bound=type[Layer])


def register(cls: L) -> L:
    """Let saved models hold layers of this class, known by its name.

    >>> import ragmask as rm
    >>> @rm.layers.register
    ... class Twice(rm.layers.Layer):
    ...     def call(self, inputs):
    ...         return inputs * 2

    What `get_config` gives must be JSON, or arrays, dtypes, tuples or layers. Raises
    InvalidInputError for a name that is taken.
    """
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise UnsupportedTypeError(f"register takes a class of layers; got {cls!r}")
    known = {model.__name__: model for model in _MODELS} | _registered
    taken = known.get(cls.__name__)
    again = taken is not None and (taken.__module__, taken.__qualname__) == (
        cls.__module__,
        cls.__qualname__,
    )
    if taken is not None and not again:
        raise InvalidInputError(f"a layer is registered as {cls.__name__!r} already: {taken!r}")
    _registered[cls.__name__] = cls
    return cls


# -- writing ------------------------------------------------------------------------------


def save_model(model: Model, path: str | os.PathLike[str], vocabulary: Any = None) -> None:
    """What `Model.save` does: a whole folder, or none."""
    if not model._nodes:
        raise InvalidInputError(f"model {model.name!r} is not built: call it on a batch first")
    weights = _weights_of(model)
    text = json.dumps({"format": FORMAT, "layers": _Writer().write(model)}, indent=1)
    _check_comes_back(model, text, weights)
    vocabularies = _by_input(model, vocabulary)
    target = Path(os.path.realpath(path))
    _check_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = _beside(target)
    folder.mkdir()
    try:
        (folder / _DESCRIPTION).write_text(text, encoding="utf-8")
        _safetensors().save_file(weights, os.fspath(folder / _WEIGHTS))
        (folder / _WEIGHTS).chmod((folder / _DESCRIPTION).stat().st_mode & 0o777)
        for name, words in vocabularies.items():
            words.save(folder / _vocabulary_file(model, name))
        for file in folder.iterdir():
            with file.open("rb+") as written:
                os.fsync(written.fileno())
        _put(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _weights_of(model: Model) -> dict[str, Array]:
    """{"layer/weight": array}; a layer that is held twice has its weights once."""
    weights: dict[str, Array] = {}
    for full, weight in model.named_weights():
        name = full.partition("/")[2]
        if name in weights:
            raise InvalidInputError(
                f"model {model.name!r} holds two weights {name!r}: "
                "give the layers they are in names of their own"
            )
        weights[name] = weight
    return weights


def _check_comes_back(model: Model, text: str, weights: Mapping[str, Array]) -> None:
    """Raise where the description does not make a model of the same weights."""
    sizes = sum(weight.size for weight in weights.values())
    try:
        again = _weights_of(_Reader(sizes).read(json.loads(text)))
        found, own = (
            {name: (one.shape, one.dtype) for name, one in named.items()}
            for named in (again, weights)
        )
        if found != own:
            other = sorted(name for name, _ in set(found.items()) ^ set(own.items()))
            raise InvalidInputError(
                f"its weights would be others, among them {other[0]!r}; a layer that another one "
                "makes for itself can be used in that one alone"
            )
    except RagmaskError as error:
        raise type(error)(
            f"model {model.name!r} cannot be saved, for it could not be read: {error}"
        ) from error


def _by_input(model: Model, vocabulary: Any) -> dict[str, Vocabulary]:
    names = model._entry_names()
    if vocabulary is None:
        vocabulary = model.vocabularies
    elif isinstance(vocabulary, Vocabulary):
        if len(names) != 1:
            raise InvalidInputError(
                f"model {model.name!r} has {len(names)} inputs: pass {{input: Vocabulary}}"
            )
        vocabulary = {names[0]: vocabulary}
    if not isinstance(vocabulary, Mapping) or not all(
        isinstance(words, Vocabulary) for words in vocabulary.values()
    ):
        raise UnsupportedTypeError(
            f"vocabulary must be a Vocabulary or {{input: Vocabulary}}; got {short(vocabulary)}"
        )
    for name in vocabulary:
        if name not in names:
            raise InvalidInputError(
                f"model {model.name!r} has no input {name!r}; it has {', '.join(names)}"
            )
    return dict(vocabulary)


def _vocabulary_file(model: Model, name: str) -> str:
    """By the input's number: its name may be anything."""
    return f"vocabulary_{model._entry_names().index(name)}.json"


def _check_free(target: Path) -> None:
    """Raise unless nothing is there, or a saved model and nothing else."""
    if not target.exists():
        return
    foreign = [target.name]
    if target.is_dir():
        foreign = [one.name for one in target.iterdir() if not _FILES.fullmatch(one.name)]
        if not foreign and _is_description(target / _DESCRIPTION):
            return
    why = f" but {min(foreign)}" if foreign and target.is_dir() else ""
    raise InvalidInputError(f"{target} is there, and is no saved model{why}: nothing is replaced")


def _is_description(file: Path) -> bool:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and str(told.get("format")).startswith("ragmask model ")


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def _put(folder: Path, target: Path) -> None:
    """Give a folder its name; what bore it goes once the new one is there."""
    if not target.exists():
        folder.rename(target)
        return
    old = _beside(target)
    target.rename(old)
    try:
        folder.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


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
            told = self.tell_model(layer) if isinstance(layer, Model) else self.tell_layer(layer)
            self.numbers[id(layer)] = len(self.layers)
            self.layers.append(told)
        return self.numbers[id(layer)]

    def tell_layer(self, layer: Layer) -> dict[str, Any]:
        cls = type(layer)
        if _registered.get(cls.__name__) is not cls:
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
        if type(model) not in _MODELS:
            raise UnsupportedTypeError(
                f"model {model.name!r} is of class {type(model).__name__}: only a Model or a "
                "Sequential itself can be saved"
            )
        head: dict[str, Any] = {"class": type(model).__name__, "name": model.name}
        if isinstance(model, Sequential):
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
    seen, todo = {id(layer)}, layer.layers[::-1]
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            found.append(one)
            todo += one.layers[::-1]
    return found


# -- reading ------------------------------------------------------------------------------


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read what `Model.save` wrote; `model.vocabularies` has the vocabularies saved with it.

    Custom layers are found by the name they were registered under. The folder may come from
    anywhere: no code in it is run. Raises InvalidInputError, naming the layer, for what does not
    fit: an unknown layer, a graph that is none, weights missing, too many, or of other shapes.
    """
    folder = Path(path)
    source = folder / _DESCRIPTION
    if not source.is_file():
        raise InvalidInputError(f"{folder} holds no saved model: there is no model.json in it")
    with _about(str(source)):
        told = json.loads(source.read_text(encoding="utf-8"))
        found = told.get("format") if isinstance(told, dict) else told
        if found != FORMAT:
            raise InvalidInputError(
                f"it is of format {short(found)}; this version of ragmask reads {FORMAT!r}"
            )
    weights = _read_weights(folder / _WEIGHTS)
    with _about(str(source)):
        model = _Reader(sum(array.size for array in weights.values())).read(told)
        own = _weights_of(model)
    with _about(str(folder / _WEIGHTS)):
        _check_weights(own, weights)
        model.set_weights([weights[name] for name in own])
    for name in model._entry_names():
        words = folder / _vocabulary_file(model, name)
        if words.is_file():
            with _about(str(words)):
                model.vocabularies[name] = Vocabulary.load(words)
    return model


def _read_weights(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise InvalidInputError(f"{path} is not there")
    reader = _safetensors()
    try:
        weights: dict[str, Array] = reader.load_file(os.fspath(path))
    except Exception as error:  # its own classes, and others for dtypes that numpy has not
        raise InvalidInputError(f"{path} holds no weights: {error}") from error
    return weights


def _check_weights(own: Mapping[str, Array], found: Mapping[str, Array]) -> None:
    for name, weight in own.items():
        layer, _, last = name.rpartition("/")
        if name not in found:
            raise InvalidInputError(f"layer {layer!r} lacks its weight {last!r}")
        for what in ("shape", "dtype"):
            has, needs = getattr(found[name], what), getattr(weight, what)
            if has != needs:
                raise InvalidInputError(
                    f"layer {layer!r}: weight {last!r} has {what} {needs}; the file has {has}"
                )
    for name in found:
        if name not in own:
            layer, _, last = name.rpartition("/")
            raise InvalidInputError(f"layer {layer!r} of the model has no weight {last!r}")


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Errors inside say what they are about; there are no others than ragmask's."""
    try:
        yield
    except RagmaskError as error:
        if what in str(error):
            raise
        raise type(error)(f"{what}: {error}") from error
    except OSError:
        raise
    except Exception as error:  # what wrong types lead to, in a layer's own code too
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise InvalidInputError(f"{what}: {kind}{error}") from error


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
        self.weights_left = numbers + _SPARE_NUMBERS
        self.work_left = self.weights_left * _SHARED
        self.tried_left = _TRIED_NUMBERS

    def read(self, told: Mapping[str, Any]) -> Model:
        for one in _get(told, "layers", list, "the description"):
            name = _get(one, "name", str, f"layer {len(self.layers)}")
            if not name or "/" in name:
                raise InvalidInputError(f"a layer's name is a word without slashes; got {name!r}")
            with _about(f"layer {name!r}"):
                self.layers.append(self.make_layer(one, name))
        if not self.layers or not isinstance(self.layers[-1], Model):
            raise InvalidInputError("the last of its layers is no model")
        for layer, names in self.holds:
            self.name_held(layer, names)
        for layer in [one for outer in self.layers for one in (outer, *_held(outer))]:
            vars(layer).pop("add_weight", None)
        return self.layers[-1]

    # -- layers

    def make_layer(self, told: Mapping[str, Any], name: str) -> Layer:
        kind = _get(told, "class", str, "it")
        if kind == "Model":
            return self.make_model(told, name)
        if kind == "Sequential":
            return self.make_sequential(told, name)
        cls = _registered.get(kind)
        if cls is None:
            raise InvalidInputError(
                f"layer {name!r} is of class {short(kind)}, which is not known here: import what "
                "defines it, with @rm.layers.register above it, before loading"
            )
        config = _get(told, "config", dict, "it")
        layer = cls(**{key: self.make(value, []) for key, value in config.items()})
        layer.name = name
        for one in (layer, *_held(layer)):
            self.watch(one)
        held = _get(told, "holds", list, "it") if "holds" in told else []
        self.holds.append((layer, held))
        return layer

    def watch(self, layer: Layer) -> None:
        """Let its first weights be zeros, and no more of them than there may be.

        They are replaced soon: drawing them would take time, and numbers from the generator.
        """

        def add_weight(
            name: str | None = None,
            shape: Any = (),
            initializer: Any = None,
            dtype: Any = "float32",
            **options: Any,
        ) -> Array:
            sizes = (shape,) if isinstance(shape, int) else tuple(shape)
            self.weights_left -= math.prod(max(1, int(size)) for size in sizes)
            if self.weights_left < 0:
                raise InvalidInputError(
                    f"layer {layer.name!r}: its weight {name!r} of shape {sizes} is larger than "
                    "all the weights in the file"
                )

            def zeros(shape: tuple[int, ...]) -> Array:
                return np.zeros(shape, dtype)

            made: Array = type(layer).add_weight(layer, name, shape, zeros, dtype, **options)
            return made

        vars(layer).setdefault("add_weight", add_weight)

    def name_held(self, layer: Layer, names: list[str]) -> None:
        """Layers that a layer made for itself get the names that their weights are known by."""
        held = _held(layer)
        with _about(f"layer {layer.name!r}"):
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
            with _about(f"layer {layer.name!r}"):
                parts = [
                    self.make(node.get(key), made) for key in ("inputs", "args", "mask", "options")
                ]
                made.append(list(symbols_in(self.call(layer, *parts))))
        ends = [self.make(_get(told, key, None, "it"), made) for key in ("inputs", "outputs")]
        model = Model(*ends, name=name)
        return self.priced(model, before)

    def make_sequential(self, told: Mapping[str, Any], name: str) -> Model:
        entry = self.layer_at(_get(told, "input", int, "it"))
        chain = [self.layer_at(number) for number in _get(told, "chain", list, "it")]
        if not isinstance(entry, InputLayer) or not chain:
            raise InvalidInputError("a Sequential has an input and layers")
        before = self.work_left
        model = Sequential([self.call(entry)], name=name)
        output = model._entry
        for layer in chain:
            with _about(f"layer {layer.name!r}"):
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


def _safetensors() -> Any:
    try:
        return import_module("safetensors.numpy")
    except ImportError as error:
        raise MissingExtraError(
            'saving and loading models needs safetensors: pip install "ragmask[models]"'
        ) from error
