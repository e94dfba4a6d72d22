"""Models as folders: model.json says what they are made of, weights.safetensors holds the numbers.

Reading a folder runs no code from it: a layer is made by the class registered under its name, from
arguments that are JSON, and weights are arrays.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any

from ragmask.devices import Array
from ragmask.errors import InvalidInputError, RagmaskError, UnsupportedTypeError
from ragmask.layers.description import FORMAT, about, describe, model_of
from ragmask.layers.model import Model
from ragmask.vocabulary import Vocabulary
from ragmask.weights import safetensors

_DESCRIPTION, _WEIGHTS = "model.json", "weights.safetensors"
_FILES = re.compile(r"model\.json|weights\.safetensors|vocabulary_\d+\.json")


def save_model(model: Model, path: str | os.PathLike[str], vocabulary: Any = None) -> None:
    """What `Model.save` does: a whole folder, or none."""
    if not model._nodes:
        raise InvalidInputError(f"model {model.name!r} is not built: call it on a batch first")
    weights = _weights_of(model)
    text = json.dumps(describe(model), indent=1)
    _check_comes_back(model, text, weights)
    vocabularies = _by_input(model, vocabulary)
    target = Path(os.path.realpath(path))
    _check_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = _beside(target)
    folder.mkdir()
    try:
        (folder / _DESCRIPTION).write_text(text, encoding="utf-8")
        safetensors().save_file(weights, os.fspath(folder / _WEIGHTS))
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
    with about(str(source)):
        told = json.loads(source.read_text(encoding="utf-8"))
        found = told.get("format") if isinstance(told, dict) else told
        if found != FORMAT:
            raise InvalidInputError(
                f"it is of format {short(found)}; this version of ragmask reads {FORMAT!r}"
            )
    weights = _read_weights(folder / _WEIGHTS)
    with about(str(source)):
        model = model_of(told, sum(array.size for array in weights.values()))
        own = _weights_of(model)
    with about(str(folder / _WEIGHTS)):
        _check_weights(own, weights)
        model.set_weights([weights[name] for name in own])
    for name in model._entry_names():
        words = folder / _vocabulary_file(model, name)
        if words.is_file():
            with about(str(words)):
                model.vocabularies[name] = Vocabulary.load(words)
    return model


def _read_weights(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise InvalidInputError(f"{path} is not there")
    reader = safetensors()
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
