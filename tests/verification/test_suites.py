"""Suites of assertions: judged with the candidate in a process of its own wherever its values allow that."""

import pytest

from rllm_assets.sandbox.jobs import Limits, Outcome
from rllm_assets.verification import Verifier
from rllm_assets.verification.suites import judge_suite, suite_job
from tests.attacks.suites import AIMED_AT, ATTACKS, FIXED, halve
from tests.verification.tasks import task


def test_the_fix_passes(verifier: Verifier) -> None:
    verdict = verifier.verify(halve(), FIXED)
    assert (verdict.status, verdict.tests_passed, verdict.tests_total, verdict.reason) == ("resolved", 1, 1, "")
    assert verdict.in_process
    assert verdict.sandbox_grade == "strong"


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (
            "def halve(x): return x",
            "failed",
            'the suite: line 6, assert abs(candidate(x) - half(x)) < 1e-9, f"half of {x}": AssertionError: half of 49',
        ),
        (
            FIXED.replace("x[:] =", "x ="),
            "failed",
            "the suite: line 15, assert items == [2.0, 1.0]: AssertionError",
        ),
        (
            "def halve(x): raise LookupError('no')",
            "failed",
            'the suite: line 6, assert abs(candidate(x) - half(x)) < 1e-9, f"half of {x}": LookupError: no',
        ),
        (
            "class Odd(Exception): pass\ndef halve(x): raise Odd('no')",
            "failed",
            'the suite: line 6, assert abs(candidate(x) - half(x)) < 1e-9, f"half of {x}": CandidateError: Odd: no',
        ),
        (
            "def halve(x) return",
            "invalid_patch",
            "the code does not parse: SyntaxError: expected ':' (candidate.py, line 1)",
        ),
        ("half = 2", "failed", "the code defines no function halve"),
        ("raise OSError", "failed", "loading the module raised OSError"),
        ("import os; os._exit(0)", "failed", "the process exited with code 0 while the module was loaded"),
        (
            "import os, signal; os.kill(os.getpid(), 9)",
            "failed",
            "the process was killed by SIGKILL while the module was loaded",
        ),
    ],
)
def test_failures_name_the_assertion(verifier: Verifier, code: str, status: str, reason: str) -> None:
    verdict = verifier.verify(halve(), code)
    assert (verdict.status, verdict.tests_passed, verdict.tests_total, verdict.reason) == (status, 0, 1, reason)
    assert verdict.in_process


def test_no_answer(verifier: Verifier) -> None:
    assert verifier.verify(halve(), None).status == "invalid_patch"


def test_time_runs_out_in_the_candidate(verifier: Verifier) -> None:
    endless = task("f", fixed_code="def f(): return 1", test_code="assert f() == 1", timeout_seconds=0.3)
    verdict = verifier.verify(endless, "def f():\n  while True: pass")
    assert (verdict.status, verdict.reason) == ("timeout", "out of time in the suite")


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_passes_a_suite(verifier: Verifier, name: str) -> None:
    verdict = verifier.verify(halve(name), ATTACKS[name])
    assert verdict.status == "failed"
    assert verdict.reason


def test_an_honest_candidate_passes_the_suites_that_attacks_are_aimed_at(verifier: Verifier) -> None:
    assert all(verifier.verify(halve(name), FIXED).resolved for name in AIMED_AT)


TOGETHER = """\
class Node:
    def __init__(self, value, following=None):
        self.value, self.following = value, following

def reverse(node):
    result = None
    while node:
        result, node = Node(node.value, result), node.following
    return result
"""


def test_values_without_exact_form_bring_the_candidate_into_the_suites_process(verifier: Verifier) -> None:
    suite = "assert reverse(Node(1, Node(2))).following.value == 1\nassert next(iter([reverse(None)])) is None\n"
    linked = task("reverse", fixed_code=TOGETHER, test_code=suite)
    assert verifier.verify(linked, TOGETHER).resolved
    wrong = verifier.verify(linked, TOGETHER.replace("return result", "return node"))
    assert wrong.status == "failed"
    assert wrong.reason.startswith("the suite: line 1, assert reverse(Node(1, Node(2)))")
    assert wrong.in_process
    # What even this mode stops.
    assert not verifier.verify(linked, "import os\nos._exit(0)").resolved
    assert not verifier.verify(
        linked, TOGETHER + 'import os\nos.write(3, b\'["suite", "passed", "", ""]\\n\')\nos._exit(0)'
    ).resolved


def test_a_candidate_cannot_choose_to_share_the_suites_process(verifier: Verifier) -> None:
    """Returning something without exact form is a failure, not a way into the other mode."""
    assert verifier.verify(halve(), FIXED).resolved
    verdict = verifier.verify(halve(), ATTACKS["equals everything"])
    assert verdict.reason.endswith("CandidateError: the result cannot be judged: a value of type Yes has no JSON form")


def test_the_suite_is_behind_what_the_candidate_reads() -> None:
    job, nonce = suite_job(task("f", fixed_code="FIX", test_code="SUITE"), "CODE", Limits(), together=False)
    length = int.from_bytes(job.payload[:8], "big")
    first, second = job.payload[8 : 8 + length].decode(), job.payload[8 + length :].decode()
    assert "CODE" in first
    assert not any(word in first for word in ("FIX", "SUITE", nonce))
    assert all(word in second for word in ("FIX", "SUITE", nonce))


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (b'["loaded"]\n["suite", "passed", "", "word"]\n', "resolved"),
        (b'["loaded"]\n["suite", "passed", "", "other"]\n', "failed"),
        (b'["loaded"]\n["suite", "passed", "", "word"]\n["more"]\n', "failed"),
        (b'["suite", "passed", "", "word"]\n', "failed"),
        (b'["loaded"]\n', "failed"),
        (b"", "failed"),
    ],
)
def test_only_the_whole_honest_result_resolves(result: bytes, status: str) -> None:
    outcome = Outcome("exited", 0, result, b"", 0.1)
    assert judge_suite(task("f", test_code="x"), outcome, "word", "strong").status == status


def test_a_suite_that_passed_in_a_process_that_failed_has_not_passed() -> None:
    result = b'["loaded"]\n["suite", "passed", "", "word"]\n'
    for outcome in (Outcome("exited", 1, result, b"", 0.1), Outcome("timeout", 9, result, b"", 0.1)):
        assert not judge_suite(task("f", test_code="x"), outcome, "word", "strong").resolved
