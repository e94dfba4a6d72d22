"""ragmask: batches of sequences of unequal length, padded and masked on demand.

>>> import ragmask as rm
>>> r = rm.Ragged.from_rows([[711, 632, 71], [73, 8, 3215, 55, 927], []])
>>> r.to_padded().values
array([[ 711,  632,   71,    0,    0],
       [  73,    8, 3215,   55,  927],
       [   0,    0,    0,    0,    0]])

Names load on first use: importing ragmask compiles nothing and imports no optional package.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def _homes() -> dict[str, str]:
    """{name: module} of the stub beside this file: `from module import name as name`."""
    stub = Path(__file__).with_suffix(".pyi").read_text("utf-8")
    words = (line.split() for line in stub.splitlines() if line.startswith("from ragmask"))
    return {name: module for _, module, _, name, *_ in words}


_HOME = _homes()
__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ragmask' has no attribute {name!r}")
    home = _HOME[name]
    if home == __name__:
        return import_module(f"{home}.{name}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
