"""Repository tasks: a candidate's changes to a clean tree, judged by the tests of the issue."""

import pytest

from rllm_assets.data.changes import UNCHANGED
from rllm_assets.data.issues import RepositoryTask
from rllm_assets.verification import Verifier
from tests.verification.repository import FIXED, MONEY, NEW_TESTS, TREE, diff, issue, module


def ended(verdict):
    return verdict.status, verdict.tests_passed, verdict.tests_broken, verdict.reason


def test_the_fix_resolves_and_the_bug_does_not(verifier: Verifier):
    right, wrong = verifier.verify_many([(issue(), issue().patch), (issue(), UNCHANGED)])
    assert ended(right) == ("resolved", 2, 0, "")
    assert (right.tests_total, right.in_process, right.sandbox_grade) == (2, True, "strong")
    assert ended(wrong) == (
        "failed",
        1,
        0,
        "tests/test_money.py::test_add failed: assert -1 == 5  +  where -1 = add(2, 3)",
    )


def test_search_replace_blocks_are_changes_too(verifier: Verifier):
    answer = "calc/money.py\n<<<<<<< SEARCH\n    return a - b\n=======\n    return a + b\n>>>>>>> REPLACE\n"
    assert verifier.verify(issue(), answer).resolved
    verdict = verifier.verify(issue(), answer.replace("a - b", "a * b"))
    assert ended(verdict)[::3] == (
        "invalid_patch",
        "block 1 of 1, calc/money.py: SEARCH is not in the file: no line is '    return a * b'",
    )


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (None, ("invalid_patch", 0, 0, "no code in the answer")),
        ("some words", ("invalid_patch", 0, 0, "there is no change in the diff")),
        (
            diff("calc/money.py", FIXED, before=MONEY.replace("n // 2", "n / 2")).replace(
                "-    return a - b", "-    a"
            ),
            (
                "invalid_patch",
                0,
                0,
                "calc/money.py: hunk 1 of 1 does not fit: line 2 should be '    a', it is '    return a - b'",
            ),
        ),
        (
            module(FIXED.replace("n // 2", "n")),
            ("failed", 1, 1, "tests/test_money.py::test_half failed: assert 4 == 2  +  where 4 = half(4)"),
        ),
        (
            module("def add(a, b) return a"),
            (
                "failed",
                0,
                1,
                "tests/test_money.py could not be collected: SyntaxError: expected ':'",
            ),
        ),
        (
            module(FIXED.replace("def half", "def halve")),
            (
                "failed",
                0,
                1,
                "tests/test_money.py could not be collected: ImportError: cannot import name 'half' from 'calc.money' "
                "(/tmp/calc/money.py)",
            ),
        ),
        (
            diff("tests/test_money.py", "def test_add(): pass\ndef test_half(): pass\n"),
            ("invalid_patch", 0, 0, "it changes only what decides the verdict: tests/test_money.py"),
        ),
    ],
)
def test_how_candidates_end(verifier: Verifier, candidate, expected):
    assert ended(verifier.verify(issue(), candidate)) == expected


def test_a_conftest_that_cannot_be_imported_says_why(verifier: Verifier):
    asked = issue()
    assert isinstance(asked.task, RepositoryTask)
    assert asked.task.files
    files = asked.task.files | {"tests/conftest.py": "import calc.money\n"}
    asked = asked.model_copy(update={"task": asked.task.model_copy(update={"files": files})})
    assert verifier.verify(asked, asked.patch).resolved
    assert ended(verifier.verify(asked, module("def add(a, b) return a")))[::3] == (
        "failed",
        "the tests did not start: SyntaxError: expected ':' (money.py, line 1) (from tests/conftest.py)",
    )


@pytest.mark.parametrize("path", ["../outside.py", "/tmp/outside.py", "calc/../../outside.py"])
def test_a_tree_is_written_nowhere_else(verifier: Verifier, path):
    asked = issue().model_copy(update={"task": RepositoryTask(files=TREE | {path: ""})})
    assert ended(verifier.verify(asked, asked.patch))[::3] == (
        "failed",
        f"the tests did not start: ValueError: {path!r} is no path inside the repository",
    )


