"""Python values as JSON that keeps their exact types.

Function tasks cross the sandbox border as JSON. Plain JSON forgets the difference between a tuple and a list, has no set,
no bytes and no infinity, so those travel in tagged objects such as ``{"$tuple": [1, 2]}``. This module imports nothing but
the standard library: the sandbox loads it too.
"""

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any

JsonValue = Any
"""What `json.dumps` accepts, with the tags of this module."""

MAX_DEPTH = 100


class NotEncodableError(ValueError):
    """A value has no exact JSON form: an object, a generator, a coroutine, or something nested too deeply."""


def encode(value: Any, depth: int = 0) -> JsonValue:
    """Return the JSON form of `value`.

    Only the exact built-in types are accepted; a subclass could lie about itself. Sets are listed in the order of their
    members' JSON so that equal sets have equal forms.

    Raises:
        NotEncodableError: for any other type, and for values nested deeper than `MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        raise NotEncodableError(f"the value is nested deeper than {MAX_DEPTH} levels")
    kind = type(value)
    if kind in (type(None), bool, int, str):
        return value
    if kind is float:
        # -0.0 survives json; nan and the infinities are not JSON.
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is list:
        return [encode(item, depth + 1) for item in value]
    if kind is tuple:
        return {"$tuple": [encode(item, depth + 1) for item in value]}
    if kind in (set, frozenset):
        members = sorted((encode(item, depth + 1) for item in value), key=repr)
        return {"$set" if kind is set else "$frozenset": members}
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: encode(item, depth + 1) for key, item in value.items()}
        return {"$dict": [[encode(key, depth + 1), encode(item, depth + 1)] for key, item in value.items()]}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode()}
    if kind is complex:
        return {"$complex": [encode(value.real), encode(value.imag)]}
    raise NotEncodableError(f"a value of type {kind.__qualname__} has no JSON form")


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "$float": float,
    "$tuple": lambda items: tuple(decode(item) for item in items),
    "$set": lambda items: {decode(item) for item in items},
    "$frozenset": lambda items: frozenset(decode(item) for item in items),
    "$dict": lambda pairs: {decode(key): decode(item) for key, item in pairs},
    "$bytes": base64.b64decode,
    "$complex": lambda parts: complex(decode(parts[0]), decode(parts[1])),
}


def decode(form: JsonValue) -> Any:
    """Return the value that `encode` made `form` from.

    Raises:
        ValueError: for an unknown tag.
    """
    if isinstance(form, list):
        return [decode(item) for item in form]
    if not isinstance(form, dict):
        return form
    if len(form) == 1:
        (tag, content), *_ = form.items()
        if tag.startswith("$"):
            if tag not in _DECODERS:
                raise ValueError(f"unknown tag {tag!r}; known are {', '.join(_DECODERS)}")
            return _DECODERS[tag](content)
    return {key: decode(item) for key, item in form.items()}


def same(actual: JsonValue, expected: JsonValue, tolerance: float = 1e-9) -> bool:
    """Tell whether two encoded values are the same value of the same type.

    ``True`` is not ``1``, ``1`` not ``1.0``, a tuple not a list, nan equals nan, ``-0.0`` is not ``0.0``. Other floats may
    differ by `tolerance`, absolute below 1 and relative above. The order of a dict's keys does not matter.
    """
    if type(actual) is not type(expected):
        return False
    if isinstance(expected, float):
        if expected == 0.0 and actual == 0.0:
            return math.copysign(1.0, actual) == math.copysign(1.0, expected)
        return actual == expected or abs(actual - expected) <= tolerance * max(1.0, abs(expected))
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(
            same(a, b, tolerance) for a, b in zip(actual, expected, strict=True)
        )
    if isinstance(expected, dict):
        if "$dict" in expected and "$dict" in actual:
            return _same_members(actual["$dict"], expected["$dict"], tolerance)
        for tag in ("$set", "$frozenset"):
            if tag in expected and tag in actual:
                return _same_members(actual[tag], expected[tag], tolerance)
        return actual.keys() == expected.keys() and all(same(actual[k], expected[k], tolerance) for k in expected)
    return actual == expected


def _same_members(actual: list[Any], expected: list[Any], tolerance: float) -> bool:
    if len(actual) != len(expected):
        return False
    # Equal ones first: comparing each with each takes long, and hostile answers would make it take longest.
    left: dict[str, list[Any]] = {}
    for item in actual:
        left.setdefault(repr(item), []).append(item)
    missing = []
    for member in expected:
        equal = left.get(repr(member))
        if equal:
            equal.pop()
        else:
            missing.append(member)
    rest = [item for items in left.values() for item in items]
    for member in missing:
        match = next((i for i, item in enumerate(rest) if same(item, member, tolerance)), None)
        if match is None:
            return False
        rest.pop(match)
    return True
