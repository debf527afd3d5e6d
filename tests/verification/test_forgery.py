"""Candidates that try to be judged right without being right: none of them is."""

import pytest

from rllm_assets.data.issues import Case
from rllm_assets.verification import Verifier
from tests.attacks.functions import ATTACKS, secret
from tests.verification.tasks import case, task


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_resolves(verifier: Verifier, name: str) -> None:
    verdict = verifier.verify(secret(), ATTACKS[name])
    assert verdict.status == "failed"
    assert verdict.tests_passed < 3
    assert verdict.reason


def test_the_verifier_still_works_after_all_of_them(verifier: Verifier) -> None:
    verdicts = verifier.verify_many([(secret(), code) for code in ATTACKS.values()])
    assert {verdict.status for verdict in verdicts} == {"failed"}
    assert verifier.verify(secret(), secret().fixed_code).resolved
    assert verifier._sandbox.survivors() == []


@pytest.mark.parametrize(
    "expected", [{1, 2}, frozenset({1}), {(1,): 2}, {"a": 1}, 1e300, float("inf"), (1, 2), b"x", 1j]
)
def test_hand_written_forms_never_pass_for_a_value(verifier: Verifier, expected: object) -> None:
    forms = [
        '{"$set": 5}',
        '{"$frozenset": {}}',
        '{"$dict": 7}',
        '{"$dict": [[]]}',
        "Infinity",
        '{"$tuple": "12"}',
        '{"$bytes": []}',
    ]
    wanted = task("f", case(returns=expected))
    for form in forms:
        code = (
            f"import os\nos.write(3, b'[\"loaded\"]\\n[\"value\", ' + {form!r}.encode() + b', null]\\n')\nos._exit(0)"
        )
        assert verifier.verify(wanted, code).status == "failed"


def test_extra_results_are_noticed(verifier: Verifier) -> None:
    code = "import os\ndef f():\n  os.write(3, b'[\"value\", 1, null]\\n')\n  return 1"
    verdict = verifier.verify(task("f", Case(args=[], returns=1)), code)
    assert (verdict.status, verdict.reason) == ("failed", "the code wrote to the result channel")
