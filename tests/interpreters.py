"""Code in an interpreter of its own: for imports, compile caches, forks and exits."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_python(code, *arguments, folder=ROOT, timeout=600, **environment):
    """What `code` prints; fails the test with its stderr unless it ends well.

    `folder` is put first on the path, so that a copy of ragmask there is what is imported.
    """
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()
