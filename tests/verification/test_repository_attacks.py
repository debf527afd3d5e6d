"""Candidates that try to be judged right in the process of their judge: the known ones are stopped."""

import pytest

from rllm_assets.verification import Verifier
from tests.attacks.repositories import ATTACKS, GETS_THROUGH
from tests.verification.repository import issue


@pytest.mark.parametrize("name", ATTACKS)
def test_no_known_attack_resolves(verifier: Verifier, name: str) -> None:
    verdict = verifier.verify(issue(timeout=5.0), ATTACKS[name])
    assert verdict.status in ("failed", "invalid_patch", "timeout")
    assert verdict.reason


@pytest.mark.parametrize("name", GETS_THROUGH)
def test_what_gets_through_is_marked(verifier: Verifier, name: str) -> None:
    """Should one of these be stopped one day, docs/security.md has to say so."""
    verdict = verifier.verify(issue(), GETS_THROUGH[name])
    assert verdict.resolved
    assert verdict.in_process


def test_the_verifier_still_works_after_all_of_them(verifier: Verifier) -> None:
    asked = issue(timeout=5.0)
    verifier.verify_many([(asked, code) for code in ATTACKS.values()])
    assert verifier.verify(asked, asked.patch).resolved
