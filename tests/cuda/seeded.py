"""Faults to be put into the CUDA kernels, one at a time: run_ptx.py has to find each."""

import ast
from typing import Any, NamedTuple


class Edit(NamedTuple):
    """What is changed in a function's syntax tree.

    `old` is an expression or a statement, in which ... stands for any expression, or as the only
    argument for any arguments; `new` is put in its place, where `it` stands for what was there.
    """

    file: str  # of ragmask/kernels/cuda
    function: str
    old: str
    new: str
    number: int = 1  # where `old` is there several times


class Fault(NamedTuple):
    name: str
    edit: Edit
    test: str  # of tests/cuda, that has to fail
    says: str  # a pattern of what it has to say


LONG_ROWS = "test_reductions.py::test_a_block_takes_the_long_rows[40]"
LONG_MOVES = "test_moves.py::test_long_rows_end_to_end_are_the_reference[uint8]"
SUMS = "test_reductions.py::test_a_sum_of_minus_zero_is_minus_zero"
SUM_IN_PARTS = "test_recurrent_gradient.py::test_a_sum_in_parts[70]"

SEVERAL_TILES = "test_attention.py::test_rows_of_several_tiles[window0]"
UNSEEN = "test_attention.py::test_infinities_and_nans[float32]"

FAULTS = [
    Fault(
        "no barrier between what warps found and its reading",
        Edit("teams.py", "reduce", "cuda.syncthreads()", "pass"),
        LONG_ROWS,
        "shared race|uninitialised shared load",
    ),
    Fault(
        "pooling reads the next step",
        Edit("pool.py", "kept_value", "start + step", "it + 1"),
        SUMS,
        "global load out of bounds",
    ),
    Fault(
        "no barrier before memory is written again",
        Edit("teams.py", "reduce", "cuda.syncthreads()", "pass", number=2),
        LONG_ROWS,
        "shared race",
    ),
    Fault(
        "softmax keeps numbers where others' are",
        Edit("softmax.py", "softmax_tiles", "top, step, slot = ...", "it\nslot = thread >> 1"),
        LONG_ROWS,
        "shared race",
    ),
    Fault(
        "warps leave what they found past the end of memory",
        Edit("softmax.py", "softmax_tiles", "memory[_STAGED:]", "memory[_STAGED + 1:]"),
        LONG_ROWS,
        "shared store out of bounds",
    ),
    Fault(
        "a warp that stays away from a barrier",
        Edit("pool.py", "pool_tiles", "total = team_sum(...)", "if warp != 3: it"),
        LONG_ROWS,
        "divergent barrier",
    ),
    Fault(
        "lanes that stay away from a shuffle",
        Edit("teams.py", "reduce", "left > 1", "it and lane < 31"),
        "test_reductions.py::test_a_block_takes_the_long_rows[3]",
        "divergent shuffle|has ended",
    ),
    Fault(
        "a shuffle whose mask leaves lanes out",
        Edit("teams.py", "reduce", "ALL", "0xFFFF", number=2),
        LONG_ROWS,
        "a mask without the lane",
    ),
    Fault(
        "results are put where the input is",
        Edit("pool.py", "pool_tiles", "out[...] = ...", "x[u8(row), u8(feature)] = total"),
        SUMS,
        "to an array that is only to be read",
    ),
    Fault(
        "all blocks of a row do the same",
        Edit("pool.py", "pool_tiles", "part * across", "0"),
        "test_reductions.py::test_how_many_blocks_share_rows_changes_no_bit[4]",
        "global race",
    ),
    Fault(
        "16 bytes at once where addresses are not multiples of it",
        Edit("move.py", "copy", "... & 15 == 0", "True"),
        LONG_MOVES,
        "misaligned",
    ),
    Fault(
        "16 bytes too many are copied",
        Edit("move.py", "copy", "chunk < wide", "chunk <= wide"),
        LONG_MOVES,
        "misaligned|out of bounds|global race",
    ),
    Fault(
        "the lanes of other steps vote on a step",
        Edit("masking.py", "masking_row", "first_lane", "u8(0)"),
        "test_moves.py::test_masked_values_are_the_reference",
        "AssertionError",
    ),
    Fault(
        "steps are exchanged while others compare them",
        Edit("sort.py", "sort_row", "cuda.syncthreads()", "pass", number=2),
        "test_order.py::test_rows_of_more_steps_than_threads[300]",
        "global race",
    ),
    Fault(
        "a row that is turned around is read one step too far",
        Edit("turn.py", "turn_row", "length - 1 - source", "length - source"),
        "test_order.py::test_long_rows_turned_are_the_reference[True-float64]",
        "AssertionError|out of bounds",
    ),
    Fault(
        "a convolution goes on into the next row",
        Edit("conv.py", "conv_tiles", "0 <= other < length", "it or True"),
        "test_conv.py::test_a_block_takes_the_long_rows[False-1]",
        "AssertionError|global load out of bounds",
    ),
    Fault(
        "the output before gets sums that are not there yet",
        Edit("recurrent/gradient.py", "recurrent_gradient", "cuda.syncthreads()", "pass"),
        SUM_IN_PARTS,
        "shared race|uninitialised shared load",
    ),
    Fault(
        "the parts of a sum are read before they are there",
        Edit("recurrent/gradient.py", "recurrent_gradient", "cuda.syncthreads()", "pass", number=2),
        SUM_IN_PARTS,
        "shared race|uninitialised shared load",
    ),
    Fault(
        "numbers are multiplied before all threads have put them there",
        Edit("attention.py", "products", "cuda.syncthreads()", "pass", number=2),
        SEVERAL_TILES,
        "shared race|uninitialised shared load",
    ),
    Fault(
        "numbers are put where others still multiply those before",
        Edit("attention.py", "products", "cuda.syncthreads()", "pass"),
        SEVERAL_TILES,
        "shared race",
    ),
    Fault(
        "weights are added up before they are there",
        Edit("attention.py", "add_up", "cuda.syncthreads()", "pass"),
        SEVERAL_TILES,
        "shared race|uninitialised shared load",
    ),
    Fault(
        "a step past the end of a tile is read",
        Edit("attention.py", "put_columns", "step < count", "step <= count"),
        "test_attention.py::test_where_a_row_lies_changes_no_bit",
        "global load out of bounds",
    ),
    Fault(
        "what a query does not see is multiplied by 0",
        Edit("attention.py", "add_up", "is_seen(...)", "True"),
        UNSEEN,
        "AssertionError",
    ),
]
IN_THE_SAMPLE = [fault.name for fault in FAULTS[:2]]


