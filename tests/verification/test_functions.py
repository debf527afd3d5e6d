"""The judgement on results, whatever stands in them."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.data.values import encode
from rllm_assets.sandbox.jobs import Limits, Outcome
from rllm_assets.verification.functions import cases_job, judge_cases
from tests.verification.tasks import case, clamp, task

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["$set", "$tuple", "$dict", "$float", "$bytes"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)
python_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


def exited(result: bytes, code: int = 0) -> Outcome:
    return Outcome("exited", code, result, b"", 0.5)


def lines(*events: Any) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


HONEST = (
    ["loaded"],
    ["value", 5, None],
    ["value", 0, None],
    ["raised", [["builtins", "ValueError"], ["builtins", "Exception"]], "no", None],
)


def test_the_expected_values_are_not_in_the_job() -> None:
    hidden = task("f", case("given", returns="expected", args_after=["after"], tolerance=0.125), fixed_code="the fix")
    payload = cases_job(hidden, "code", Limits()).payload.decode()
    assert "given" in payload
    assert not any(word in payload for word in ("expected", 'after"]', "0.125", "the fix"))


def test_an_honest_result() -> None:
    verdict = judge_cases(clamp(), exited(lines(*HONEST)), "weak")
    assert verdict.resolved
    assert (verdict.tests_passed, verdict.tests_total, verdict.seconds, verdict.sandbox_grade) == (3, 3, 0.5, "weak")


def test_everything_has_to_be_right() -> None:
    assert (
        judge_cases(clamp(), exited(lines(*HONEST), code=1), "strong").reason
        == "the process exited with code 1 after the last case"
    )
    for cut in range(len(HONEST)):
        verdict = judge_cases(clamp(), exited(lines(*HONEST[:cut])), "strong")
        assert (verdict.status, verdict.tests_passed) == ("failed", max(0, cut - 1))
    late = Outcome("timeout", 9, lines(*HONEST), b"", 5.0)
    assert (judge_cases(clamp(), late, "strong").status, judge_cases(clamp(), late, "strong").tests_passed) == (
        "timeout",
        3,
    )


def test_a_line_that_was_cut_off_is_no_line() -> None:
    verdict = judge_cases(clamp(), exited(lines(*HONEST)[:-1]), "strong")
    assert (verdict.status, verdict.tests_passed) == ("failed", 2)
    assert verdict.reason == "the process exited with code 0 in case 3 of 3: clamp(5, 10, 0)"


def test_exceptions_of_ones_own_go_by_name() -> None:
    own = task("f", case(raises="Empty"))
    raised = lines(["loaded"], ["raised", [["candidate", "Empty"], ["builtins", "Exception"]], "", None])
    assert judge_cases(own, exited(raised), "strong").resolved
    other = lines(["loaded"], ["raised", [["candidate", "Full"], ["builtins", "Exception"]], "", None])
    assert judge_cases(own, exited(other), "strong").reason == "case 1 of 1: f() raised Full, expected Empty"


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_resolve(result: bytes) -> None:
    assert not judge_cases(clamp(), exited(result), "strong").resolved
    assert not judge_cases(clamp(), exited(lines(["loaded"]) + result), "strong").resolved


@given(st.lists(st.lists(json_values, max_size=5), max_size=6), python_values)
def test_arbitrary_events_get_a_verdict(events: list[list[Any]], value: Any) -> None:
    wanted = task("f", case(returns=value), case(value, raises="KeyError"), case(returns=value, args_after=[value]))
    for start in ([], [["loaded"]]):
        verdict = judge_cases(wanted, exited(lines(*start, *events)), "strong")
        assert verdict.status in ("failed", "invalid_patch", "out_of_memory", "resolved")
        assert len(verdict.reason) <= 1000


@given(python_values, json_values)
def test_a_value_passes_for_itself_only(value: Any, form: Any) -> None:
    wanted = task("f", case(returns=value))
    assert judge_cases(wanted, exited(lines(["loaded"], ["value", encode(value), None])), "strong").resolved
    if json.dumps(form) != json.dumps(encode(value)):
        verdict = judge_cases(wanted, exited(lines(["loaded"], ["value", form, None])), "strong")
        assert not verdict.resolved or _equal_within_tolerance(form, encode(value))


def _equal_within_tolerance(form: Any, encoded: Any) -> bool:
    """Floats next to each other, and mappings in another order, are the same value."""
    return form == encoded or (
        type(form) is float and type(encoded) is float and abs(form - encoded) <= 1e-9 * max(1, abs(encoded))
    )
