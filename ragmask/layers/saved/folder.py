"""Folders of saved models: written as a whole or not at all, and read."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any

from ragmask.arrays.protocol import Array
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.files import (
    MODEL_FILE,
    beside,
    bring_to_disk,
    cannot_write,
    holds_model,
    name_to_write,
    read_json,
    shown,
)
from ragmask.layers.network import Network
from ragmask.layers.notes import noted, reading
from ragmask.layers.saved.foreign import why_no_model
from ragmask.layers.saved.reader import check_format, model_of
from ragmask.layers.saved.writer import describe
from ragmask.vocabulary import Vocabulary
from ragmask.weights import read_arrays, safetensors

_WEIGHTS = "weights.safetensors"
_FILES = re.compile(r"model\.json|weights\.safetensors|vocabulary_\d+\.json")


def save_model(model: Network, path: str | os.PathLike[str], vocabulary: Any = None) -> None:
    """What `Model.save` does: a whole folder, or none."""
    weights = _weights_of(model)
    text = json.dumps(describe(model), indent=1)
    _check_comes_back(model, text, weights)
    vocabularies = _by_input(model, vocabulary)
    target = Path(os.path.realpath(name_to_write(path)))
    _check_free(target)
    files = {_vocabulary_file(model, name): words.to_json() for name, words in vocabularies.items()}
    try:
        files[_WEIGHTS] = safetensors().save(weights)
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"model {model.name!r} cannot be saved: the name {error.object!r} holds half a "
            "character; give the layer another one"
        ) from error
    files[MODEL_FILE] = text.encode("utf-8")
    folder = beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        for name, content in files.items():
            with (folder / name).open("xb") as file:
                file.write(content)
                bring_to_disk(file)
        _put(folder, target)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise cannot_write(target, error) from error
        raise


def _weights_of(model: Network) -> dict[str, Array]:
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


def _check_comes_back(model: Network, text: str, weights: Mapping[str, Array]) -> None:
    """Raise where the description does not make a model of the same weights."""
    sizes = sum(weight.size for weight in weights.values())
    with noted(f"model {model.name!r} cannot be saved, for it could not be read"):
        again = _weights_of(model_of(json.loads(text), sizes))
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


def _by_input(model: Network, vocabulary: Any) -> dict[str, Vocabulary]:
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


def _vocabulary_file(model: Network, name: str) -> str:
    """By the input's number: its name may be anything."""
    return f"vocabulary_{model._entry_names().index(name)}.json"


def _check_free(target: Path) -> None:
    """Raise unless nothing is there, or a saved model and nothing else."""
    if not target.exists():
        return
    foreign = [target.name]
    if target.is_dir():
        foreign = [one.name for one in target.iterdir() if not _FILES.fullmatch(one.name)]
        if not foreign and holds_model(target):
            return
    why = f" but {min(foreign)}" if foreign and target.is_dir() else ""
    raise InvalidInputError(
        f"{shown(target)} is there, and is no saved model{why}: nothing is replaced"
    )


def _put(folder: Path, target: Path) -> None:
    """Give a folder its name; what bore it goes once the new one is there."""
    if not target.exists():
        folder.rename(target)
        return
    old = beside(target)
    target.rename(old)
    try:
        folder.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


def read_model(path: str | os.PathLike[str]) -> Network:
    """What `load_model` does."""
    folder = Path(path)
    source = folder / MODEL_FILE
    if not source.is_file():
        raise InvalidInputError(why_no_model(folder))
    with reading(source):
        description = read_json(source)
        check_format(description)
    weights = _read_weights(folder / _WEIGHTS)
    with reading(source):
        model = model_of(description, sum(array.size for array in weights.values()))
        own = _weights_of(model)
    with reading(folder / _WEIGHTS):
        _check_weights(own, weights)
        model.set_weights([weights[name] for name in own])
    for name in model._entry_names():
        words = folder / _vocabulary_file(model, name)
        if words.is_file():
            with reading(words):
                model.vocabularies[name] = Vocabulary.load(words)
    return model


def _read_weights(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise InvalidInputError(f"{shown(path)} is not there")
    return read_arrays(path)


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
