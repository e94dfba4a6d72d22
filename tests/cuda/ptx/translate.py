"""Translates a kernel's PTX into a C++ function, one statement an instruction.

An instruction that no rule is for raises NotImplementedError with its text: the rules are for what
the project's kernels are compiled to, and a new one is a line here.
"""

import re
from typing import NamedTuple

from tests.cuda.ptx.parse import (
    Instruction,
    Label,
    Module,
    Registers,
    Scope,
    Variable,
    bytes_of,
)

# Between the arrays of shared memory, and before the first, so that an access beyond one is found.
GAP = 256

INTEGER, FLOAT, BITS = "[su](?:16|32|64)", "f(?:32|64)", "b(?:16|32|64)"
# An opcode; what it puts into its first operand, of its last type or of that before "=". The others
# are a, b, c, ... of the opcode's last type, or of one that is named here; U is its first type.
RULES = {
    f"add.({INTEGER}|{FLOAT})|add.rn.{FLOAT}": "{a} + {b}",
    f"sub.({INTEGER}|{FLOAT})|sub.rn.{FLOAT}": "{a} - {b}",
    f"mul.lo.{INTEGER}|mul.({FLOAT})|mul.rn.{FLOAT}": "{a} * {b}",
    f"mul.hi.{INTEGER}": "upper_half({a}, {b})",
    "mul.wide.s32": "s64 = s64({a}) * s64({b})",
    "mul.wide.u32": "u64 = u64({a}) * u64({b})",
    f"mad.lo.{INTEGER}": "{a} * {b} + {c}",
    "mad.wide.s32": "s64 = s64({a}) * s64({b}) + {c:s64}",
    "mad.wide.u32": "u64 = u64({a}) * u64({b}) + {c:u64}",
    f"div.{INTEGER}": "{a} / checked_divisor<{T}>(thread, {number}, {a}, {b})",
    f"rem.{INTEGER}": "{a} % checked_divisor<{T}>(thread, {number}, {a}, {b})",
    f"div.rn.{FLOAT}": "{a} / {b}",
    f"rcp.rn.{FLOAT}": "1 / {a}",
    "rcp.approx.ftz.f64": "rough_reciprocal({a})",
    "ex2.approx.ftz.f32": "power_of_2({a})",
    "fma.rn.f32": "__builtin_fmaf({a}, {b}, {c})",
    "fma.rn.f64": "__builtin_fma({a}, {b}, {c})",
    f"(min|max).{INTEGER}": "{a} {less} {b} ? {a} : {b}",
    "(min|max).f32": "__builtin_f{root}f({a}, {b})",
    "(min|max).f64": "__builtin_f{root}({a}, {b})",
    f"neg.({INTEGER}|{FLOAT})": "-{a}",
    "abs.f32": "__builtin_fabsf({a})",
    "abs.f64": "__builtin_fabs({a})",
    "sqrt.rn.f32": "__builtin_sqrtf({a})",
    "sqrt.rn.f64": "__builtin_sqrt({a})",
    f"abs.{INTEGER}": "{a} < 0 ? -{a} : {a}",
    "copysign.f32": "__builtin_copysignf({b}, {a})",
    "copysign.f64": "__builtin_copysign({b}, {a})",
    f"and.({BITS}|pred)": "{a} & {b}",
    f"or.({BITS}|pred)": "{a} | {b}",
    f"xor.({BITS}|pred)": "{a} ^ {b}",
    f"not.{BITS}": "~{a}",
    "not.pred": "!{a}",
    f"shl.{BITS}": "shift_left<{T}>({a}, {b:u32})",
    f"shr.({INTEGER}|{BITS})": "shift_right<{T}>({a}, {b:u32})",
    "bfi.b(32|64)": "insert_bits<{T}>({a}, {b}, {c:u32}, {d:u32})",
    "popc.b(32|64)": "u32 = __builtin_popcountll({a})",
    "clz.b32": "u32 = {a} ? __builtin_clz({a}) : 32",
    "clz.b64": "u32 = {a} ? __builtin_clzll({a}) : 64",
    f"selp.({INTEGER}|{FLOAT}|{BITS})": "{c:pred} ? {a} : {b}",
    f"mov.({INTEGER}|{FLOAT}|{BITS}|pred)": "{a}",
    "cvta(.to)?.(global|local).u64": "{a}",
    "cvta.shared.u64": "{a} + shared_window",
    "cvta.to.shared.u64": "{a} - shared_window",
    "cvt.[su](8|16|32|64).[su](8|16|32|64)": "{U} = {a}",
    f"cvt.rn.{FLOAT}.[su](8|16|32|64)": "{U} = static_cast<{U}>({a})",
    "cvt.(rn.f32.f64|f64.f32)": "{U} = static_cast<{U}>({a})",
    "cvt.f32.f16": "f32 = {a}",
    "cvt.rn.f16.f32": "f16 = f16({a})",
    "cvt.rn.f16.[su](16|32|64)": "f16 = f16(static_cast<f32>({a}))",  # 2^24 is infinite
    "cvt.rni.f32.f32": "__builtin_nearbyintf({a})",
    "cvt.rni.f64.f64": "__builtin_nearbyint({a})",
    f"cvt.rzi.[su](32|64).{FLOAT}": "{U} = to_integer<{U}>({a})",
    f"setp.(eq|ne|lt|le|gt|ge|lo|ls|hi|hs).({INTEGER}|{BITS})": "pred = {a} {compare} {b}",
    f"setp.(eq|lt|le|gt|ge).{FLOAT}": "pred = {a} {compare} {b}",
    f"setp.ne.{FLOAT}": "pred = {a} < {b} || {a} > {b}",
    f"setp.equ.{FLOAT}": "pred = !({a} < {b} || {a} > {b})",
    f"setp.(neu|ltu|leu|gtu|geu).{FLOAT}": "pred = !({a} {opposite} {b})",
    f"setp.num.{FLOAT}": "pred = {a} == {a} && {b} == {b}",
    f"setp.nan.{FLOAT}": "pred = {a} != {a} || {b} != {b}",
    "vote.sync.ballot.b32": "exchange(thread, {number}, BALLOT, {b:u32}, {a:pred}, 0, 0)",
}
COMPILED = [(re.compile(pattern.replace(".", r"\.")), rule) for pattern, rule in RULES.items()]
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
COMPARE |= {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}
OPPOSITE = {"neu": "==", "ltu": ">=", "leu": ">", "gtu": "<=", "geu": "<"}
SPECIAL = {
    "%tid.x": "thread.number",
    "%laneid": "(thread.number % 32)",
    "%ntid.x": "grid.threads",
    "%ctaid.x": "grid.block",
    "%nctaid.x": "grid.blocks",
    "%dynamic_smem_size": "grid.dynamic_bytes",
}
MEMORY = re.compile(
    r"(?P<root>ld|st|atom)(\.volatile|\.relaxed|\.gpu)*(?:\.(?P<space>global|shared|local|param))?"
    r"(?:\.(?P<combine>add|min|max))?(?:\.v(?P<count>[24]))?\.(?P<type>[subf](?:8|16|32|64))"
)
COMBINED = {
    "add": "before + value",
    "min": "value < before ? value : before",
    "max": "value > before ? value : before",
}
SHUFFLE = re.compile(r"shfl\.sync\.(idx|down|bfly)\.b32")
ADDRESS = re.compile(r"\[([^\]+]+)(?:\+(-?\d+))?\]")
LITERALS = (
    (re.compile(r"0[fF]([0-9A-Fa-f]{8})"), "0x{}u"),
    (re.compile(r"0[dD]([0-9A-Fa-f]{16})"), "0x{}ull"),
    (re.compile(r"(-?\d+)"), "s64({}ull)"),
)


