import ast
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.data.sources.constants import NotConstantError, Scope, bind, evaluate

finite = st.floats(allow_nan=False, allow_infinity=False)


def value_of(text: str, **names: Any) -> Any:
    return evaluate(ast.parse(text, mode="eval").body, Scope(names))


@pytest.mark.parametrize(
    "text",
    [
        "3 * 19 + 2 ** 5 - 7 // 2 % 3",
        "-1.5 / 2",
        "~5 & 6 | 1 ^ 3 << 2 >> 1",
        "'ab' + 'c' * 3",
        "[1, (2, 3), {4}, {'a': [5]}, None, True, b'x', 1j]",
        "not 1 or 2 and 3",
        "1 < 2 <= 2 != 3 in [3]",
        "'yes' if 1 not in [] else 'no'",
        "[1, 2, 3][1:] + [[4, 5][0]]",
        "list(range(-99, 100, 2))",
        "sum([i ** 2 for i in range(10) if i % 2 and i > 3])",
        "{x: y for x, y in zip('ab', [1, 2])}",
        "{c for c in 'hello'}",
        "[a * b for a in range(3) for b in range(a)]",
        "sorted({3, 1, 2}) + list(reversed([1, 2]))",
        "max(1, 5, 3) + min([4, 2]) + len('abc') + abs(-1) + round(2.6)",
        "tuple(enumerate('ab', 1))",
        "str(int('12')) + str(float('1.5'))",
        "frozenset([1]) == frozenset((1,))",
        "float('inf')",
    ],
)
def test_it_says_what_python_says(text: str) -> None:
    expected = eval(text)
    assert value_of(text) == expected
    assert type(value_of(text)) is type(expected)


def test_names_have_values() -> None:
    assert value_of("x + [y for y in x]", x=[1]) == [1, 1]
    scope = Scope({})
    bind(ast.parse("(a, [b, c])", mode="eval").body, (1, (2, 3)), scope)
    assert scope.names == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("unknown", "unknown is not a constant"),
        ("__import__('os').system('true')", "is not a constant"),
        ("().__class__", "is not a constant"),
        ("open('/etc/passwd')", "the call of open is not a constant"),
        ("(lambda: 1)()", "is not a constant"),
        ("sorted([1], key=len)", "the call of sorted is not a constant"),
        ("f'{1}'", "is not a constant"),
        ("'%1000000000d' % 1", "formatting"),
        ("[*range(3)]", "is not a constant"),
        ("{**{}}", "** is not a constant"),
        ("1 is 1", "is not a constant"),
        ("[1] @ [2]", "is not a constant"),
        ("1 / 0", "division by zero"),
        ("[][0]", "list index out of range"),
        ("{}['a']", "'a'"),
        ("int('x')", "invalid literal"),
        ("'a' + 1", "can only concatenate"),
        ("(x := 1)", "is not a constant"),
        ("list({'a', 'b'})", "a loop over a set"),
        ("str({'a', 'b'})", "is not a constant"),
        ("[x for x in {'a', 'b'}]", "a loop over a set"),
        ("[a for a, b in [(1, 2, 3)]]", "3 values for"),
    ],
)
def test_everything_else_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NotConstantError) as refusal:
        value_of(text)
    assert reason in str(refusal.value)


def test_shadowed_built_ins_are_not_called() -> None:
    with pytest.raises(NotConstantError, match="the call of len"):
        value_of("len([1])", len=5)


@pytest.mark.parametrize(
    "bomb",
    [
        "10 ** 10 ** 10",
        "2 ** 100000",
        "1 << 10 ** 9",
        "'a' * 10 ** 9",
        "10 ** 9 * [0]",
        "list(range(10 ** 9))",
        "[0 for a in range(1000) for b in range(1000) for c in range(1000)]",
        "sum([a * b for a in range(10 ** 5) for b in range(10 ** 5)])",
        "(" * 90 + "1" + " * 9 ** 99)" * 90,
    ],
)
def test_bombs_do_not_go_off(bomb: str) -> None:
    began = time.process_time()
    with pytest.raises(NotConstantError):
        value_of(bomb)
    assert time.process_time() - began < 2


@given(
    st.recursive(
        st.integers() | st.text() | finite | st.binary(), lambda inner: st.lists(inner) | st.tuples(inner, inner)
    )
)
def test_literals_are_themselves(value: Any) -> None:
    assert value_of(repr(value)) == value
