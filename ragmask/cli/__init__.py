"""The command line: `ragmask demo`, `ragmask inspect` and `ragmask apply`."""

import sys

from ragmask.errors import MissingExtraError, RagmaskError


def main() -> None:
    """Run the command line. What ragmask refuses is one line on stderr and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without "█" shows "?", no traceback
    try:
        try:
            from ragmask.cli.app import app
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in ("rich", "typer"):
                raise
            raise MissingExtraError(
                f"the command line needs {package}, which is not installed: "
                'pip install "ragmask[cli]"'
            ) from error
        app()
    except (RagmaskError, OSError) as error:
        notes = getattr(error, "__notes__", [])
        print("ragmask:", ", ".join([str(error), *notes]), file=sys.stderr)
        sys.exit(1)
