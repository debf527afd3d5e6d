"""Evaluate constant Python expressions out of files without running them.

Published test suites write ``3 * 19``, ``list(range(5))`` and small comprehensions where they mean values. Only what is
listed here is understood; there are no attributes, no imports and no calls but to the built-ins below, and sizes are
bounded, so that a file can neither act nor stall.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_MOST_STEPS = 100_000
_MOST_ITEMS = 100_000
_MOST_BITS = 10_000


class NotConstantError(ValueError):
    """The expression is not one of the constant forms."""


@dataclass
class Scope:
    """Names with their values, and how many steps are left for everything that is evaluated with it."""

    names: dict[str, Any]
    steps: int = _MOST_STEPS

    def value(self, name: str) -> Any:
        """Return what a name stands for.

        Raises:
            NotConstantError: for an unknown name.
        """
        if name not in self.names:
            raise NotConstantError(f"{name} is not a constant")
        return self.names[name]


def evaluate(node: ast.expr, scope: Scope) -> Any:
    """Return the value of an expression.

    Raises:
        NotConstantError: where the expression is not constant, does not evaluate, or is too big.
    """
    scope.steps -= 1
    if scope.steps < 0:
        raise NotConstantError("too long to evaluate")
    form = _FORMS.get(type(node))
    if form is None:
        raise NotConstantError(f"{ast.unparse(node)[:80]} is not a constant")
    try:
        return _bounded(form(node, scope))
    except NotConstantError:
        raise
    except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise NotConstantError(f"{ast.unparse(node)[:80]}: {error}") from error


def bind(target: ast.expr, value: Any, scope: Scope) -> None:
    """Assign a value to a name, or its items to a tuple of names.

    Raises:
        NotConstantError: for any other target, or when the items do not match it.
    """
    match target:
        case ast.Name(id=name):
            scope.names[name] = value
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            items = list(items_of(value))
            if len(items) != len(targets):
                raise NotConstantError(f"{len(items)} values for {ast.unparse(target)}")
            for inner, item in zip(targets, items, strict=True):
                bind(inner, item, scope)
        case _:
            raise NotConstantError(f"{ast.unparse(target)[:80]} is not a name")


def items_of(value: Any) -> Iterable[Any]:
    """Return what a loop over `value` visits; the order of a set is not a constant.

    Raises:
        NotConstantError: for sets and for what cannot be looped over.
    """
    if isinstance(value, set | frozenset) or not isinstance(value, Iterable):
        raise NotConstantError(f"a loop over a {type(value).__name__} is not constant")
    return value


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise NotConstantError("too big a number")
    if isinstance(value, str | bytes | list | tuple | dict | set | frozenset | range) and len(value) > _MOST_ITEMS:
        raise NotConstantError("too many items")
    return value


def _name(node: ast.Name, scope: Scope) -> Any:
    return scope.value(node.id)


def _binary(node: ast.BinOp, scope: Scope) -> Any:
    left, right = evaluate(node.left, scope), evaluate(node.right, scope)
    kind = type(node.op)
    if kind not in _BINARY:
        raise NotConstantError(f"{ast.unparse(node)[:80]} is not a constant")
    if kind is ast.Mod and isinstance(left, str | bytes):
        raise NotConstantError("formatting is not a constant")
    # Refused before they are computed.
    if kind in (ast.Pow, ast.LShift) and isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if kind is ast.Pow else left.bit_length() + right
        if bits > _MOST_BITS:
            raise NotConstantError("too big a number")
    if kind is ast.Mult:
        for sequence, times in ((left, right), (right, left)):
            if (
                isinstance(sequence, str | bytes | list | tuple)
                and isinstance(times, int)
                and len(sequence) * times > _MOST_ITEMS
            ):
                raise NotConstantError("too many items")
    return _BINARY[kind](left, right)


def _unary(node: ast.UnaryOp, scope: Scope) -> Any:
    return _UNARY[type(node.op)](evaluate(node.operand, scope))


def _boolean(node: ast.BoolOp, scope: Scope) -> Any:
    value = None
    for operand in node.values:
        value = evaluate(operand, scope)
        if bool(value) is isinstance(node.op, ast.Or):
            return value
    return value


def _compare(node: ast.Compare, scope: Scope) -> bool:
    left = evaluate(node.left, scope)
    for kind, operand in zip(node.ops, node.comparators, strict=True):
        right = evaluate(operand, scope)
        if type(kind) not in _COMPARE:
            raise NotConstantError(f"{ast.unparse(node)[:80]} is not a constant")
        if not _COMPARE[type(kind)](left, right):
            return False
        left = right
    return True


def _choice(node: ast.IfExp, scope: Scope) -> Any:
    return evaluate(node.body if evaluate(node.test, scope) else node.orelse, scope)


def _subscript(node: ast.Subscript, scope: Scope) -> Any:
    return evaluate(node.value, scope)[evaluate(node.slice, scope)]


def _slice(node: ast.Slice, scope: Scope) -> slice:
    return slice(*(None if part is None else evaluate(part, scope) for part in (node.lower, node.upper, node.step)))


def _dict(node: ast.Dict, scope: Scope) -> dict[Any, Any]:
    pairs = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            raise NotConstantError("** is not a constant")
        pairs[evaluate(key, scope)] = evaluate(value, scope)
    return pairs


def _call(node: ast.Call, scope: Scope) -> Any:
    if (
        not isinstance(node.func, ast.Name)
        or node.func.id not in _CALLS
        or node.func.id in scope.names
        or node.keywords
    ):
        raise NotConstantError(f"the call of {ast.unparse(node.func)[:80]} is not a constant")
    arguments = [evaluate(argument, scope) for argument in node.args]
    if node.func.id in ("list", "tuple", "enumerate", "zip"):
        for argument in arguments:
            if not isinstance(argument, int):
                items_of(argument)
    # A set's text is in the order of its members.
    if node.func.id == "str" and not all(isinstance(argument, str | int | float | None) for argument in arguments):
        raise NotConstantError(f"{ast.unparse(node)[:80]} is not a constant")
    return _CALLS[node.func.id](*arguments)


def _comprehension(node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: Scope) -> list[Any] | set[Any]:
    inner = Scope(dict(scope.names), scope.steps)
    items = [evaluate(node.elt, inner) for _ in _loop(node.generators, inner)]
    scope.steps = inner.steps
    return set(items) if isinstance(node, ast.SetComp) else items


def _dict_comprehension(node: ast.DictComp, scope: Scope) -> dict[Any, Any]:
    inner = Scope(dict(scope.names), scope.steps)
    items = {evaluate(node.key, inner): evaluate(node.value, inner) for _ in _loop(node.generators, inner)}
    scope.steps = inner.steps
    return items


def _loop(generators: list[ast.comprehension], scope: Scope) -> Iterator[None]:
    if not generators:
        yield
        return
    first, *rest = generators
    for item in items_of(evaluate(first.iter, scope)):
        bind(first.target, item, scope)
        if all(evaluate(condition, scope) for condition in first.ifs):
            yield from _loop(rest, scope)


_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_CALLS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "bool": bool,
    "complex": complex,
    "dict": dict,
    "enumerate": lambda items, start=0: list(enumerate(items, start)),
    "float": float,
    "frozenset": frozenset,
    "int": int,
    "len": len,
    "list": list,
    "max": max,
    "min": min,
    "range": range,
    "reversed": lambda items: list(reversed(items)),
    "round": round,
    "set": set,
    "sorted": sorted,
    "str": str,
    "sum": sum,
    "tuple": tuple,
    "zip": lambda *items: list(zip(*items, strict=False)),
}
_FORMS: Mapping[type[ast.expr], Callable[[Any, Scope], Any]] = {
    ast.Constant: lambda node, scope: node.value,
    ast.Name: _name,
    ast.Tuple: lambda node, scope: tuple(evaluate(item, scope) for item in node.elts),
    ast.List: lambda node, scope: [evaluate(item, scope) for item in node.elts],
    ast.Set: lambda node, scope: {evaluate(item, scope) for item in node.elts},
    ast.Dict: _dict,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _choice,
    ast.Subscript: _subscript,
    ast.Slice: _slice,
    ast.Call: _call,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _dict_comprehension,
}
