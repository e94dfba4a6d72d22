"""These tests run in numba-cuda's simulator: see tests/test_cuda_simulated.py."""

import os

collect_ignore = ["compile_ptx.py"]
if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    from tests.cuda import simulator

    simulator.complete()
else:
    collect_ignore_glob = ["*.py"]
