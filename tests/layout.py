"""The modules as CONTRIBUTING.md lists them: `python tests/layout.py --write` brings it up to date.

Each has its docstring's first line. Where a contract in pyproject.toml says which way imports point,
a module comes after those that it may import.
"""

import argparse
import ast
import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
MARKED = re.compile(r"(?<=<!-- layout -->\n).*?(?=<!-- /layout -->)", re.DOTALL)
COLUMN, WIDTH = 25, 100


def import_order() -> list[str]:
    """The modules that contracts name, each after those that it may import."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [
        f"{container}.{name.strip()}"
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
        for container in contract["containers"]
        for layer in reversed(contract["layers"])
        for name in re.split("[|:]", layer)
    ]


def listing(module: str, order: list[str]) -> Iterator[str]:
    """The lines of a module and of all that is in it."""
    path = ROOT / module.replace(".", "/")
    is_package = path.is_dir()
    source = path / "__init__.py" if is_package else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    assert docstring, f"{module} has no docstring"
    name = f"{path.name}/" if is_package else source.name
    yield textwrap.fill(
        docstring.splitlines()[0],
        WIDTH,
        initial_indent=f"{'  ' * module.count('.')}{name} ".ljust(COLUMN),
        subsequent_indent=" " * COLUMN,
    )
    children = {f"{module}.{file.stem}" for file in path.glob("*.py") if file != source}
    children |= {f"{module}.{file.parent.name}" for file in path.glob("*/__init__.py")}
    for child in [*(name for name in order if name in children), *sorted(children - {*order})]:
        yield from listing(child, order)


def page() -> str:
    """CONTRIBUTING.md as it should be."""
    text = "\n".join(["```text", *listing("ragmask", import_order()), "```", ""])
    return MARKED.sub(lambda _: text, PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into CONTRIBUTING.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(*listing("ragmask", import_order()), sep="\n")
