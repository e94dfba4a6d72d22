"""Modules that need an optional package are searched for examples where it is installed."""

import os
from importlib.util import find_spec

os.environ.setdefault("KERAS_BACKEND", "jax")

collect_ignore = [] if find_spec("torch") else ["ragmask/interop/torch"]
collect_ignore += [] if find_spec("jax") else ["ragmask/interop/jax"]
collect_ignore += [] if find_spec("ray") and find_spec("torch") else ["ragmask/interop/ray"]
collect_ignore += [] if find_spec("keras") and find_spec("jax") else ["ragmask/interop/keras"]
collect_ignore += [] if find_spec("numba_cuda") else ["ragmask/kernels/cuda"]
