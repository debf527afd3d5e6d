"""Candidates for a function with a published suite of assertions that try to pass it without being right."""

from rllm_assets.data.issues import FunctionTask
from tests.verification.tasks import task

SUITE = """\
import random

def check(candidate):
    for _ in range(20):
        x = random.randint(0, 100)
        assert abs(candidate(x) - half(x)) < 1e-9, f"half of {x}"
    try:
        candidate("a")
    except TypeError:
        pass
    else:
        assert False, "no TypeError"
    items = [4, 2]
    assert candidate(items) is None
    assert items == [2.0, 1.0]
    assert candidate(x=8) == 4

check(halve)
"""
FIXED = """\
def half(x):
    return x / 2

def halve(x):
    if isinstance(x, list):
        x[:] = [half(item) for item in x]
        return None
    return half(x)
"""

# Says nothing where its loop ends early.
LOOP = """\
def check(candidate):
    for got, want in zip(map(candidate, [2, 4]), [1.0, 2.0]):
        assert got == want

check(halve)
"""


def halve(attack: str = "") -> FunctionTask:
    """A function that its suite calls in every way, or in the way that an attack is aimed at."""
    return task("halve", fixed_code=FIXED, test_code=AIMED_AT.get(attack, SUITE))


ATTACKS = {
    "os._exit": "import os\ndef halve(x): os._exit(0)",
    "equals everything": """
class Yes:
    def __eq__(self, other): return True
    def __lt__(self, other): return True
    def __sub__(self, other): return self
    def __abs__(self): return self
def halve(x): return Yes()
""",
    "redefines the helper": "def half(x): return 0.0\ndef halve(x): return 0.0",
    "patches built-ins": "import builtins\nbuiltins.AssertionError = Exception\nbuiltins.abs = len\ndef halve(x): return 0",
    "looks through frames": """
import sys
def halve(x):
    frame = sys._getframe()
    while frame:
        for name in ("half", "test_code", "suite", "nonce"):
            if name in frame.f_globals or name in frame.f_locals:
                return frame.f_globals["half"](x)
        frame = frame.f_back
""",
    "writes to every descriptor": """
import os
def halve(x):
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'["suite", "passed", "", ""]\\n')
        except OSError:
            pass
    os._exit(0)
""",
    "reads every descriptor": """
import os, re
def halve(x):
    for descriptor in range(64):
        try:
            text = os.pread(descriptor, 1 << 20, 0)
        except OSError:
            continue
        word = re.search(rb'"nonce": "(\\\\w+)"', text)
        if word:
            os.write(3, b'["suite", "passed", "", "' + word[1] + b'"]')
""",
    "kills the suite": "import os\ndef halve(x):\n  os.kill(1, 9)\n  os.kill(os.getppid(), 9)\n  os._exit(0)",
    "kills the suite at once": "import os\nos.kill(1, 9); os.kill(1, 15); os._exit(0)",
    "hand-written answers": """
import os
def halve(x):
    for descriptor in range(3, 16):
        try:
            os.write(descriptor, b'["value", {"$float": "nan"}, null]\\n' * 50)
        except OSError:
            pass
""",
    "forms that no value has": """
import os
def halve(x):
    for descriptor in range(3, 16):
        for form in (b'5', b'[]', b'["value"]', b'["value", {"$set": 5}, 7]', b'["raised", 5, 5, null]', b'{', b'\\xff'):
            try:
                os.write(descriptor, form + b'\\n')
            except OSError:
                pass
    return 1
""",
    "leaves at the second call": """
import os
def halve(x, seen=[]):
    seen.append(x)
    if len(seen) > 1:
        os._exit(0)
    return x / 2
""",
    "ends the suite's loop": "def halve(x): raise StopIteration",
    "ends the suite's loop by a kind of its own": "class Last(StopIteration): pass\ndef halve(x): raise Last",
    "limits the suite": """
import os, resource
def halve(x):
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS):
        resource.prlimit(os.getppid(), kind, (0, 0))
    return 0
""",
    "stops the suite and answers for it": """
import os, signal
def halve(x):
    os.kill(os.getppid(), signal.SIGSTOP)
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'["suite", "passed", "", ""]\\n')
        except OSError:
            pass
    os.kill(os.getppid(), signal.SIGCONT)
    os._exit(0)
""",
    "empties the suite's values": """
def halve(x):
    if isinstance(x, (list, dict, set)):
        x.clear()
    return None
""",
}

AIMED_AT = {name: LOOP for name in ATTACKS if name.startswith("ends the suite's loop")}
