"""Where compiled kernels are kept between processes."""

import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba.core import caching


@cache
def _kernels_stamp() -> str:
    """A hash of every source file of the kernels.

    A kernel's machine code holds the helpers it calls, from other files too. Numba's own key
    sees the kernel's file alone, so it would go on running the old helper after an edit.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _StampOfAllKernels:
    def get_source_stamp(self) -> str:
        return _kernels_stamp()


class _InUserFolder(_StampOfAllKernels, caching.UserProvidedCacheLocator):
    """The folder that NUMBA_CACHE_DIR names."""


class _BesideSource(_StampOfAllKernels, caching.InTreeCacheLocator):
    """`__pycache__`."""


class _InHome(_StampOfAllKernels, caching.UserWideCacheLocator):
    """The user's cache folder, where the package itself is read-only."""


class _KernelCacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = [_InUserFolder, _BesideSource, _InHome]  # noqa: RUF012


class KernelCache(caching.FunctionCache):
    _impl_class = _KernelCacheImpl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a torn or foreign cache file is a miss, never an error
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(Exception):  # nor is a disk that is full, or an index that cannot be read
            super().save_overload(sig, data)