def seed(source: str, edit: Edit) -> str:
    """The source of `edit.file`, with the fault in it."""
    tree = ast.parse(source)
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == edit.function
    ]
    assert len(functions) == 1, f"{len(functions)} functions {edit.function} in {edit.file}"
    replacing = Replacing(edit)
    replacing.visit(functions[0])
    assert replacing.left <= 0, f"{edit.function} of {edit.file} has no such thing as {edit.old}"
    return ast.unparse(ast.fix_missing_locations(tree))


class Replacing(ast.NodeTransformer):
    def __init__(self, edit: Edit) -> None:
        (old,), self.new, self.left = (
            ast.parse(edit.old).body,
            ast.parse(edit.new).body,
            edit.number,
        )
        (*_, last) = self.new
        if len(self.new) == 1 and isinstance(last, ast.Expr):  # an expression takes its place
            assert isinstance(old, ast.Expr)
            self.old, self.new = old.value, last.value
        else:
            self.old = old

    def visit(self, node: ast.AST) -> Any:
        if matches(node, self.old):
            self.left -= 1
            if self.left == 0:
                return with_it(self.new, node)
        return self.generic_visit(node)


def matches(node: Any, pattern: Any) -> bool:
    if is_anything(pattern):
        return isinstance(node, ast.expr)
    if isinstance(pattern, list):
        if len(pattern) == 1 and is_anything(pattern[0]):
            return True
        return len(node) == len(pattern) and all(map(matches, node, pattern))
    if isinstance(pattern, ast.AST):
        return type(node) is type(pattern) and all(
            matches(getattr(node, name), wanted) for name, wanted in ast.iter_fields(pattern)
        )
    return bool(node == pattern)


def is_anything(pattern: Any) -> bool:
    return isinstance(pattern, ast.Constant) and pattern.value is ...


def with_it(new: Any, found: ast.AST) -> Any:
    """What is put in the place of `found`."""

    class Putting(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.AST:
            is_it = isinstance(node.value, ast.Name) and node.value.id == "it"
            return found if is_it else self.generic_visit(node)

        def visit_Name(self, node: ast.Name) -> ast.AST:
            return found if node.id == "it" else node

    return [Putting().visit(one) for one in new] if isinstance(new, list) else Putting().visit(new)
