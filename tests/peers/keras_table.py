"""Keras's layers as ragmask/layers/README.md lists them: what is here, and why the rest is not.

    python tests/peers/keras_table.py --write

What is short of arguments is found by asking both libraries for their signatures.
"""

import inspect
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

from ragmask import layers
from ragmask.interop.keras.layers import CELLS, CONVERTERS
from ragmask.layers.elsewhere import ARGUMENTS, ELSEWHERE
from ragmask.layers.layer import _FOR_TRAINING, Layer

PAGE = Path(__file__).parents[2] / "ragmask/layers/README.md"
READ = {*CONVERTERS, *CELLS, keras.layers.InputLayer, keras.layers.StackedRNNCells}
BEGIN, END = "<!-- written by tests/peers/keras_table.py -->\n", "<!-- end -->\n"


def classes():
    """{name: class} of all that keras.layers has."""
    found = {name: getattr(keras.layers, name) for name in dir(keras.layers)}
    return {name: cls for name, cls in found.items() if inspect.isclass(cls)}


def named(function):
    """{argument: default} of those that may be given by name."""
    parameters = inspect.signature(function).parameters.values()
    return {
        one.name: one.default
        for one in list(parameters)[1:]
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }


def lacking(name):
    """The arguments of Keras's layer, and of its call, that ours does not take."""
    theirs, ours = getattr(keras.layers, name), getattr(layers, name)
    taken = set(named(ours.__init__)) | set(named(Layer.__init__))
    told = [
        one
        for one in named(theirs.__init__)
        if one not in taken and not _FOR_TRAINING.fullmatch(one)
    ]
    taken = {"mask", "training", *named(ours.call)}
    in_call = [one for one in list(named(theirs.call))[1:] if one not in taken]
    return told, in_call


def table():
    names: dict[type, list[str]] = {}  # a class may have several
    for name, cls in classes().items():
        names.setdefault(cls, []).append(name)
    here = {
        ", ".join(f"`{name}`" for name in given): [told_of(given[0]), "yes" if cls in READ else ""]
        for cls, given in names.items()
        if hasattr(layers, given[0])
    }
    reasons: dict[str, list[str]] = {}
    for name in classes():
        if not hasattr(layers, name):
            reasons.setdefault(ELSEWHERE[name], []).append(f"`{name}`")
    more = {
        f"`{name}`": [first_line(getattr(layers, name))]
        for name in layers.__all__
        if is_layer(name) and not hasattr(keras.layers, name)
    }
    out = {", ".join(given): [reason] for reason, given in reasons.items()}
    return "\n".join(
        [
            "",
            markdown(
                ("layer", "Keras's arguments that it does not take", "read by from_keras"), here
            ),
            markdown(("not here", "it …"), out),
            markdown(("here alone", "what it does"), more),
        ]
    )


def told_of(name):
    told, in_call = lacking(name)
    words = [f"`{one}`: {ARGUMENTS.get(one)}" for one in told]
    return "; ".join(words + [f"`{one}` of its call" for one in in_call])


def is_layer(name):
    cls = getattr(layers, name)
    return inspect.isclass(cls) and issubclass(cls, Layer) and not hasattr(keras.models, name)


def first_line(cls):
    return inspect.getdoc(cls).partition("\n")[0].removesuffix(".")


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *([title, *cells] for title, cells in sorted(rows.items()))]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def current():
    """What the page says now, and what comes before and after it."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    text, end, after = rest.partition(END)
    assert end, f"{PAGE.name} has lost the lines that the table stands between"
    return text, before, after


def main():
    text, before, after = current()
    if "--write" in sys.argv[1:]:
        PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", "utf-8")
        return 0
    return int(text != table())


if __name__ == "__main__":
    sys.exit(main())
