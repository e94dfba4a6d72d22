"""The commands and their options; what they do is in demo.py, inspect.py and apply.py."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

import ragmask

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ragmask {ragmask.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, metavar="", help="Show the version."
        ),
    ] = False,
) -> None:
    """Batches of sequences of unequal length: see one, and measure your own."""


@app.command()
def demo(
    rows: Annotated[int, typer.Option(min=1, help="Rows of a batch.")] = 64,
    passes: Annotated[int, typer.Option(min=1, help="Timed passes over the data.")] = 50,
) -> None:
    """Stream the real recordings that ship with ragmask, and show a padded batch."""
    from ragmask.cli.demo import run

    run(rows, passes, Console(highlight=False))


@app.command()
def inspect(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Parquet or Arrow IPC files, folders of them, quoted globs, or URIs (s3://…).",
            show_default=False,
        ),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            "-c",
            metavar="NAME",
            help="A column of lists; may be given again. By default every one.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help='Draw lengths and padding into a picture; needs "ragmask\\[plot]".',
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT.html",
            help="Write a report, one file: lengths, padding at each batch size, and advice.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """How long the rows of a data set are, what padding would cost, and how to batch them.

    Reads every row once, and keeps only the rows' lengths in memory.
    """
    from ragmask.cli.inspect import run

    run(paths, column or None, plot, html, Console(highlight=False))


@app.command()
def apply(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder that Model.save wrote.")],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="IN… OUT.parquet",
            help="Parquet or Arrow IPC files, folders, quoted globs or URIs; last, what to write.",
            show_default=False,
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="INPUT=COLUMN",
            help="Which column an input of the model reads; by default the one of its name.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            "-k",
            metavar="COLUMN",
            help="A column to copy through; may be given again.",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a batch.")] = 1024,
    engine: Annotated[
        Literal["local", "ray", "spark"],
        typer.Option(
            help="Who computes: this process, or a cluster, which writes a folder of files."
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Workers of the cluster; by default as many as it has CPUs.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Stream a data set through a saved model into a Parquet file, in bounded memory.

    The outputs bear the model's names, and rows keep their order. Columns of strings are encoded
    by the vocabulary that was saved with the model, and for an input of shape (None, 1) each of a
    list's numbers is a step.
    """
    from ragmask.cli.apply import run

    if len(paths) < 2:
        raise typer.BadParameter("give what to read, and last the file to write", param_hint="OUT")
    *source, target = paths
    console = Console(highlight=False)
    run(model, source, target, inputs or [], keep or [], rows, engine, workers, console)
