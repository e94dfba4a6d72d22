"""ragmask's docstrings as reStructuredText, and the names that they may link to.

They are written to be read in a terminal: `code` in single backticks, stars that are stars,
parameters as "name : text", and what is indented as it stands.
"""

import re
from pathlib import Path
from typing import Any

# `code`, or the stars of **bold** around words
CODE = re.compile(r"`([^`\n]+)`|\*\*(?=\S)(.+?)(?<=\S)\*\*")
PARAMETER = re.compile(r"([*\w]+(?:, [*\w]+)*) : (.*)")


def listed(folder: Path) -> set[str]:
    """The full names of all objects that the reference's pages list."""
    names = set()
    for page in sorted(folder.glob("*.md")):
        module = ""
        for line in page.read_text("utf-8").splitlines():
            if line.startswith(".. currentmodule::"):
                module = line.split()[-1]
            elif re.fullmatch(r"   [A-Za-z]\w*", line):
                names.add(f"{module}.{line.strip()}")
    return names


def escaped(text: str) -> str:
    return re.sub(r"([\\*|_])", r"\\\1", text)


def inline(line: str, link: Any) -> str:
    """One line of prose."""
    made, end = [], 0
    for match in CODE.finditer(line):
        made.append(escaped(line[end : match.start()]))
        code, bold = match.groups()
        made.append(link(code) if code else f"**{escaped(bold)}**")
        end = match.end()
        if line[end : end + 1].isalnum():
            made.append("\\ ")
    return "".join([*made, escaped(line[end:])])


def converted(lines: list[str], link: Any) -> list[str]:
    made: list[str] = []
    example = parameter = literal = False
    for line in lines:
        indented = line.startswith("    ")
        if line.lstrip().startswith(">>>"):
            example = True
        elif not line.strip():
            example = False
        literal = not example and (literal and (indented or not line))
        if not (example or literal or parameter) and indented and made and not made[-1]:
            made += ["::", ""]
            literal = True
        if example or literal:
            made.append(line)
        elif given := PARAMETER.fullmatch(line):
            if not parameter and made and made[-1]:
                made.append("")
            parameter = True
            made += [f"**{escaped(given[1])}**", f"    {inline(given[2], link)}"]
        elif line == "Parameters":
            made.append(".. rubric:: Parameters")
        elif re.fullmatch("-+", line):
            made.append("")
        elif parameter and indented:
            made.append(f"    {inline(line.strip(), link)}")
        else:
            if parameter and line and made[-1]:
                made.append("")
            parameter = parameter and not line
            made.append(inline(line, link))
    return made


def setup(app: Any) -> dict[str, bool]:
    names = listed(Path(app.srcdir) / "reference")
    short = {name.rpartition(".")[2]: name for name in sorted(names, reverse=True)}

    def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        def link(code: str) -> str:
            if code in names:
                return f":py:obj:`{code}`"
            full = short.get(code)
            if full and name != full:
                return f":py:obj:`{code} <{full}>`"
            return f"``{code}``"

        lines[:] = converted(lines, link)

    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
