"""To and from other libraries' own forms of ragged batches, one package for each library.

`torch`, `keras`, `jax`, `datasets`, `polars`, `pandas`, `duckdb`, `ray` and `spark`: each imports
its library when it is imported itself, and nothing in ragmask imports them.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any


def __getattr__(name: str) -> Any:
    """`ragmask.interop.torch`, without an import of it before."""
    if name not in {found.name for found in iter_modules(__path__) if found.ispkg}:
        raise AttributeError(f"module 'ragmask.interop' has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
