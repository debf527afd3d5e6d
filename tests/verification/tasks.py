"""Small function tasks to judge candidates by."""

from typing import Any

from rllm_assets.data.issues import Case, FunctionTask
from rllm_assets.data.values import encode

CLAMP = """\
def clamp(value, low, high):
    if low > high:
        raise ValueError("low is above high")
    return max(low, min(value, high))
"""


def task(entry_point: str, *cases: Case, timeout_seconds: float = 20.0, **fields: Any) -> FunctionTask:
    return FunctionTask(
        module="library.py",
        entry_point=entry_point,
        buggy_code="",
        fixed_code=fields.pop("fixed_code", ""),
        cases=cases,
        timeout_seconds=timeout_seconds,
        **fields,
    )


def case(*args: Any, **outcome: Any) -> Case:
    """A case in plain values."""
    encoded = {name: encode(outcome.pop(name)) for name in ("returns", "args_after") if name in outcome}
    return Case(args=[encode(value) for value in args], **encoded, **outcome)


def clamp(timeout_seconds: float = 20.0) -> FunctionTask:
    """Three cases: a value, a limit, an exception."""
    return task(
        "clamp",
        case(5, 0, 10, returns=5),
        case(-5, 0, 10, returns=0),
        case(5, 10, 0, raises="ValueError"),
        timeout_seconds=timeout_seconds,
    )
