"""Reads PTX into statements: what NVVM writes for one kernel that calls no functions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

BYTES = {"8": 1, "16": 2, "32": 4, "64": 8}


class Variable(NamedTuple):
    """A parameter, or an array of shared or local memory."""

    name: str
    type: str
    alignment: int
    bytes: int  # 0 for dynamic shared memory


class Registers(NamedTuple):
    type: str
    names: list[str]


class Scope(NamedTuple):
    """A brace around registers of its own."""

    brace: str


class Label(NamedTuple):
    name: str


class Instruction(NamedTuple):
    text: str
    guard: str  # a predicate, which "!" may precede, or nothing
    opcode: str
    operands: list[str]
    place: tuple[int, int]  # number of the file, line


@dataclass
class Module:
    """A kernel."""

    parameters: list[Variable] = field(default_factory=list)
    shared: list[Variable] = field(default_factory=list)
    local: list[Variable] = field(default_factory=list)
    body: list[Registers | Scope | Label | Instruction] = field(default_factory=list)
    files: dict[int, str] = field(default_factory=dict)


COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
STATEMENT = re.compile(
    r"""\s*(?:
    (?P<of_module>\.(?:version|target|address_size)\s[^\n]*)
    | \.file \s+ (?P<file>\d+) \s+ "(?P<path>[^"]*)" [^\n]*
    | \.loc \s+ (?P<of_file>\d+) \s+ (?P<line>\d+) \s [^\n]*
    | \.visible \s+ \.entry \s+ [\w$]+ \s* \( (?P<parameters>[^)]*) \) (?P<bounds>[^{]*)
    | (?P<label>[\w$]+) :
    | (?P<brace>[{}])
    | (?P<statement>[^;]+?) \s* ;
    )\s*""",
    re.VERBOSE,
)
VARIABLE = re.compile(
    r"(?P<linkage>(?:\.(?:visible|extern|common|weak)\s+)*)"
    r"\.(?P<space>shared|local|global|param)\s+(?:\.align\s+(?P<alignment>\d+)\s+)?"
    r"\.(?P<type>\w+)\s+(?P<name>[\w$]+)(?:\[(?P<count>\d*)\])?"
)
REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.+)", re.DOTALL)
INSTRUCTION = re.compile(r"(?:@(?P<guard>!?%\w+)\s+)?(?P<opcode>[a-z][\w.]*)\s*(?P<operands>.*)")
OPERAND = re.compile(r"\s*((?:\{[^}]*\}|\[[^\]]*\]|[^,])+?)\s*(?:,|$)")


def parse(ptx: str) -> Module:
    """The one kernel of a module."""
    module, place = Module(), (0, 0)
    for found in statements(COMMENT.sub("", ptx)):
        if found["file"]:
            module.files[int(found["file"])] = found["path"]
        elif found["line"]:
            if found["line"] != "0":  # of code that has no line
                place = int(found["of_file"]), int(found["line"])
        elif found["parameters"] is not None:
            module.parameters = [variable_of(part) for part in found["parameters"].split(",")]
        elif found["label"]:
            module.body.append(Label(found["label"]))
        elif found["brace"]:
            module.body.append(Scope(found["brace"]))
        elif found["statement"]:
            add_statement(module, found["statement"], place)
    return module


def statements(ptx: str) -> Iterator[re.Match[str]]:
    at, end = 0, len(ptx.rstrip())
    while at < end:
        found = STATEMENT.match(ptx, at)
        if found is None:
            raise NotImplementedError(f"PTX that is not known: {ptx[at : at + 80].strip()!r}")
        yield found
        at = found.end()


def add_statement(module: Module, text: str, place: tuple[int, int]) -> None:
    if registers := REGISTERS.fullmatch(text):
        module.body.append(Registers(registers[1], list(names_of(registers[2]))))
    elif found := VARIABLE.match(text):
        space = found["space"]
        if space in ("shared", "local"):
            (module.shared if space == "shared" else module.local).append(variable_of(text))
        elif "common" not in found["linkage"]:  # Numba has an empty one for each function
            raise NotImplementedError(f"PTX that is not known: {text!r}")
    elif not text.startswith(".pragma"):
        found = INSTRUCTION.fullmatch(" ".join(text.split()))
        if found is None:
            raise NotImplementedError(f"PTX that is not known: {text!r}")
        operands = [operand[1] for operand in OPERAND.finditer(found["operands"])]
        instruction = Instruction(text, found["guard"] or "", found["opcode"], operands, place)
        module.body.append(instruction)


def names_of(registers: str) -> Iterator[str]:
    """`%r<3>` is %r0, %r1 and %r2."""
    for name in registers.split(","):
        stem, _, count = name.strip().rstrip(">").partition("<")
        yield from (f"{stem}{number}" for number in range(int(count))) if count else (stem,)


def variable_of(text: str) -> Variable:
    found = VARIABLE.search(text)
    if found is None:
        raise NotImplementedError(f"PTX that is not known: {text!r}")
    size = bytes_of(found["type"])
    count = 1 if found["count"] is None else int(found["count"] or 0)
    alignment = int(found["alignment"] or size)
    return Variable(found["name"], found["type"], alignment, size * count)


def bytes_of(type: str) -> int:
    return BYTES[type[1:]]
