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

_NAME = "candidate"


def main(payload: int, result: int) -> None:
    """Read a job from `payload` and write one JSON line an event to `result`."""
    with open(payload, "rb") as file:
        job = json.loads(file.read())

    def tell(line: str) -> None:
        write(result, line)

    function = load(job, tell)
    if function is None:
        return
    for call in job["calls"]:
        arguments = [values.decode(form) for form in call["args"]]
        tell(call_line(function, arguments, call["after"]))


def write(descriptor: int, line: str) -> None:
    """Write one line whole."""
    data = line.encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]


def load(job: dict, tell: Callable[[str], None]) -> Callable | None:
    """Return the candidate's function; tell what happened, and return None where there is none."""
    try:
        code = compile(job["code"], f"{_NAME}.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        tell(json.dumps(["syntax", f"{type(error).__name__}: {error}"]))
        return None
    module = types.ModuleType(_NAME)
    sys.modules[_NAME] = module
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        tell(json.dumps(["import", *described(error)]))
        return None
    function = module.__dict__.get(job["entry_point"])
    if not callable(function):
        tell(json.dumps(["missing"]))
        return None
    tell(json.dumps(["loaded"]))
    return function


def call_line(function: Callable, arguments: list[Any], want_after: bool) -> str:
    """Call the candidate and return the line that says what came of it: a value, an exception, or something without a form."""
    event: list[Any]
    try:
        event = ["value", function(*arguments)]
    except BaseException as error:
        event = ["raised", *described(error)]
    after = _after(arguments) if want_after else None
    try:
        if event[0] == "value":
            event[1] = values.encode(event[1])
        return json.dumps([*event, after])
    except BaseException as error:
        return json.dumps(["opaque", described(error)[1], after])


def described(error: BaseException) -> tuple[list[list[str]], str]:
    """Return an exception's classes, the nearest first, and its message."""
    try:
        message = str(error)[:500]
    except BaseException:
        message = ""
    return [[str(kind.__module__), kind.__qualname__] for kind in type(error).__mro__[:-1]], message


def _after(arguments: list[Any]) -> Any:
    try:
        return values.encode(arguments)
    except (ValueError, RecursionError):
        return None
