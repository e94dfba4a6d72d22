"""Modules that need an optional package are searched for examples where it is installed."""

import os
import sys
from importlib.util import find_spec

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # Spark's workers, not those in PATH

collect_ignore = [] if find_spec("torch") else ["ragmask/interop/torch"]
collect_ignore += [] if find_spec("jax") else ["ragmask/interop/jax"]
collect_ignore += [] if find_spec("keras") and find_spec("jax") else ["ragmask/interop/keras"]
collect_ignore += [] if find_spec("pyspark") else ["ragmask/interop/spark"]
collect_ignore += [] if find_spec("numba_cuda") else ["ragmask/kernels/cuda"]
