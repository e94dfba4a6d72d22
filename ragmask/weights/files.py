"""Files of arrays, in the format of safetensors."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ragmask.errors import InvalidInputError, MissingExtraError
from ragmask.files import cannot_read, shown


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a safetensors file; by its bytes, since its name may be no text."""
    reader = safetensors()
    try:
        arrays: dict[str, npt.NDArray[Any]] = reader.load(path.read_bytes())
    except OSError as error:
        raise cannot_read(path, error) from error
    except Exception as error:  # its own classes, and others for dtypes that numpy has not
        raise InvalidInputError(f"{shown(path)} holds no weights: {error}") from error
    return arrays


def safetensors() -> Any:
    """The module that reads and writes files of arrays."""
    try:
        return import_module("safetensors.numpy")
    except ImportError as error:
        raise MissingExtraError(
            'reading and writing weights needs safetensors: pip install "ragmask[models]"'
        ) from error
