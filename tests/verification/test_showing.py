from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.data.values import encode
from rllm_assets.verification.showing import one_line, show


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        1.5,
        "a'b",
        [],
        [1, "x"],
        (),
        (1,),
        (1, 2),
        set(),
        {1},
        {"a": 1, "b": [2]},
        {1: 2},
        frozenset({1}),
        float("inf"),
    ],
)
def test_values_look_as_python_prints_them(value: Any) -> None:
    assert show(encode(value)) == repr(value)


def test_long_values_are_cut() -> None:
    assert show("x" * 1000) == "'" + "x" * 76 + "..."
    assert show(list(range(10**5))) == show(list(range(10**5)))[:77] + "..."


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["$set", "$dict", "$tuple", "$float", "$bytes", "x"]), inner)
        ),
        max_leaves=10,
    )
)
def test_anything_can_be_shown(form: Any) -> None:
    text = show(form)
    assert len(text) <= 80
    assert text.isprintable()


def test_deep_values() -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    assert show(deep) == "[" * 21 + "..." + "]" * 21


def test_one_line() -> None:
    assert one_line("a\nb\tc\x1b\udc80d") == "a b c  d"
    assert one_line("x" * 301) == "x" * 297 + "..."
    assert one_line("x" * 300) == "x" * 300
