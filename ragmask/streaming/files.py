"""Where the files of a data set lie: paths, globs, folders and URIs, on any file system."""

import os
import pickle
import re
import stat
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa
from pyarrow import fs as pafs

from ragmask.errors import InvalidInputError, MissingExtraError, StreamError, UnsupportedTypeError
from ragmask.files import shown
from ragmask.streaming import huggingface
from ragmask.streaming.retry import Retry

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

_SUFFIXES = (".parquet", ".parq", ".pq", ".arrow", ".arrows", ".feather", ".ipc")
# pandas and others name the compression inside the file behind them, as .parquet.gzip
_IS_DATA = re.compile(
    rf"({'|'.join(map(re.escape, _SUFFIXES))})(\.(gz|gzip|snappy|zstd|zst|br|brotli|lz4))?$", re.I
)
_MAGIC = "*?["
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.I)
_QUERY = re.compile(r"\?\w+=")  # in a URI; any other question mark is a glob's
_IN_URIS = ":/?#[]@!$&'()*+,;=%"  # and letters, digits and -._~
_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "created")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Found:
    """A file, and what the `key=value` folders above it say of all its rows."""

    path: str
    keys: tuple[tuple[str, str | None], ...] = ()


class Stamp(NamedTuple):
    """By what a change of a file is noticed; the inode, of local files, by which a replaced one is.

    The same file may have another inode where another process sees it, on another mount: it is
    left out of pickles, and not asked for there.
    """

    size: int
    mtime_ns: int
    inode: int | None = None

    def is_still(self, now: "Stamp") -> bool:
        return now == self if self.inode is not None else now[:2] == self[:2]

    def __reduce__(self) -> Any:
        return Stamp, (self.size, self.mtime_ns)


@dataclass(frozen=True)
class Storage:
    """A pyarrow file system, opened anew in each process: clients do not survive a fork."""

    filesystem: Any
    process: int

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    @property
    def on_disk(self) -> bool:
        return self.is_local

    @property
    def is_python(self) -> bool:
        """Whether reads end up in Python code, as fsspec's do."""
        inner = self.filesystem
        while isinstance(inner, pafs.SubTreeFileSystem):
            inner = inner.base_fs
        return isinstance(inner, pafs.PyFileSystem)

    def table(self, path: str) -> None:
        """The record batches behind a name; files are none (see memory.py)."""

    def open(self, path: str) -> Any:
        return self.filesystem.open_input_file(path)

    def here(self) -> "Storage":
        """This storage, for use in the process that calls."""
        if self.is_local or self.process == os.getpid():
            return self
        return Storage(pickle.loads(pickle.dumps(self.filesystem)), os.getpid())

    def stamp(self, path: str) -> Stamp:
        """Of a file as it is now. Raises StreamError where there is none."""
        if self.is_local:
            try:
                told = os.stat(path)  # noqa: PTH116 – a Path costs more than the call
            except (OSError, ValueError):
                told = None
            if told is not None and stat.S_ISREG(told.st_mode):
                return Stamp(told.st_size, told.st_mtime_ns, told.st_ino)
            raise StreamError(f"{path}: there is no such file")
        info = self.filesystem.get_file_info(path)
        if info.type != pafs.FileType.File:
            raise StreamError(f"{path}: there is no such file")
        return Stamp(info.size, info.mtime_ns or self._version(path))

    def _version(self, path: str) -> int:
        """A number for what fsspec tells of a file instead of its time of change; 0 for nothing."""
        handler = getattr(self.filesystem, "handler", None)
        if not isinstance(handler, pafs.FSSpecHandler):
            return 0
        told = handler.fs.info(path)
        known = [str(told[name]) for name in _VERSIONS if told.get(name)]
        return zlib.crc32("\n".join(known).encode()) + 1 if known else 0

    @property
    def name(self) -> str:
        """What kind of file system it is."""
        return str(self.filesystem.type_name)

    def __reduce__(self) -> Any:
        return _storage_here, (self.filesystem,)


def _storage_here(filesystem: Any) -> Storage:
    return Storage(filesystem, os.getpid())


