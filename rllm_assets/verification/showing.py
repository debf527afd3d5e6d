"""Short, harmless text for a person out of values that nobody vouches for."""

import json
from typing import Any

_LONGEST_VALUE, _LONGEST_LINE = 80, 300


def show(form: Any) -> str:
    """Return an encoded value about as Python would print it, cut when it is long."""
    try:
        text = _show(form, 0)
    except RecursionError:
        text = "..."
    return one_line(text, _LONGEST_VALUE)


def one_line(text: str, longest: int = _LONGEST_LINE) -> str:
    """Return `text` on one line, without control characters, cut when it is long."""
    text = "".join(char if char.isprintable() else " " for char in text[: longest + 1].replace("\n", " "))
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _show(form: Any, depth: int) -> str:
    if depth > 20:
        return "..."
    if isinstance(form, list):
        return f"[{_items(form, depth)}]"
    if not isinstance(form, dict):
        return repr(form)
    match form:
        case {"$tuple": [item]}:
            return f"({_show(item, depth + 1)},)"
        case {"$tuple": list(items)}:
            return f"({_items(items, depth)})"
        case {"$set": []}:
            return "set()"
        case {"$set": list(items)}:
            return f"{{{_items(items, depth)}}}"
        case {"$frozenset": list(items)}:
            return f"frozenset({{{_items(items, depth)}}})"
        case {"$float": str(text)}:
            return text
        case {"$dict": list(pairs)} if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            return (
                "{" + ", ".join(f"{_show(key, depth + 1)}: {_show(item, depth + 1)}" for key, item in pairs[:50]) + "}"
            )
        case _ if any(key.startswith("$") for key in form):
            return json.dumps(form)[:_LONGEST_VALUE]
        case _:
            return "{" + ", ".join(f"{key!r}: {_show(item, depth + 1)}" for key, item in list(form.items())[:50]) + "}"


def _items(items: list[Any], depth: int) -> str:
    return ", ".join(_show(item, depth + 1) for item in items[:50])
