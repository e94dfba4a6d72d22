"""The source tree as CONTRIBUTING.md shows it: each module with its docstring's first line.

    python tests/layout.py --write

Modules stand in the order of the import contracts in pyproject.toml: what is imported comes first.
"""

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- written by tests/layout.py -->\n", "<!-- end -->\n"


def layout():
    levels = import_levels()
    tree = "\n".join(["ragmask/", *tree_of("ragmask", levels)])
    order = " ← ".join(", ".join(f"`{name}`" for name in level) for level in levels["ragmask"])
    return f"\n```text\n{tree}\n```\n\nImports point one way: {order}.\n\n"


def import_levels():
    """{package: its modules in levels, each of which may import those before it}."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return {
        package: [sorted(level.split(" | ")) for level in reversed(contract["layers"])]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
        for package in contract["containers"]
    }


def tree_of(package, levels, indent="  "):
    """The lines of a package's modules, and of the packages inside it."""
    folder = ROOT / package.replace(".", "/")
    order = [name for level in levels.get(package, []) for name in level]
    paths = [*folder.glob("[!_]*.py"), *(path.parent for path in folder.glob("*/__init__.py"))]
    paths.sort(key=lambda path: (order.index(path.stem) if path.stem in order else -1, path.stem))
    names = [f"{path.name}/" if path.is_dir() else path.name for path in paths]
    width = max(map(len, names), default=0)
    for name, path in zip(names, paths, strict=True):
        yield f"{indent}{name:{width}}  {first_line(path)}"
        if path.is_dir():
            yield from tree_of(f"{package}.{path.name}", levels, indent + "  ")


def first_line(path):
    text = (path / "__init__.py" if path.is_dir() else path).read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    return docstring.partition("\n")[0].removesuffix(".")


def current():
    """What the page says now, and what comes before and after it."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    text, end, after = rest.partition(END)
    assert end, f"{PAGE.name} has lost the lines that the layout stands between"
    return text, before, after


def main():
    text, before, after = current()
    if "--write" in sys.argv[1:]:
        PAGE.write_text(f"{before}{BEGIN}{layout()}{END}{after}", "utf-8")
        return 0
    return int(text != layout())


if __name__ == "__main__":
    sys.exit(main())
