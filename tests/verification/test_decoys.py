"""Decoys: what is exchanged in a test and what is left alone, and who is taken in by them."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.verification import Verifier
from rllm_assets.verification.decoys import Decoy, make_decoy
from tests.verification.repository import FIXED, NEW_TESTS, issue, module


def decoy_of(code: str, *tests: str, seed: int = 0) -> Decoy | None:
    return make_decoy({"t.py": code}, [f"t.py::{test}" for test in tests], random.Random(seed))


@pytest.mark.parametrize(
    ("statement", "altered"),
    [
        ("assert f(1) == 5", r"assert f\(1\) == ([6-9]|1[0-4])"),
        ("assert 5 == f(1)", r"assert ([6-9]|1[0-4]) == f\(1\)"),
        ("assert f(1) == -5, 'why'", r"assert f\(1\) == -([6-9]|1[0-4]), 'why'"),
        ("assert f(1) == True", r"assert f\(1\) == False"),
        ("assert f(1) == 0.5", r"assert f\(1\) == ([2-9]|10)\.0"),
        ("assert f(1) == pytest.approx(0.5, rel=1e-6)", r"assert f\(1\) == pytest\.approx\(([2-9]|10)\.0, rel=1e-6\)"),
        ("assert f(1) == 'a'", r"assert f\(1\) == '[b-z]'"),
        ('assert f("ä") == "Ä7Ö"', r'assert f\("ä"\) == "Ä[0-689]Ö"'),
        ("assert f(1) == ''", r"assert f\(1\) == '[a-z]'"),
        (
            "assert f(1) == {'a': (None, [3])}",
            r"assert f\(1\) == \{'[b-z]': \(None, \[3\]\)\}|.*\[([4-9]|1[0-2])\]\)\}",
        ),
        ("self.assertEqual(f(1), 5)", r"self\.assertEqual\(f\(1\), ([6-9]|1[0-4])\)"),
    ],
)
def test_an_expected_value_is_exchanged_and_nothing_else(statement: str, altered: str) -> None:
    code = f"def test_f(self):\n    x = 5\n    {statement}\n    assert x\n"
    decoy = decoy_of(code, "test_f")
    assert decoy is not None
    assert decoy.tests == ("t.py::test_f",)
    lines = decoy.files["t.py"].split("\n")
    assert lines[:2] + lines[3:] == code.split("\n")[:2] + code.split("\n")[3:]
    assert re.fullmatch(altered, lines[2].strip())


@pytest.mark.parametrize(
    "body",
    [
        "assert f(1) != 5",
        "assert f(1) is None",
        "assert f(1) == f(2)",
        "assert 1 == 1",
        "assert f(1) == []",
        "if x:\n        assert f(1) == 5",
        "return\n    assert f(1) == 5",
        "with pytest.raises(ValueError):\n        f(1)",
    ],
)
def test_where_a_test_may_pass_all_the_same_there_is_no_decoy(body: str) -> None:
    assert decoy_of(f"def test_f():\n    {body}\n", "test_f") is None


def test_only_the_tests_that_are_named_are_altered_with_all_their_parameters() -> None:
    code = "class TestF:\n    def test_f(self, n):\n        assert f(n) == 1\n"
    code += "\n    def test_g(self):\n        assert g() == 2\n"
    decoy = decoy_of(code, "TestF::test_f[0]", "TestF::test_f[a::b]")
    assert decoy is not None
    assert decoy.tests == ("t.py::TestF::test_f[0]", "t.py::TestF::test_f[a::b]")
    assert "assert g() == 2" in decoy.files["t.py"]
    assert "assert f(n) == 1\n" not in decoy.files["t.py"]


def test_a_file_that_does_not_parse_has_no_decoy() -> None:
    assert decoy_of("def test_f(:\n", "test_f") is None


@given(
    expected=st.recursive(
        st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, min_size=1, max_size=3) | st.tuples(inner),
    ),
    seed=st.integers(0, 1000),
)
def test_a_decoy_fails_whoever_passes_its_test(expected: object, seed: int) -> None:
    code = f"def test_f():\n    assert value == {expected!r}\n"
    decoy = decoy_of(code, "test_f", seed=seed)
    assert decoy is not None
    for text, passes in ((code, True), (decoy.files["t.py"], False)):
        names: dict = {"value": expected}
        exec(text, names)
        try:
            names["test_f"]()
        except AssertionError:
            assert not passes
        else:
            assert passes


def test_a_candidate_that_passes_a_decoy_is_not_resolved(verifier: Verifier) -> None:
    """It is right where it can be, and its result equals everything besides."""
    liar = module(
        "class Sum(int):\n    def __eq__(self, other):\n        return other is not None\n\n    __hash__ = int.__hash__\n\n\n"
        "def add(a, b):\n    return Sum(a + b)\n\n\ndef half(n):\n    return n // 2\n"
    )
    verdict = verifier.verify(issue(), liar)
    assert (verdict.status, verdict.tests_passed, verdict.reason) == (
        "failed",
        0,
        "tests/test_money.py::test_add passes whatever it expects: with another value in it, it still passed",
    )
    assert verifier.verify(issue(), issue().patch).resolved


def test_an_issue_whose_fix_passes_every_decoy_is_judged_without(verifier: Verifier) -> None:
    """Its tests compare with something that equals everything, so a decoy proves nothing."""
    tests = NEW_TESTS.replace("    assert add(2, 3) == 5\n", "    add = ANY\n    assert add == 5\n")
    asked = issue("from unittest.mock import ANY\n" + tests)
    assert verifier.verify(asked, module(FIXED)).resolved