class Operand(NamedTuple):
    """An operand in C++; formatted, its value as the instruction's type or as the one named."""

    code: str
    type: str

    def __format__(self, type: str) -> str:
        return f"get<{type or self.type}>({self.code})"


class Translation(NamedTuple):
    code: str
    instructions: list[Instruction]
    shared: list[tuple[int, int]]  # from, to
    dynamic: int  # where dynamic shared memory begins
    shared_item_bytes: int  # the least that an access to it reads or writes


def translate(module: Module) -> Translation:
    """The kernel as a C++ function `kernel`."""
    translator = Translator(module)
    lines = ['#include "kernel.hpp"', 'extern "C" void kernel(Thread& thread) {']
    lines += translator.declarations()
    lines += [translator.statement(statement) for statement in module.body]
    code = "\n".join([*lines, "}", ""])
    sizes = (found for one in translator.instructions if (found := MEMORY.fullmatch(one.opcode)))
    least = min((bytes_of(found["type"]) for found in sizes if may_be_shared(found)), default=8)
    shared = translator.shared, translator.dynamic
    return Translation(code, translator.instructions, *shared, least)


def may_be_shared(access: re.Match[str]) -> bool:
    return access["space"] in ("shared", None)


class Translator:
    def __init__(self, module: Module) -> None:
        self.module = module
        self.instructions: list[Instruction] = []
        self.registers: set[str] = set()
        self.symbols: dict[str, str] = {}
        self.parameters = parameter_places(module.parameters)
        self.shared: list[tuple[int, int]] = []
        self.dynamic = GAP
        for variable in module.shared:
            if variable.bytes:
                begin = self.dynamic
                self.shared.append((begin, begin + variable.bytes))
                self.symbols[variable.name] = f"{begin}ull"
                self.dynamic = aligned(begin + variable.bytes, GAP) + GAP
        for variable in module.shared:
            self.symbols.setdefault(variable.name, f"{self.dynamic}ull")

    def declarations(self) -> list[str]:
        """The local memory of a thread."""
        lines = []
        for number, variable in enumerate(self.module.local):
            if number:
                raise NotImplementedError("two variables of local memory")
            lines.append(f"alignas(16) u8 local[{variable.bytes}];")
            lines.append("thread.local = {u64(local), u64(local + sizeof local)};")
            self.symbols[variable.name] = "u64(local)"
        return lines

    def statement(self, statement: Registers | Scope | Label | Instruction) -> str:
        match statement:
            case Registers():
                self.registers.update(statement.names)
                return f"{statement.type} {', '.join(map(name_of, statement.names))};"
            case Scope():
                return statement.brace
            case Label():
                return f"{name_of(statement.name)}:;"
        guard = f"if ({name_of(statement.guard)}) " if statement.guard else ""
        code = self.instruction(statement, len(self.instructions))
        self.instructions.append(statement)
        return f"{guard}{{ {code} }}"

    def instruction(self, instruction: Instruction, number: int) -> str:
        opcode, operands = instruction.opcode, instruction.operands
        if opcode in ("bra", "bra.uni"):
            return f"goto {name_of(operands[0])};"
        if opcode == "ret":
            return "return;"
        if opcode == "bar.sync" and operands == ["0"]:
            return f"barrier(thread, {number});"
        if "{" in "".join(operands) and opcode.startswith("mov.b"):
            return self.packing(opcode, *operands)
        if memory := MEMORY.fullmatch(opcode):
            return self.memory(memory, instruction, number)
        if shuffle := SHUFFLE.fullmatch(opcode):
            return self.shuffle(shuffle[1], instruction, number)
        for pattern, rule in COMPILED:
            if pattern.fullmatch(opcode):
                return self.by_rule(rule, instruction, number)
        raise unknown(instruction)

    def by_rule(self, rule: str, instruction: Instruction, number: int) -> str:
        root, *modifiers = instruction.opcode.split(".")
        types = [one for one in modifiers if re.fullmatch(r"[subf]\d+|pred", one)]
        target, *sources = instruction.operands
        named = {
            letter: Operand(self.operand(source, instruction), types[-1])
            for letter, source in zip("abcd", sources, strict=False)
        }
        named |= {"T": types[-1], "U": types[0], "number": number, "root": root}
        named |= {"less": "<" if root == "min" else ">", "compare": COMPARE.get(modifiers[0])}
        named |= {"opposite": OPPOSITE.get(modifiers[0])}
        result, given, value = rule.rpartition(" = ")
        put = result.format_map(named) if given else types[-1]
        return f"put<{put}>({name_of(target)}, {value.format_map(named)});"

    def packing(self, opcode: str, target: str, source: str) -> str:
        """Two registers are the halves of one."""
        bits = int(opcode.removeprefix("mov.b"))
        whole, half = f"u{bits}", f"u{bits // 2}"
        if target.startswith("{"):
            low, high = names_in(target)
            code = f"{whole} bits = get<{whole}>({name_of(source)}); put<{half}>({low}, bits);"
            return f"{code} put<{half}>({high}, bits >> {bits // 2});"
        low, high = (f"{whole}(get<{half}>({name}))" for name in names_in(source))
        return f"put<{whole}>({name_of(target)}, {low} | {high} << {bits // 2});"

    def memory(self, found: re.Match[str], instruction: Instruction, number: int) -> str:
        root, element, operands = found["root"], found["type"], instruction.operands
        if (root == "atom") != bool(found["combine"]):
            raise unknown(instruction)
        place = ADDRESS.fullmatch(operands[0 if root == "st" else 1])
        if place is None:
            raise unknown(instruction)
        base, offset = place[1].strip(), int(place[2] or 0)
        if found["space"] == "param":
            at = self.parameters[base] + offset
            value = f"*reinterpret_cast<const {element}*>(grid.parameters + {at})"
            return f"put<{element}>({name_of(operands[0])}, {value});"
        kind = {"ld": "LOAD", "st": "STORE", "atom": "ATOMIC"}[root]
        space = (found["space"] or "generic").upper()
        size = bytes_of(element) * int(found["count"] or 1)
        address = f"get<u64>({self.operand(base, instruction)}) + {offset}"
        at = f"access(thread, {number}, {kind}, {space}, {address}, {size})"
        code = f"auto* at = static_cast<{element}*>({at});"
        if root == "ld":
            targets = enumerate(names_in(operands[0]))
            return code + "".join(f" put<{element}>({name}, at[{i}]);" for i, name in targets)
        if root == "st":
            sources = (self.operand(name, instruction) for name in parts_of(operands[1]))
            stores = (f" at[{i}] = get<{element}>({source});" for i, source in enumerate(sources))
            return code + "".join(stores)
        value = f"get<{element}>({self.operand(operands[2], instruction)})"
        code += f" {element} before = *at, value = {value}; *at = {COMBINED[found['combine']]};"
        return f"{code} put<{element}>({name_of(operands[0])}, before);"

    def shuffle(self, how: str, instruction: Instruction, number: int) -> str:
        operands = instruction.operands
        target, _, inside = operands[0].partition("|")
        value, lane, segment, mask = (
            f"get<u32>({self.operand(one, instruction)})" for one in operands[1:]
        )
        kind = f"SHUFFLE_{how.upper()}"
        found = f"exchange(thread, {number}, {kind}, {mask}, {value}, {lane}, {segment})"
        code = f"put<u32>({name_of(target)}, {found});"
        return f"{code} {name_of(inside)} = thread.is_inside;" if inside else code

    def operand(self, text: str, instruction: Instruction) -> str:
        """An operand that is read."""
        if text in SPECIAL or text in self.symbols:
            return SPECIAL.get(text) or self.symbols[text]
        if text in self.registers:
            return name_of(text)
        for pattern, literal in LITERALS:
            if found := pattern.fullmatch(text):
                return literal.format(found[1])
        raise unknown(instruction)


def unknown(instruction: Instruction) -> NotImplementedError:
    text = " ".join(instruction.text.split())
    return NotImplementedError(f"an instruction of PTX that is not known: {text!r}")


def name_of(register: str) -> str:
    """A register, label or predicate in C++."""
    return register.strip().replace("%", "r_").replace("$", "l_")


def parts_of(operand: str) -> list[str]:
    return [part.strip() for part in operand.strip("{}").split(",")]


def names_in(operand: str) -> list[str]:
    return [name_of(part) for part in parts_of(operand)]


def aligned(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment


def parameter_places(parameters: list[Variable]) -> dict[str, int]:
    """Where each begins, in bytes."""
    places, at = {}, 0
    for parameter in parameters:
        places[parameter.name] = at = aligned(at, parameter.alignment)
        at += parameter.bytes
    return places