def find_files(paths: Paths, filesystem: Any, retry: Retry) -> tuple[Storage, tuple[Found, ...]]:
    """The files that paths, folders and globs name, each folder's and glob's in sorted order."""
    if isinstance(paths, Mapping) or not isinstance(paths, str | os.PathLike | Iterable):
        raise _no_path(type(paths).__name__)
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    for one in given:
        if not isinstance(one, str | os.PathLike):
            raise _no_path(f"{type(paths).__name__} of {type(one).__name__}")
    if not given:
        raise InvalidInputError("no path was given")
    storage: Storage | None = None
    found: list[Found] = []
    for one in given:
        on, path = _resolve(_text(os.fspath(one)), filesystem)
        if storage is not None and not on.filesystem.equals(storage.filesystem):
            raise StreamError(f"{one}: all paths of a stream must be on one file system")
        storage = storage or on
        found += _find(storage, path, retry)
    assert storage is not None
    return storage, tuple(found)


def _no_path(got: str) -> UnsupportedTypeError:
    return UnsupportedTypeError(
        f"a stream reads paths, or a table or an open file in memory; got {got}: rows that are "
        'there already are a table, pa.table({"ids": rows})'
    )


def _text(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise StreamError(
            f"{shown(path)} is not UTF-8, and Arrow reads no other file names: rename the file"
        ) from error
    return path


def _resolve(path: str, filesystem: Any) -> tuple[Storage, str]:
    """The file system a path is on, and the path there."""
    if filesystem is not None:
        # fsspec knows paths under several names, and lists them under one
        strip = getattr(filesystem, "_strip_protocol", str)
        on, path = _storage_here(_as_pyarrow(filesystem)), strip(path)
        if not (on.is_local or on.is_python) and (scheme := _SCHEME.match(path)):
            raise InvalidInputError(
                f"{_without_secrets(path)}: with filesystem=, paths are those on it, and have no "
                f"{scheme[0]} before them"
            )
        return on, path
    if "://" not in path:
        return _storage_here(pafs.LocalFileSystem()), _expanded(path)
    # a glob is no URI: let pyarrow see the part before it, and the options behind it
    query = _QUERY.search(path)
    end = query.start() if query else len(path)
    base, rest = _before_magic(path[:end])
    try:
        found, root = _from_uri(base + path[end:])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StreamError(_without_secrets(f"{path}: {error}")) from None
    except ImportError as error:
        raise MissingExtraError(
            f"{_without_secrets(path)}: {error}; "
            'pip install "ragmask[remote]" installs fsspec and s3fs'
        ) from error
    return _storage_here(found), "/".join([root.rstrip("/"), rest]) if rest else root


def _without_secrets(text: str) -> str:
    """The text without the keys that a URI may hold before its server's name."""
    return re.sub(r"://[^@\s]*@", "://…@", text)  # a key may have slashes


def _from_uri(uri: str) -> tuple[Any, str]:
    """A file system of pyarrow's own, or else one of fsspec's."""
    try:
        found, root = pafs.FileSystem.from_uri(quote(uri, _IN_URIS))
    except pa.ArrowInvalid:
        if uri.startswith("s3://") and "@" in uri:
            raise  # s3fs would take the keys for the bucket, and its errors tell them
        from fsspec.core import url_to_fs

        other, root = url_to_fs(uri)
        return _as_pyarrow(other), str(root)
    return found, str(root)


def _as_pyarrow(filesystem: Any) -> Any:
    if isinstance(filesystem, pafs.FileSystem):
        return filesystem
    if hasattr(filesystem, "protocol") and hasattr(filesystem, "open"):  # fsspec
        if getattr(filesystem, "_pid", os.getpid()) != os.getpid():
            filesystem = pickle.loads(pickle.dumps(filesystem))  # made before a fork
        return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem))
    raise UnsupportedTypeError(
        "filesystem must be a pyarrow.fs.FileSystem or an fsspec file system; "
        f"got {type(filesystem).__name__}"
    )