def test_a_patch_that_makes_the_bug_comes_before_the_candidate(verifier: Verifier):
    """SWE-smith's tree is the repository as it should be, with its tests."""
    tests = {"tests/test_money.py": NEW_TESTS}
    task = RepositoryTask(
        files=TREE | {"calc/money.py": FIXED} | tests, bug_patch=diff("calc/money.py", MONEY, before=FIXED)
    )
    asked = issue().model_copy(update={"task": task, "test_patch": ""})
    assert verifier.verify(asked, asked.patch).resolved
    assert ended(verifier.verify(asked, UNCHANGED))[:3] == ("failed", 1, 0)


def test_changes_to_tests_are_left_out_and_said(verifier: Verifier):
    tests = diff("tests/test_money.py", "def test_add(): pass\ndef test_half(): pass\n")
    assert ended(verifier.verify(issue(), module(MONEY + "\n") + tests)) == (
        "failed",
        1,
        0,
        "tests/test_money.py::test_add failed: assert -1 == 5  +  where -1 = add(2, 3) "
        "(changes to tests/test_money.py were left out)",
    )
    assert verifier.verify(issue(), issue().patch + tests).resolved


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("@pytest.mark.skip\ndef test_add(): pass", "was skipped"),
        ("def test_add(): pytest.skip('no')", "was skipped"),
        ("@pytest.mark.xfail(run=False)\ndef test_add(): pass", "was not run"),
        ("@pytest.mark.xfail\ndef test_add(): pass", "passed where it is expected to fail"),
        (
            "@pytest.fixture\ndef gone(): raise KeyError('x')\ndef test_add(gone): pass",
            "failed to set up or to tear down: KeyError: 'x'",
        ),
        ("def test_other(): pass", "did not report"),
    ],
)
def test_what_is_no_proof_of_a_fix(verifier: Verifier, body, how):
    asked = issue(tests="import pytest\n" + NEW_TESTS.partition("\n\ndef test_add")[0] + "\n\n" + body + "\n")
    verdict = verifier.verify(asked, asked.patch)
    assert (verdict.status, verdict.reason) == ("failed", f"tests/test_money.py::test_add {how}")


def test_an_expected_failure_and_parameters_count(verifier: Verifier):
    body = (
        "@pytest.mark.xfail\ndef test_add(): assert 0\n\n\n"
        "@pytest.mark.parametrize('n', [1, 'a b'])\ndef test_each(n): assert add(n, n) == n + n\n"
    )
    asked = issue(
        tests="import pytest\n" + NEW_TESTS.partition("\n\ndef test_add")[0] + "\n\n" + body,
        fail_to_pass=("test_add", "test_each[1]", "test_each[a b]"),
    )
    assert verifier.verify(asked, asked.patch).resolved


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("while True: pass", "timeout", "out of time while the tests ran"),
        (
            "x = [bytearray(1 << 20) for _ in range(4096)]",
            "out_of_memory",
            "tests/test_money.py could not be collected: MemoryError",
        ),
        ("import sys; sys.exit(0)", "failed", "the tests did not run as they should: one that must fail did not"),
        ("print('x' * (4 << 20))", "resolved", ""),
    ],
)
def test_modules_that_misbehave(verifier: Verifier, code, status, reason):
    asked = issue(timeout=3.0)
    verdict = verifier.verify(asked, module(FIXED + "\n\n" + code + "\n"))
    assert (verdict.status, verdict.reason) == (status, reason)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"task": RepositoryTask()}, "calc-1 has no files to apply changes to: no clone of calc/calc is known"),
        (
            {"test_patch": "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a\n+b\n"},
            "calc-1: its test_patch does not apply: x.py: no such file",
        ),
        (
            {"PASS_TO_PASS": ["tests/test_gone.py::test_x"]},
            "calc-1: tests/test_gone.py, which holds required tests, is not in the tree",
        ),
        (
            {"FAIL_TO_PASS": [], "PASS_TO_PASS": []},
            "calc-1 has no cases, suite or tests to judge by",
        ),
    ],
)
def test_an_issue_that_cannot_be_judged_is_not_the_candidates_fault(verifier: Verifier, changed, reason):
    asked = issue().model_copy(update=changed)
    verdict = verifier.verify(asked, asked.patch)
    assert (verdict.status, verdict.reason) == ("no_verdict", reason)
