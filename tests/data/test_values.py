"""Values keep their exact types across JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.data.values import MAX_DEPTH, NotEncodableError, decode, encode, same

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
hashable = st.recursive(scalars, lambda c: st.tuples(c, c) | st.frozensets(c, max_size=3), max_leaves=6)
values = st.recursive(
    scalars,
    lambda c: (
        st.lists(c, max_size=4)
        | st.tuples(c, c)
        | st.dictionaries(st.text(max_size=5), c, max_size=3)
        | st.dictionaries(hashable, c, max_size=3)
        | st.sets(hashable, max_size=3)
    ),
    max_leaves=12,
)


def exactly(value):
    """A text that names a value and all types in it; the order of sets does not matter."""
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(exactly, value))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{exactly(k)}: {exactly(v)}' for k, v in value.items())})"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({', '.join(sorted(map(exactly, value)))})"
    return f"{type(value).__name__} {value!r}"


@given(values)
def test_decoding_gives_the_very_value_back(value):
    assert exactly(decode(json.loads(json.dumps(encode(value), allow_nan=False)))) == exactly(value)


@given(values)
def test_a_value_is_the_same_as_itself(value):
    assert same(encode(value), encode(value))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (True, 1),
        (1, 1.0),
        (0.0, -0.0),
        ([1, 2], (1, 2)),
        ({1}, frozenset({1})),
        ("1", 1),
        (b"a", "a"),
        (None, False),
        ([1], [1, 1]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"b": 1}),
        ({1: "a"}, {True: "a"}),
        (float("nan"), 0.0),
        (float("inf"), float("-inf")),
        (1.0, 1.0 + 1e-6),
    ],
)
def test_different_values_are_not_the_same(a, b):
    assert not same(encode(a), encode(b))
    assert not same(encode(b), encode(a))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (0.1 + 0.2, 0.3),
        (1e20, 1e20 * (1 + 1e-12)),
        (float("nan"), float("nan")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2, 3}, {3, 2, 1}),
        ({0.1 + 0.2, 5}, {5, 0.3}),
        ({(1, 2): "x", 3: "y"}, {3: "y", (1, 2): "x"}),
    ],
)
def test_equal_values_are_the_same(a, b):
    assert same(encode(a), encode(b))


class Sly(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize("value", [object(), (x for x in "a"), Sly(3), [Sly(3)], {Sly(1): 2}, len, range(3)])
def test_objects_have_no_form(value):
    with pytest.raises(NotEncodableError, match="has no JSON form"):
        encode(value)


def test_nesting_is_bounded():
    value = []
    for _ in range(MAX_DEPTH + 1):
        value = [value]
    with pytest.raises(NotEncodableError, match="nested deeper"):
        encode(value)


def test_an_unknown_tag_is_refused():
    with pytest.raises(ValueError, match=r"unknown tag '\$object'"):
        decode({"$object": 1})
