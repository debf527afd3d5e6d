"""Candidates for the task `clamp`, and how each must end: status, cases passed, reason."""

from typing import NamedTuple

from tests.verification.tasks import CLAMP

FIRST = "case 1 of 3: clamp(5, 0, 10)"


class Ending(NamedTuple):
    code: str
    status: str
    passed: int
    reason: str


CANDIDATES = {
    "wrong value": Ending(
        "def clamp(value, low, high): return value",
        "failed",
        1,
        "case 2 of 3: clamp(-5, 0, 10) returned -5, expected 0",
    ),
    "no exception": Ending(
        "def clamp(value, low, high): return max(low, min(value, high))",
        "failed",
        2,
        "case 3 of 3: clamp(5, 10, 0) returned 10, expected ValueError",
    ),
    "exception": Ending(
        "def clamp(value, low, high): raise ValueError('always')",
        "failed",
        1,
        f"{FIRST} raised ValueError: always, expected 5",
    ),
    "other exception": Ending(
        CLAMP.replace("ValueError", "KeyError"),
        "failed",
        2,
        "case 3 of 3: clamp(5, 10, 0) raised KeyError: 'low is above high', expected ValueError",
    ),
    "exception by name only": Ending(
        "class ValueError(Exception): pass\n" + CLAMP,
        "failed",
        2,
        "case 3 of 3: clamp(5, 10, 0) raised ValueError: low is above high, expected ValueError",
    ),
    "a kind of the exception": Ending(
        "class Low(ValueError): pass\n" + CLAMP.replace("raise ValueError", "raise Low"), "resolved", 3, ""
    ),
    "prints a little": Ending(CLAMP + "print('debug')\n", "resolved", 3, ""),
    "float is not int": Ending(
        "def clamp(*a): return float(max(0, a[0]))", "failed", 0, f"{FIRST} returned 5.0, expected 5"
    ),
    "syntax error": Ending(
        "def clamp(value, low, high) return 5",
        "invalid_patch",
        0,
        "the code does not parse: SyntaxError: expected ':' (candidate.py, line 1)",
    ),
    "parentheses": Ending(
        "(" * 500 + ")" * 500,
        "invalid_patch",
        0,
        "the code does not parse: SyntaxError: too many nested parentheses (candidate.py, line 1)",
    ),
    "empty": Ending("", "failed", 0, "the code defines no function clamp"),
    "no function": Ending("clamp = 5", "failed", 0, "the code defines no function clamp"),
    "deletes the entry point": Ending(CLAMP + "del clamp\n", "failed", 0, "the code defines no function clamp"),
    "deletes the entry point when called": Ending(
        CLAMP.replace("    return", "    globals().pop('clamp', None)\n    return"), "resolved", 3, ""
    ),
    "missing module": Ending(
        "import numpy.nowhere", "failed", 0, "loading the module raised ModuleNotFoundError: No module named 'numpy'"
    ),
    "raises when loaded": Ending("1 / 0", "failed", 0, "loading the module raised ZeroDivisionError: division by zero"),
    "sys.exit when loaded": Ending("import sys; sys.exit(0)", "failed", 0, "loading the module raised SystemExit: 0"),
    "os._exit when loaded": Ending(
        "import os; os._exit(0)", "failed", 0, "the process exited with code 0 while the module was loaded"
    ),
    "sys.exit": Ending(
        "import sys\ndef clamp(*a): sys.exit('done')", "failed", 0, f"{FIRST} raised SystemExit: done, expected 5"
    ),
    "os._exit": Ending(
        "import os\ndef clamp(*a): os._exit(0)",
        "failed",
        0,
        "the process exited with code 0 in case 1 of 3: clamp(5, 0, 10)",
    ),
    "crash": Ending(
        "import ctypes\ndef clamp(*a): ctypes.string_at(0)",
        "failed",
        0,
        "the process was killed by SIGSEGV in case 1 of 3: clamp(5, 0, 10)",
    ),
    "recursion": Ending(
        "def clamp(*a): return clamp(*a)",
        "failed",
        0,
        f"{FIRST} raised RecursionError: maximum recursion depth exceeded, expected 5",
    ),
    "memory bomb": Ending(
        "def clamp(*a): return [0] * 10 ** 10", "out_of_memory", 0, f"{FIRST} raised MemoryError, expected 5"
    ),
    "memory bomb when loaded": Ending(
        "x = [0] * 10 ** 10", "out_of_memory", 0, "loading the module raised MemoryError"
    ),
    "coroutine": Ending(
        "async def clamp(*a): return 5",
        "failed",
        0,
        f"{FIRST} returned a coroutine, because the function is async; expected 5",
    ),
    "generator": Ending(
        "def clamp(*a): yield 5", "failed", 0, f"{FIRST} returned a generator, because the function yields; expected 5"
    ),
    "object": Ending(
        "def clamp(*a): return object()",
        "failed",
        0,
        f"{FIRST} returned what cannot be judged: a value of type object has no JSON form; expected 5",
    ),
    "endless list": Ending(
        "def clamp(*a):\n  x = []\n  x.append(x)\n  return x",
        "failed",
        0,
        f"{FIRST} returned what cannot be judged: the value is nested deeper than 100 levels; expected 5",
    ),
    "exception that cannot be printed": Ending(
        "class E(Exception):\n  def __str__(self): raise E\ndef clamp(*a): raise E",
        "failed",
        0,
        f"{FIRST} raised E, expected 5",
    ),
    "control characters": Ending(
        "def clamp(*a): return '\\x1b[2J\\n' * 3",
        "failed",
        0,
        FIRST + r" returned '\x1b[2J\n\x1b[2J\n\x1b[2J\n', expected 5",
    ),
    "long values": Ending(
        "def clamp(*a): return 'x' * 1000", "failed", 0, f"{FIRST} returned '{'x' * 76}..., expected 5"
    ),
}
