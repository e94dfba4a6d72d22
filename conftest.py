"""Modules that need an optional package are searched for examples where it is installed."""

import os
import sys
from importlib.util import find_spec

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # Spark's workers, not those in PATH

_NEEDS = {
    "interop/datasets": ["datasets"],
    "interop/duckdb": ["duckdb"],
    "interop/jax": ["jax"],
    "interop/keras": ["keras", "jax"],
    "interop/pandas": ["pandas"],
    "interop/polars": ["polars"],
    "interop/ray": ["ray", "torch"],
    "interop/spark": ["pyspark"],
    "interop/torch": ["torch"],
    "kernels/cuda": ["numba_cuda"],
}
collect_ignore = [
    f"ragmask/{folder}" for folder, names in _NEEDS.items() if not all(map(find_spec, names))
]
