"""Checks of the files that commands write."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ragmask.errors import InvalidInputError


def check_target(paths: Sequence[str], target: str | Path) -> None:
    """Raise where the output would take the place of what is read."""
    there = False
    with suppress(OSError, ValueError):  # of a name that cannot be: refused once it is written
        there = Path(target).exists()
    for path in map(Path, paths):
        if there and path.exists() and path.samefile(target):
            raise InvalidInputError(f"{target} is the file being read: write to another one")
