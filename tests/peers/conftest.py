"""Collected only where every peer is installed: a test that is skipped proves nothing.

The report's header says when they are left out, and `pytest tests/peers` then ends with
exit code 5, no tests collected.
"""

import os

from tests.peers.packages import missing_packages

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # each test compiles its own

_WITH_PEERS = [
    "tensors.py",
    "ragged_tensors.py",
    "distributed.py",
    "keras_layers.py",
    "keras_table.py",
]
collect_ignore_glob = ["test_*.py", *_WITH_PEERS] if missing_packages() else []
