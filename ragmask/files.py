"""Files written atomically, checks of their names, and JSON read."""

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ragmask.errors import InvalidInputError, StreamError

MODEL_FILE = "model.json"  # by which, and the format in it, a saved model's folder is known
MODEL_FORMAT = "ragmask model "

_TRIES = 10  # to remove a folder to which a process that has not ended yet adds files

_KINDS = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def shown(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed and encoded, whatever bytes its name is of."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def cannot_write(path: Path, error: BaseException) -> StreamError:
    return StreamError(f"{shown(path)} cannot be written: {_why(error)}")


def cannot_read(path: Path, error: BaseException) -> StreamError:
    return StreamError(f"{shown(path)} cannot be read: {_why(error)}")


def _why(error: BaseException) -> object:
    """The system's words, without the name of a temporary file."""
    return getattr(error, "strerror", None) or error


def name_to_write(path: str | os.PathLike[str]) -> Path:
    """The path, if its name is free, or is that of a file or folder; what is there is not opened.

    Raises StreamError for a link, for what is neither, and inside a saved model's folder.
    """
    target = Path(path)
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except (OSError, ValueError) as error:
        raise cannot_write(target, error) from error
    if stat.S_ISLNK(mode):
        raise StreamError(
            f"{shown(target)} is a link to {shown(target.readlink())}, and would be replaced "
            "itself: name what it points to"
        )
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise StreamError(f"{shown(target)} is {kind} and not a file: choose another name")
    folder = Path(os.path.realpath(target.parent))
    for above in (folder, *folder.parents):
        if holds_model(above):
            raise StreamError(
                f"{shown(target)} lies in the folder of a saved model, {shown(above)}: "
                "write to another folder"
            )
    return target


def holds_model(folder: Path) -> bool:
    """Whether a model was saved as this folder."""
    try:
        told = read_json(folder / MODEL_FILE) if (folder / MODEL_FILE).is_file() else None
    except (InvalidInputError, OSError):
        return False
    return isinstance(told, dict) and str(told.get("format")).startswith(MODEL_FORMAT)


def beside(target: Path) -> Path:
    """A hidden name in the same folder, which nobody bears."""
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.tmp")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which gets the name `path` once it is whole and on the disk.

    Until then it bears another name, and what bore this one stays; where anything fails, it goes.
    Raises StreamError, naming `path`, where the name may not be given or the disk fails.
    """
    target = name_to_write(path)
    if target.is_dir():
        raise StreamError(f"{shown(target)} is a folder: name the file to write")
    temporary = beside(target)
    try:
        file = temporary.open("xb")
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        with file:
            yield file
            bring_to_disk(file)
        try:
            temporary.replace(target)
        except OSError as error:
            raise cannot_write(target, error) from error
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if type(error) is OSError:  # the disk's; its subclasses come from what is being written
            raise cannot_write(target, error) from error
        raise


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to write to, which gets the name `path` once it is whole.

    Until then it lies in a folder of another name, where there is room for files that are not
    whole yet; where anything fails, both go. Raises StreamError where something is there already.
    """
    target = name_to_write(Path(path).absolute())
    _check_free(target)
    temporary = beside(target)
    folder = temporary / target.name
    try:
        temporary.mkdir()
        folder.mkdir()
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield folder
        _check_free(target)  # since then, somebody may have taken it
        try:
            folder.rename(target)
        except OSError as error:
            raise cannot_write(target, error) from error
    finally:
        for _ in range(_TRIES):
            shutil.rmtree(temporary, ignore_errors=True)
            if not temporary.exists():
                break


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise StreamError(f"{shown(target)} is there, and is not replaced: name a new folder")


def bring_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises InvalidInputError, which says what is wrong with "it"."""
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except RecursionError as error:
        raise InvalidInputError("it is nested too deeply") from error
    except OSError as error:
        raise cannot_read(path, error) from error
    except ValueError as error:
        raise InvalidInputError(f"it is not JSON: {error}") from error
