"""The README's code runs, and its two commands are the ones CI looks for."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_python_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["vectors"].shape == (128, 64)
    assert len(names["saved"]) < 500


def test_its_two_commands_are_one_line_each():
    commands = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert [command.count("\n") for command in commands] == [1, 1]
    assert commands[0].rstrip().endswith("ragmask demo")
    assert commands[1].rstrip().endswith("pytest -n 2")


def test_its_figures_are_those_of_the_benchmarks():
    section = README.partition("## Benchmarks\n")[2].partition("\n## ")[0]
    benchmarks = (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
    figures, measured = figures_in(section), figures_in(benchmarks)
    assert len(figures) == 6
    assert set(figures) <= set(measured)


def figures_in(text):
    """Ours, the peer's and their ratio, of each row of the tables in a text."""
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [(row[1], row[3], row[4].removesuffix(" |")) for row in rows if row[1] != "ragmask"]
