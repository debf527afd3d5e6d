"""Inside the sandbox: run a published `assert` suite on a candidate.

Apart, the candidate lives in a process of its own, and the suite calls it through a pipe: `os._exit`, a lying `__eq__`
and looking through frames reach nothing there. Together, for suites whose values have no exact form, both share one
process, which hostile code can turn in its favour. Standard library only.
"""
# ruff: noqa: PTH123

import builtins
import json
import os
import sys
import types
from collections.abc import Callable
from typing import Any, BinaryIO

from rllm_assets.data import values
from rllm_assets.verification import function_program

_SUITE = "suite.py"
_LONGEST_ANSWER = 8 << 20
# Raised within `map` or `zip`, these would end the suite's own loop as if all were well.
_ENDING_LOOPS = (StopIteration, StopAsyncIteration)


class CandidateError(Exception):
    """What the suite sees of an exception that is no built-in one, and of a candidate whose process ended."""


def main(payload: int, result: int) -> None:
    """Read a candidate and a suite from `payload`, run them apart or together, and write JSON lines to `result`."""
    length = int.from_bytes(os.pread(payload, 8, 0), "big")
    job = json.loads(os.pread(payload, length, 8))
    (_together if job["together"] else _apart)(job, payload, 8 + length, result)


def _suite(payload: int, start: int) -> dict:
    """Return the part of the payload that the candidate shall not see; never called where one is about to be loaded."""
    return json.loads(os.pread(payload, os.fstat(payload).st_size - start, start))


def _together(job: dict, payload: int, start: int, result: int) -> None:
    if function_program.load(job, lambda line: function_program.write(result, line)) is None:
        return
    suite = _suite(payload, start)
    ended = _run(suite, vars(sys.modules[function_program.NAME]))
    function_program.write(result, json.dumps([*ended, suite["nonce"]]))


def _apart(job: dict, payload: int, start: int, result: int) -> None:
    questions, ask = os.pipe()
    answers, answer = os.pipe()
    child = os.fork()
    if child == 0:
        for descriptor in (payload, result, ask, answers):
            os.close(descriptor)
        try:
            _answer(job, questions, answer)
        finally:
            os._exit(0)
    os.close(questions)
    os.close(answer)
    with open(answers, "rb") as heard:
        loaded = heard.readline(_LONGEST_ANSWER)
        if not loaded:
            _, status = os.waitpid(child, 0)
            function_program.write(result, json.dumps(["ended", os.waitstatus_to_exitcode(status)]))
            return
        function_program.write(result, loaded.rstrip(b"\n").decode(errors="replace"))
        if loaded != b'["loaded"]\n':
            return
        suite = _suite(payload, start)
        reference = types.ModuleType("reference")
        exec(compile(suite["reference"], "reference.py", "exec", dont_inherit=True), vars(reference))
        # Helpers that the suite uses are the fix's, never the candidate's.
        ended = _run(suite, {**vars(reference), job["entry_point"]: _stand_in(ask, heard)})
        function_program.write(result, json.dumps([*ended, suite["nonce"]]))


def _answer(job: dict, questions: int, answer: int) -> None:
    """Load the candidate and make the calls that come in, until there are no more."""
    function = function_program.load(job, lambda line: function_program.write(answer, line))
    if function is None:
        return
    with open(questions, "rb") as asked:
        for line in asked:
            arguments, keywords = values.decode(json.loads(line))
            function_program.write(answer, function_program.call_line(function, arguments, keywords, want_after=True))


def _stand_in(ask: int, heard: BinaryIO) -> Callable[..., Any]:
    """Return a function that has the candidate's process make the call."""

    def candidate(*arguments: Any, **keywords: Any) -> Any:
        try:
            function_program.write(ask, json.dumps(values.encode((list(arguments), keywords))))
        except BrokenPipeError as error:
            raise CandidateError("the candidate's process ended") from error
        answer = heard.readline(_LONGEST_ANSWER)
        try:
            event = json.loads(answer)
            after = values.decode(event[-1]) if event[-1] is not None else arguments
            value = values.decode(event[1]) if event[0] == "value" else None
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise CandidateError("the candidate's process ended" if not answer else "an unreadable answer") from error
        _copy_back(arguments, after)
        if event[0] != "value":
            raise _exception(event)
        return value

    return candidate


def _copy_back(arguments: tuple[Any, ...], after: Any) -> None:
    """Make changes of the candidate to its arguments visible to the suite."""
    if type(after) is not list or len(after) != len(arguments):
        return
    for argument, changed in zip(arguments, after, strict=True):
        if type(argument) is not type(changed):
            continue
        if type(argument) is list:
            argument[:] = changed
        elif type(argument) in (dict, set):
            argument.clear()
            argument.update(changed)


def _exception(event: list) -> Exception:
    try:
        kind, message = event[1], str(event[2])
        if event[0] == "raised":
            for module, name in kind:
                known = getattr(builtins, name, None) if module == "builtins" else None
                if isinstance(known, type) and issubclass(known, _ENDING_LOOPS):
                    break
                if isinstance(known, type) and issubclass(known, Exception) and known is not Exception:
                    return known(message)
            name = kind[0][1]
            return CandidateError(f"{name}: {message}" if message else name)
        return CandidateError(f"the result cannot be judged: {message}")
    except (TypeError, ValueError, LookupError):
        return CandidateError("an unreadable answer")


def _run(suite: dict, names: dict[str, Any]) -> tuple[str, str, str]:
    """Run the suite among `names`; return its event: passed, or failed and how."""
    try:
        exec(compile(suite["test_code"], _SUITE, "exec", dont_inherit=True), names)
    except BaseException as error:  # noqa: BLE001 - together, it is the candidate's to raise
        return ("suite", "failed", f"{_place(error, suite['test_code'])}{function_program.described(error)[2]}")
    return ("suite", "passed", "")


def _place(error: BaseException, test_code: str) -> str:
    """Return the suite's line that an exception came through last."""
    line, step = 0, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == _SUITE:
            line = step.tb_lineno
        step = step.tb_next
    lines = test_code.splitlines()
    return f"line {line}, {lines[line - 1].strip().rstrip(':')}: " if 0 < line <= len(lines) else ""
