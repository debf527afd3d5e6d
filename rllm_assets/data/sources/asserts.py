"""Turn a published `assert` suite into calls and expected values.

What a suite says about single calls is moved to the outside, where no candidate can touch it. A suite is converted as a
whole or not at all, and only where a case says the same as its assertion; equality becomes equality of exact types.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rllm_assets.data.issues import Case
from rllm_assets.data.sources.constants import NotConstantError, Scope, bind, evaluate, items_of
from rllm_assets.data.values import NotEncodableError, encode

_MOST_CASES = 1000


class NotConvertibleError(ValueError):
    """The suite says something that calls and expected values cannot say."""


class SuiteError(ValueError):
    """A row's code cannot be used; the message says why, `field` where."""

    def __init__(self, field: str, reason: str) -> None:
        """Take the name of the row's field, and what is wrong with it."""
        super().__init__(reason)
        self.field = field


@dataclass
class _Suite:
    """A suite while it is read."""

    entry_point: str
    scope: Scope = field(default_factory=lambda: Scope({}))
    checks: dict[str, ast.FunctionDef] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)
    # Set when a variable was handed to the candidate, which may have changed what it holds.
    lent: bool = False


def judged_by(test_code: str, entry_point: str, name: str) -> dict[str, Any]:
    """Return the fields of a task that a suite stands for: cases where they say the same, the suite as it is otherwise.

    Raises:
        SuiteError: where it is not Python, for the field `name`.
    """
    try:
        return {"cases": cases_from_asserts(test_code, entry_point)}
    except NotConvertibleError:
        return {"test_code": test_code.strip() + "\n"}
    except (SyntaxError, ValueError, MemoryError) as error:
        raise SuiteError(name, f"does not parse: {error}") from None


def check_defines(code: str, function: str, name: str) -> None:
    """Check that code defines a function.

    Raises:
        SuiteError: where it does not, or is not Python, for the field `name`.
    """
    try:
        defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SuiteError(name, f"does not parse: {error}") from None
    if function not in defined:
        raise SuiteError(name, f"it defines no function {function}")


def cases_from_asserts(test_code: str, entry_point: str) -> tuple[Case, ...]:
    """Return the cases that a suite of assertions stands for.

    Understood are ``def check(candidate)`` with its call, or assertions on the entry point itself: ``candidate(ARGS) ==
    VALUE`` from either side, ``is``, bare truth, ``not``, ``abs(candidate(ARGS) - VALUE) < TOLERANCE``, joined by ``and``;
    constants, assignments of constants, and loops over them.

    Raises:
        SyntaxError: where the suite is not Python.
        NotConvertibleError: naming what cannot be converted.
    """
    suite = _Suite(entry_point)
    try:
        _read(ast.parse(test_code).body, entry_point, suite)
    except (NotConstantError, NotEncodableError) as error:
        raise NotConvertibleError(str(error)) from error
    except RecursionError as error:
        raise NotConvertibleError("nested too deeply") from error
    if not suite.cases:
        raise NotConvertibleError("no assertion calls the function")
    return tuple(suite.cases)


def _read(statements: list[ast.stmt], candidate: str, suite: _Suite) -> None:
    for statement in statements:
        match statement:
            case ast.Assert(test=test):
                _assertion(test, candidate, suite)
            case ast.FunctionDef(name=name, args=ast.arguments(args=[_])):
                suite.checks[name] = statement
            case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=[ast.Name(id=argument)], keywords=[])) if (
                name in suite.checks and argument == candidate
            ):
                check = suite.checks[name]
                _read(check.body, check.args.args[0].arg, suite)
            case ast.Assign(targets=[target], value=value):
                _assign(target, _constant(value, candidate, suite), candidate, suite)
            case ast.For(target=target, iter=iterable, body=body, orelse=[]):
                for item in items_of(_constant(iterable, candidate, suite)):
                    _assign(target, item, candidate, suite)
                    _read(body, candidate, suite)
            case ast.Expr(value=ast.Constant() | ast.Name()) | ast.Pass() | ast.Import() | ast.ImportFrom():
                # An imported name is no constant: whatever uses it is refused there.
                pass
            case _:
                raise NotConvertibleError(f"{ast.unparse(statement)[:80]!r} is no assertion about a call")