def _expanded(path: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # a name that begins with ~, and is no user's
        return str(Path(path))


def _find(storage: Storage, path: str, retry: Retry) -> list[Found]:
    try:
        if storage.is_local:
            return _look(storage, path)
        return retry.run(lambda: _look(storage, path), path)
    except StreamError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StreamError(f"{path} cannot be listed: {error}") from error


def _look(storage: Storage, path: str) -> list[Found]:
    info = storage.filesystem.get_file_info(path)
    if info.type == pafs.FileType.Directory:
        return _in_folder(storage, path)
    if info.type == pafs.FileType.File:
        return [Found(path)]
    if any(character in path for character in _MAGIC):
        return _matching(storage, path)
    raise StreamError(f"{path}: there is no such file or folder")


def _in_folder(storage: Storage, folder: str) -> list[Found]:
    listed = _list(storage, folder, recursive=True)
    paths = [
        path
        for path in _without_caches(storage, listed)
        if _IS_DATA.search(path) and not _is_hidden(_relative(path, folder))
    ]
    if not paths:
        raise StreamError(f"{folder}: the folder holds no {', '.join(_SUFFIXES)} file")
    return [Found(path, _keys(_relative(path, folder))) for path in paths]


def _without_caches(storage: Storage, paths: list[str]) -> list[str]:
    """Paths less those that a folder of `save_to_disk` does not count as its data.

    Raises StreamError for the splits of a DatasetDict, and for data that is not there.
    """
    for path in paths:
        folder, _, name = path.rpartition("/")
        if name == huggingface.INFO_FILE:
            made = re.compile(rf"{re.escape(folder)}/{huggingface.CACHE_FILES}")
            paths = [one for one in paths if not made.fullmatch(one)]
        if name not in (huggingface.SPLITS_FILE, huggingface.STATE_FILE):
            continue
        with storage.open(path) as file:
            told = huggingface.read_told(file.read())
        if name == huggingface.SPLITS_FILE:
            huggingface.refuse_splits(told, folder)
            continue
        data = huggingface.data_files(told, folder)
        if data is None:
            continue
        for one in data:
            if f"{folder}/{one}" not in paths:
                raise StreamError(f"{path} names {one}, and there is no such file")
        paths = [
            one
            for one in paths
            if one.rpartition("/")[0] != folder or one.rpartition("/")[2] in data
        ]
    return paths


def _matching(storage: Storage, pattern: str) -> list[Found]:
    folder, rest = _before_magic(pattern)
    parts = rest.split("/")
    paths = [
        path
        for path in _list(storage, folder or ".", recursive=len(parts) > 1 or rest == "**")
        if _matches(_relative(path, folder).split("/"), parts)
    ]
    if not paths:
        raise StreamError(f"{pattern}: no file matches")
    return [Found(path, _keys(_relative(path, folder))) for path in paths]


def _list(storage: Storage, folder: str, recursive: bool) -> list[str]:
    selector = pafs.FileSelector(folder, recursive=recursive, allow_not_found=True)
    infos = storage.filesystem.get_file_info(selector)
    # an empty object that marks a folder of S3 is a file to s3fs
    paths = (info.path for info in infos if info.type == pafs.FileType.File)
    return sorted(path for path in paths if not path.endswith("/"))


def _matches(parts: list[str], pattern: list[str]) -> bool:
    """Whether a path matches a glob, part by part; ** is any number of folders.

    As in a shell, only a pattern that begins with a dot matches a name that does.
    """
    if not pattern:
        return not parts
    if pattern[0] == "**":
        skipped = parts and not parts[0].startswith(".") and _matches(parts[1:], pattern)
        return bool(skipped) or _matches(parts, pattern[1:])
    if not parts or (parts[0].startswith(".") and not pattern[0].startswith(".")):
        return False
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _before_magic(path: str) -> tuple[str, str]:
    """The folder above a glob's first pattern, and the rest."""
    parts = path.split("/")
    first = next((i for i, part in enumerate(parts) if any(c in part for c in _MAGIC)), None)
    if first is None:
        return path, ""
    return "/".join(parts[:first]) or ("/" if path.startswith("/") else ""), "/".join(parts[first:])


def _relative(path: str, folder: str) -> str:
    # a file system below a folder of another lists "/" without the slash
    inner = PurePosixPath(path.lstrip("/"))
    return inner.relative_to(PurePosixPath(folder.lstrip("/"))).as_posix()


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def _keys(path: str) -> tuple[tuple[str, str | None], ...]:
    """The keys and values of hive folders, as `year=2024/lang=de/part.parquet`."""
    keys: dict[str, str | None] = {}
    for part in path.split("/")[:-1]:
        name, equals, value = part.partition("=")
        if name and equals:
            text = None if value == _NO_VALUE else unquote(value, errors="strict")
            keys.setdefault(unquote(name, errors="strict"), text)
    return tuple(keys.items())
