"""Modules that need an optional package are searched for examples where it is installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["ragmask/interop/torch.py"]
collect_ignore += [] if find_spec("numba_cuda") else ["ragmask/kernels/cuda"]
