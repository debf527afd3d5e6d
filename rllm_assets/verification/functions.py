"""Function tasks: what goes into the sandbox, and the verdict on what comes out."""

import builtins
import io
import json
import signal
from collections.abc import Iterator
from typing import Any

from rllm_assets.data import values
from rllm_assets.data.issues import Case, FunctionTask
from rllm_assets.data.verdicts import Status, Verdict
from rllm_assets.sandbox.jobs import Grade, Job, Limits, Outcome, Program
from rllm_assets.verification.showing import one_line, show

CASES = Program(
    modules=("rllm_assets.data.values", "rllm_assets.verification.function_program"),
    preload=("collections", "copy", "datetime", "functools", "heapq", "itertools", "math", "re", "string", "typing"),
)

# What people forget most.
_OPAQUE = {
    "coroutine": "a coroutine, because the function is async",
    "async_generator": "an asynchronous generator, because the function is async",
    "generator": "a generator, because the function yields",
}


def cases_job(task: FunctionTask, code: str, limits: Limits) -> Job:
    """Return the job that makes the calls of `task` on a candidate; the expected values are not in it."""
    calls = [{"args": case.args, "after": case.args_after is not None} for case in task.cases]
    payload = json.dumps({"code": code, "entry_point": task.entry_point, "calls": calls})
    return Job(CASES.modules[-1], payload.encode(), task.timeout_seconds, limits)


def judge_cases(task: FunctionTask, outcome: Outcome, grade: Grade) -> Verdict:
    """Return the verdict on a job made by `cases_job`.

    Whatever stands in the outcome was written by the candidate's process: it counts as what the candidate returned and as
    nothing else, and only well-formed lines in the order of the cases are read.
    """
    status, reason, passed = _judge(task, outcome)
    return Verdict(
        status=status,
        tests_passed=passed,
        tests_total=len(task.cases),
        reason=reason,
        seconds=outcome.seconds,
        sandbox_grade=grade,
    )


def ended_early(outcome: Outcome, where: str) -> tuple[Status, str]:
    """Return the status of a job that ended before it was done, and how it ended, for a person."""
    match outcome.ended:
        case "timeout":
            return "timeout", f"out of time {where}"
        case "out_of_memory":
            return "out_of_memory", f"out of memory {where}"
        case "flooded":
            printed = len(outcome.output) >= Limits.output_bytes
            what, most = ("printed", Limits.output_bytes) if printed else ("returned", Limits.result_bytes)
            return "failed", f"{what} more than {most >> 20} MB, which is not kept, {where}"
        case "signalled":
            return "failed", f"the process {_ending(-outcome.code)} {where}"
        case _:
            return "failed", f"the process {_ending(outcome.code)} {where}"


def events(result: bytes) -> Iterator[list[Any]]:
    """Yield the JSON lines of a result: ``["unreadable"]`` for one that is none, nothing for one that was cut off."""
    for line in io.BytesIO(result):
        if not line.endswith(b"\n"):
            return
        try:
            event = json.loads(line.decode())
        except (ValueError, RecursionError):
            event = None
        yield event if isinstance(event, list) and event else ["unreadable"]


def load_failure(task: FunctionTask, event: list[Any] | None, outcome: Outcome) -> tuple[Status, str] | None:
    """Return why a candidate could not be loaded, going by the first event of its result, or None when it could."""
    match event:
        case ["loaded"]:
            return None
        case ["syntax", str(message)]:
            return "invalid_patch", f"the code does not parse: {one_line(message)}"
        case ["import", list(kinds), str(message)]:
            status: Status = "out_of_memory" if is_exception(kinds, "MemoryError") else "failed"
            return status, f"loading the module raised {exception(kinds, message)}"
        case ["missing"]:
            return "failed", f"the code defines no function {task.entry_point}"
        case ["ended", int(code)]:
            return "failed", f"the process {_ending(code)} while the module was loaded"
        case None:
            return ended_early(outcome, "while the module was loaded")
        case _:
            return "failed", "the code wrote to the result channel"


def is_exception(kinds: list[Any], name: str) -> bool:
    """Tell whether an exception with these base classes, as ``[module, name]``, is one called `name`.

    The name of a built-in exception means that exception and no other.
    """
    if hasattr(builtins, name):
        return ["builtins", name] in kinds
    return any(isinstance(kind, list) and len(kind) == 2 and kind[1] == name for kind in kinds)


def exception(kinds: list[Any], message: str) -> str:
    """Return an exception as a traceback's last line would show it."""
    match kinds:
        case [[_, str(name)], *_]:
            return one_line(f"{name}: {message}" if message else name)
        case _:
            return "an exception"


def _ending(code: int) -> str:
    try:
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
    except ValueError:
        return f"was killed by signal {-code}"


def _judge(task: FunctionTask, outcome: Outcome) -> tuple[Status, str, int]:
    reported = events(outcome.result)
    failure = load_failure(task, next(reported, None), outcome)
    if failure is not None:
        return *failure, 0
    passed, first, total = 0, "", len(task.cases)
    status: Status = "failed"
    for number, case in enumerate(task.cases, start=1):
        event = next(reported, None)
        if event is None:
            status, how = ended_early(outcome, f"in case {number} of {total}: {_call(task, case)}")
            return status, f"{first}; then {how}" if first else how, passed
        complaint = _complaint(case, event)
        if complaint is None:
            passed += 1
        elif not first:
            first = f"case {number} of {total}: {_call(task, case)} {complaint}"
            status = "out_of_memory" if _out_of_memory(event) else "failed"
    if first:
        return status, first, passed
    if outcome.ended != "exited" or outcome.code != 0:
        return *ended_early(outcome, "after the last case"), passed
    if next(reported, None) is not None:
        return "failed", "the code wrote to the result channel", passed
    return "resolved", "", passed


def _complaint(case: Case, event: list[Any]) -> str | None:
    """Return what is wrong with what came of a case, None when nothing is."""
    match event:
        case ["value", form, after]:
            if case.raises is not None or not _same(form, case.returns, case.tolerance):
                return f"returned {show(form)}, expected {_wanted(case)}"
        case ["raised", list(kinds), str(message), after]:
            if case.raises is None or not is_exception(kinds, case.raises):
                return f"raised {exception(kinds, message)}, expected {_wanted(case)}"
        case ["opaque", str(kind), str(message), _]:
            return f"returned {_OPAQUE.get(kind) or f'what cannot be judged: {one_line(message)}'}; expected {_wanted(case)}"
        case _:
            return f"wrote to the result channel; expected {_wanted(case)}"
    if case.args_after is not None and not _same(after, case.args_after, case.tolerance):
        return f"left its arguments as {show(after)}, expected {show(case.args_after)}"
    return None


def _wanted(case: Case) -> str:
    return case.raises or show(case.returns)


def _same(actual: Any, expected: Any, tolerance: float) -> bool:
    try:
        return values.same(actual, expected, tolerance)
    except (TypeError, RecursionError):
        # A form that `values.encode` never makes, written by hand.
        return False


def _out_of_memory(event: list[Any]) -> bool:
    match event:
        case ["raised", list(kinds), *_]:
            return is_exception(kinds, "MemoryError")
        case _:
            return False


def _call(task: FunctionTask, case: Case) -> str:
    return one_line(f"{task.entry_point}({', '.join(show(argument) for argument in case.args)})")
