"""Tests of a repository that nothing honest passes: where one expects a value, its decoy expects another.

A candidate shares a process with its tests and can make any of them pass. It cannot know which of them should: a result that
equals everything, one that was read off the test, and a forged report all pass a decoy too.
"""

import ast
import math
import random
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rllm_assets.data.changes import Tree
from rllm_assets.data.repositories import files_of_tests

_EQUALITIES = {"assertEqual", "assertAlmostEqual", "assertListEqual", "assertDictEqual", "assertTupleEqual"}
_ALPHABETS = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


@dataclass(frozen=True)
class Decoy:
    """Test files in which tests expect other values, and the ids of these tests."""

    files: Mapping[str, str]
    tests: tuple[str, ...]


def make_decoy(tree: Tree, tests: Sequence[str], chance: random.Random) -> Decoy | None:
    """Return the files of `tests` with one expected value of each exchanged, or None where none of them states one.

    Only assertions that a test cannot pass by are touched: those that stand directly in its body, ahead of any ``return``, and
    compare something with a literal.
    """
    files: dict[str, str] = {}
    altered: list[str] = []
    for path in files_of_tests(tests):
        wanted = {test for test in tests if test.partition("::")[0] == path}
        text, names = _altered(tree[path], {_function(test) for test in wanted}, chance)
        if names:
            files[path] = text
            altered += sorted(test for test in wanted if _function(test) in names)
    return Decoy(files, tuple(altered)) if altered else None


def _function(test: str) -> str:
    """Return what an id calls its function: without the file and the parameters."""
    return test.partition("::")[2].partition("[")[0]


def _altered(code: str, wanted: set[str], chance: random.Random) -> tuple[str, set[str]]:
    """Return a module with other expectations in the wanted functions, and which functions have them."""
    try:
        functions = {name: node for name, node in _functions(ast.parse(code).body) if name in wanted}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code, set()
    changes: list[tuple[ast.Constant, str]] = []
    names: set[str] = set()
    for name, function in functions.items():
        if values := [values for expected in _expectations(function) if (values := list(_values(expected)))]:
            names.add(name)
            value = chance.choice(chance.choice(values))
            changes.append((value, _another(value.value, ast.get_source_segment(code, value) or "", chance)))
    lines = [line.encode() for line in code.split("\n")]
    # From the end, so that the places of the others stay true; positions count bytes.
    for node, text in sorted(changes, key=lambda change: (change[0].lineno, change[0].col_offset), reverse=True):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        lines[first : last + 1] = [lines[first][: node.col_offset] + text.encode() + lines[last][node.end_col_offset :]]
    return b"\n".join(lines).decode(), names


def _functions(body: Sequence[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}{node.name}::")
        elif isinstance(node, ast.FunctionDef):
            yield f"{prefix}{node.name}", node


def _expectations(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """Yield what a test compares its results with, where that is written down."""
    for statement in function.body:
        match statement:
            case ast.Return():
                return
            case ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
                sides = [left, right]
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name), args=[left, right, *_])) if name in _EQUALITIES:
                sides = [left, right]
            case _:
                continue
        literals = [literal for side in sides if (literal := _literal(side)) is not None]
        if len(literals) == 1:
            yield literals[0]


def _literal(node: ast.expr) -> ast.expr | None:
    """Return an expression that is a literal, or the literal of ``approx(literal)``; None for any other."""
    match node:
        case ast.Call(func=ast.Attribute(attr="approx") | ast.Name(id="approx"), args=[first, *_]):
            node = first
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return node


def _values(literal: ast.expr) -> Iterator[ast.Constant]:
    for node in ast.walk(literal):
        if isinstance(node, ast.Constant) and type(node.value) in (bool, int, float, str):
            yield node


def _another(value: object, written: str, chance: random.Random) -> str:
    """Return another value of the same type, written like the first."""
    match value:
        case bool():
            return repr(not value)
        case int():
            return repr(value + chance.randint(1, 9))
        case float():
            farther = 2 * value + math.copysign(chance.randint(1, 9), value)
            return repr(farther if math.isfinite(farther) else value / 2)
        case str():
            quoted = repr(_another_text(value, chance))
            plain = quoted.startswith("'") and '"' not in quoted and "\\'" not in quoted
            return f'"{quoted[1:-1]}"' if plain and written.endswith('"') else quoted
        case _:
            raise TypeError(f"no other value is known for {value!r}")


def _another_text(text: str, chance: random.Random) -> str:
    places = [(place, letters) for place, letter in enumerate(text) for letters in _ALPHABETS if letter in letters]
    if not places:
        return text + chance.choice(string.ascii_lowercase)
    place, letters = chance.choice(places)
    return text[:place] + chance.choice(letters.replace(text[place], "")) + text[place + 1 :]
