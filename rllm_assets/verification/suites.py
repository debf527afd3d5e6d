"""Function tasks with a published `assert` suite: what goes into the sandbox, and the verdict on what comes out."""

import json
import secrets

from rllm_assets.data.issues import FunctionTask
from rllm_assets.data.verdicts import Status, Verdict
from rllm_assets.sandbox.jobs import Grade, Job, Limits, Outcome, Program
from rllm_assets.verification.functions import ended_early, events, load_failure
from rllm_assets.verification.showing import one_line

SUITE = Program(
    modules=(
        "rllm_assets.data.values",
        "rllm_assets.verification.function_program",
        "rllm_assets.verification.suite_program",
    ),
)


def suite_job(task: FunctionTask, code: str, limits: Limits, together: bool) -> tuple[Job, str]:
    """Return the job that runs the suite of `task` on a candidate, and the word that stands at the end of an honest result.

    Apart from the suite (`together` false) the candidate cannot reach the suite's process, its values or its results.
    """
    nonce = secrets.token_hex(16)
    candidate = json.dumps({"code": code, "entry_point": task.entry_point, "together": together}).encode()
    suite = json.dumps({"test_code": task.test_code, "reference": task.fixed_code, "nonce": nonce}).encode()
    payload = len(candidate).to_bytes(8, "big") + candidate + suite
    return Job(SUITE.modules[-1], payload, task.timeout_seconds, limits), nonce


def judge_suite(task: FunctionTask, outcome: Outcome, nonce: str, grade: Grade) -> Verdict:
    """Return the verdict on a job made by `suite_job`; the suite counts as one test."""
    status, reason = _judge(task, outcome, nonce)
    return Verdict(
        status=status,
        tests_passed=int(status == "resolved"),
        tests_total=1,
        reason=reason,
        seconds=outcome.seconds,
        sandbox_grade=grade,
        in_process=True,
    )


def _judge(task: FunctionTask, outcome: Outcome, nonce: str) -> tuple[Status, str]:
    reported = events(outcome.result)
    failure = load_failure(task, next(reported, None), outcome)
    if failure is not None:
        return failure
    match next(reported, None):
        case None:
            return ended_early(outcome, "in the suite")
        case ["suite", "passed", "", word] if word == nonce:
            if outcome.ended != "exited" or outcome.code != 0:
                return ended_early(outcome, "after the suite")
            if next(reported, None) is not None:
                return "failed", "the code wrote to the result channel"
            return "resolved", ""
        case ["suite", "failed", str(message), word] if word == nonce:
            if "MemoryError" in message:
                return "out_of_memory", one_line(f"the suite: {message}")
            return "failed", one_line(f"the suite: {message}")
        case _:
            return "failed", "the code wrote to the result channel"
