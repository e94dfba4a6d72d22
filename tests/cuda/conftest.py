"""These tests run in numba-cuda's simulator: see tests/test_cuda_simulated.py."""

import os
import sys

collect_ignore = ["compile_ptx.py", "run_ptx.py", "seeded.py"]
if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    from tests.cuda import simulator

    simulator.complete()
elif "tests.cuda.executed" not in sys.modules:
    collect_ignore_glob = ["*.py"]
