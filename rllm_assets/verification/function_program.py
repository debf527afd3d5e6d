"""Inside the sandbox: load a candidate module, make the calls, and write down what came of each.

It knows the arguments but not the expected values; whatever the candidate makes of this process, it can only change what it is
seen to return. Standard library only.
"""

import json
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from rllm_assets.data import values

NAME = "candidate"


def main(payload: int, result: int) -> None:
    """Read a job from `payload` and write one JSON line an event to `result`."""
    job = json.loads(os.read(payload, os.fstat(payload).st_size))
    os.close(payload)
    function = load(job, lambda line: write(result, line))
    if function is None:
        return
    for call in job["calls"]:
        arguments = [values.decode(form) for form in call["args"]]
        write(result, call_line(function, arguments, {}, call["after"]))


def write(descriptor: int, line: str) -> None:
    """Write one line whole."""
    data = line.encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]


def load(job: dict, tell: Callable[[str], None]) -> Callable | None:
    """Return the candidate's function; tell what happened, and return None where there is none."""
    try:
        code = compile(job["code"], f"{NAME}.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        tell(json.dumps(["syntax", described(error)[2]]))
        return None
    module = types.ModuleType(NAME)
    sys.modules[NAME] = module
    try:
        exec(code, module.__dict__)
    except BaseException as error:  # noqa: BLE001 - sys.exit and worse is what candidates do
        tell(json.dumps(["import", *described(error)[:2]]))
        return None
    function = module.__dict__.get(job["entry_point"])
    if not callable(function):
        tell(json.dumps(["missing"]))
        return None
    tell(json.dumps(["loaded"]))
    return function


def call_line(function: Callable, arguments: list[Any], keywords: dict[str, Any], want_after: bool) -> str:
    """Call the candidate and return the line that says what came of it: a value, an exception, or something without a form."""
    try:
        value = function(*arguments, **keywords)
    except BaseException as error:  # noqa: BLE001 - likewise
        return json.dumps(["raised", *described(error)[:2], _after(arguments) if want_after else None])
    after = _after(arguments) if want_after else None
    try:
        return json.dumps(["value", values.encode(value), after])
    except BaseException as error:  # noqa: BLE001 - what is encoded is the candidate's too
        return json.dumps(["opaque", type(value).__name__, described(error)[1], after])


def described(error: BaseException) -> tuple[list[list[str]], str, str]:
    """Return an exception's classes, the nearest first, its message, and both in one line."""
    kinds = [[str(kind.__module__), kind.__qualname__] for kind in type(error).__mro__[:-1]]
    try:
        message = str(error)[:500]
    except BaseException:  # noqa: BLE001 - __str__ is the candidate's too
        message = ""
    return kinds, message, f"{kinds[0][1]}: {message}" if message else kinds[0][1]


def _after(arguments: list[Any]) -> Any:
    try:
        return values.encode(arguments)
    except (ValueError, RecursionError):
        return None
