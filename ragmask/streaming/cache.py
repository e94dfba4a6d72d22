"""Row groups of files that are far away, kept on a disk nearby once they were decoded.

An entry is a file in one folder: an Arrow IPC stream, and behind it its length and checksum. It is
written under another name and renamed, so that whoever finds it finds it whole; what a failing disk
made of it since is noticed. Processes share a folder without locks: two that write the same entry
write the same bytes, and one that is removed stays there for who has opened it.
"""

import hashlib
import os
import struct
import threading
import time
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ragmask import arrow
from ragmask.errors import InvalidInputError, RagmaskError
from ragmask.files import beside, shown
from ragmask.rows.checks import check_count

DEFAULT_BYTES = 32 << 30

_SUFFIX = ".ragmask"
_LEFT_BEHIND = f"{_SUFFIX}.*.tmp"
_FORMAT = b"ragmask cache 1"
_TRAILER = struct.Struct("<4sQI")  # magic, length and checksum of what is before
_MAGIC = b"rmc1"
_LATE = 3600  # seconds after which a file that is not whole is nobody's any more
_LISTED_EACH = 16  # parts of the bound: after so much was written, others' entries are counted anew


@dataclass(frozen=True)
class Cache:
    """A folder of entries, of so many bytes together. Can be pickled."""

    folder: Path
    most: int | None = DEFAULT_BYTES

    @classmethod
    def of(cls, folder: Any, most: Any) -> "Cache | None":
        """What `cache=` and `cache_bytes=` say."""
        if most is not None:
            most = check_count("cache_bytes", most, 1)
        if folder is None:
            return None
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise InvalidInputError(f"cache is the name of a folder; got {folder!r}")
        return cls(Path(os.fsdecode(folder)).expanduser().absolute(), most)

    def find(self, told: Any, memory_map: bool) -> Any:
        """The table that was kept for what `told` says; None where there is none, or a bad one."""
        path = self._path(told)
        try:
            with pa.OSFile(str(path)) if not memory_map else pa.memory_map(str(path)) as file:
                table = _read(file.read_buffer(), path)
            os.utime(path)  # those that were used last are kept longest
        except (OSError, pa.ArrowException, ValueError, RagmaskError):
            return None
        return table

    def keep(self, told: Any, table: Any) -> None:
        """Keep a table. Where that fails, a warning says so, once a process."""
        here = _folder(self.folder)
        if here.failed or (self.most is not None and table.nbytes > self.most):
            return
        path = self._path(told)
        temporary = beside(path)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                size = _write(file, table)
            temporary.replace(path)
            if self.most is not None:
                self._bound(here, size)
        except (OSError, pa.ArrowException) as error:
            _unlink(temporary)
            if not here.failed:
                here.failed = True
                warnings.warn(
                    f"the cache {shown(self.folder)} cannot be written, and keeps nothing more: "
                    f"{error}",
                    stacklevel=2,
                )
        except BaseException:
            _unlink(temporary)
            raise

    def _path(self, told: Any) -> Path:
        digest = hashlib.sha256(_FORMAT + repr(told).encode("utf-8", "surrogatepass"))
        return self.folder / f"{digest.hexdigest()[:40]}{_SUFFIX}"

    def _bound(self, here: "_Folder", size: int) -> None:
        """Remove what was not used for longest, where there is too much."""
        assert self.most is not None
        with here.lock:
            here.since += size
            known = None if here.size is None else here.size + here.since
            if known is not None and known <= self.most and here.since * _LISTED_EACH < self.most:
                return
            entries = _entries(self.folder)
            here.size, here.since = sum(size for _, size, _ in entries), 0
            for _, size, path in entries:
                if here.size <= self.most:
                    break
                _unlink(path)
                here.size -= size


@dataclass
class _Folder:
    """What this process knows of a folder."""

    lock: Any = field(default_factory=threading.Lock)
    size: int | None = None  # when it was last listed
    since: int = 0  # bytes written since then
    failed: bool = False


_folders: dict[Path, _Folder] = {}
_sound: dict[Path, tuple[int, int]] = {}  # entries whose checksum was right, by inode and length


def _folder(path: Path) -> _Folder:
    return _folders.setdefault(path, _Folder())


def _forget() -> None:
    """In a forked child: a lock may have been held."""
    _folders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _entries(folder: Path) -> list[tuple[float, int, Path]]:
    """When each was last used, its bytes and its name; the oldest first."""
    found = []
    late = time.time() - _LATE
    with os.scandir(folder) as listed:
        for one in listed:
            is_whole = one.name.endswith(_SUFFIX)
            if not is_whole and not Path(one.name).match(f"*{_LEFT_BEHIND}"):
                continue
            try:
                told = one.stat(follow_symlinks=False)
            except OSError:
                continue  # another process removed it
            if not is_whole and told.st_mtime < late:
                _unlink(Path(one.path))
            elif is_whole:
                found.append((told.st_mtime, told.st_size, Path(one.path)))
    return sorted(found)


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


# -- entries ------------------------------------------------------------------------------


class _Summed:
    """A file to write to that knows the length and the checksum of what was written."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self.length = self.checksum = 0

    def write(self, data: Any) -> int:
        self.checksum = zlib.crc32(data, self.checksum)
        self._file.write(data)
        self.length += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _write(file: Any, table: Any) -> int:
    summed = _Summed(file)
    with pa.ipc.new_stream(pa.PythonFile(summed, mode="w"), table.schema) as writer:
        writer.write_table(table)
    file.write(_TRAILER.pack(_MAGIC, summed.length, summed.checksum))
    return summed.length + _TRAILER.size


def _read(buffer: Any, path: Path) -> Any:
    """An entry's table. Its bytes are looked at when a process meets it first."""
    length = buffer.size - _TRAILER.size
    if length < 0:
        raise ValueError("it is too short")
    magic, told, checksum = _TRAILER.unpack(buffer.slice(length))
    if magic != _MAGIC or told != length:
        raise ValueError("its end is another's")
    contents = buffer.slice(0, length)
    seen = os.stat(path).st_ino, buffer.size  # noqa: PTH116
    is_known = _sound.get(path) == seen
    if not is_known and zlib.crc32(contents) != checksum:
        raise ValueError("its checksum is another's")
    table = pa.ipc.open_stream(contents).read_all()
    if not is_known:
        arrow.validate(table)
        _sound[path] = seen
    return table
