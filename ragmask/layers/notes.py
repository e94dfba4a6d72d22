"""Which layer and which file an error comes from."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ragmask.errors import InvalidInputError, RagmaskError
from ragmask.files import shown


@contextmanager
def noted(note: str) -> Iterator[None]:
    """Errors inside carry this note."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors inside say which file they come from; there are no others than ragmask's."""
    with noted(f"in {shown(path)}"):
        try:
            yield
        except (RagmaskError, OSError):
            raise
        except Exception as error:  # what wrong types lead to, in a layer's own code too
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            refused = InvalidInputError(f"{kind}{error}")
            for note in getattr(error, "__notes__", ()):
                refused.add_note(note)
            raise refused from error