def _assign(target: ast.expr, value: Any, candidate: str, suite: _Suite) -> None:
    bind(target, value, suite.scope)
    if candidate in suite.scope.names:
        raise NotConvertibleError(f"{candidate} is assigned to")


def _assertion(test: ast.expr, candidate: str, suite: _Suite) -> None:
    match test:
        case ast.BoolOp(op=ast.And(), values=parts):
            for part in parts:
                _assertion(part, candidate, suite)
        case ast.Call() if _is_call(test, candidate):
            _case(test, True, None, candidate, suite)
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call) if _is_call(call, candidate):
            _case(call, False, None, candidate, suite)
        case ast.Compare(left=left, ops=[ast.Eq() | ast.Is()], comparators=[right]):
            call, constant = _sides(left, right, candidate)
            arguments = _arguments(call, candidate, suite)
            _add(arguments, _constant(constant, candidate, suite), 0.0, suite)
        case ast.Compare(
            left=ast.Call(func=ast.Name(id="abs"), args=[ast.BinOp(left=left, op=ast.Sub(), right=right)]),
            ops=[ast.Lt() | ast.LtE()],
            comparators=[limit],
        ):
            call, constant = _sides(left, right, candidate)
            arguments = _arguments(call, candidate, suite)
            expected = float(_constant(constant, candidate, suite))
            # A case's tolerance is relative above 1.
            tolerance = float(_constant(limit, candidate, suite)) / max(1.0, abs(expected))
            _add(arguments, expected, tolerance, suite)
        case _:
            if not _constant(test, candidate, suite):
                raise NotConvertibleError(f"{ast.unparse(test)[:80]!r} never holds")


def _case(call: ast.Call, expected: Any, tolerance: float | None, candidate: str, suite: _Suite) -> None:
    _add(_arguments(call, candidate, suite), expected, tolerance or 0.0, suite)


def _add(arguments: list[Any], expected: Any, tolerance: float, suite: _Suite) -> None:
    if len(suite.cases) >= _MOST_CASES:
        raise NotConvertibleError(f"more than {_MOST_CASES} assertions")
    suite.cases.append(Case(args=[encode(value) for value in arguments], returns=encode(expected), tolerance=tolerance))


def _sides(left: ast.expr, right: ast.expr, candidate: str) -> tuple[ast.Call, ast.expr]:
    """Return the call of the candidate and what it is compared with."""
    for call, other in ((left, right), (right, left)):
        if isinstance(call, ast.Call) and _is_call(call, candidate):
            return call, other
    raise NotConvertibleError(f"{ast.unparse(left)[:80]!r} is not a call of {candidate}")


def _is_call(node: ast.Call, candidate: str) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == candidate


def _arguments(call: ast.Call, candidate: str, suite: _Suite) -> list[Any]:
    if call.keywords:
        raise NotConvertibleError(f"{ast.unparse(call)[:80]!r} has keyword arguments")
    values = [_constant(argument, candidate, suite) for argument in call.args]
    suite.lent = suite.lent or any(_is_mutable(suite.scope.names[name.id]) for name in _names(call.args, suite))
    return values


def _constant(node: ast.expr, candidate: str, suite: _Suite) -> Any:
    for name in _names([node], suite):
        if suite.lent and _is_mutable(suite.scope.names[name.id]):
            raise NotConvertibleError(f"{name.id} is used again after {candidate} may have changed it")
    return evaluate(node, suite.scope)


def _names(nodes: list[ast.expr], suite: _Suite) -> Iterator[ast.Name]:
    for node in nodes:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and inner.id in suite.scope.names:
                yield inner


def _is_mutable(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_is_mutable(item) for item in value)
    return not isinstance(value, int | float | complex | str | bytes | frozenset | range | None)
