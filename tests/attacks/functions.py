"""Candidates for a function that try to be judged right without being right.

They are wrong on purpose: whatever they reach inside the sandbox, the expected values and the judgement are outside.
"""

from rllm_assets.data.issues import FunctionTask
from tests.verification.tasks import case, task

# A value that no candidate can guess; wherever it turned up inside, an attack below would find and return it.
SECRET = "needle-7f1d0c59"


def secret() -> FunctionTask:
    """A function whose values nobody can guess."""
    fixed = f"def find(x): return {SECRET!r} if x else None"
    return task("find", case(1, returns=SECRET), case(0, returns=None), case(2, returns=SECRET), fixed_code=fixed)


ATTACKS = {
    "leaves with success": "import os\ndef find(x): os._exit(0)",
    "leaves at once": "import os; os._exit(0)",
    "equals everything": "class Yes(str):\n  def __eq__(self, other): return True\ndef find(x): return Yes()",
    "is any type": "class Any:\n  __class__ = str\n  def __eq__(self, other): return True\ndef find(x): return Any()",
    "says the right type": "class Yes(str): pass\nYes.__name__ = 'str'\ndef find(x): return Yes('x')",
    "looks through frames": """
import sys
def find(x):
    frame = sys._getframe()
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            text = repr(value)
            if "need" + "le-" in text:
                start = text.index("need" + "le-")
                return text[start:start + 15] if x else None
        frame = frame.f_back
""",
    "looks through the heap": """
import gc
def find(x):
    for item in gc.get_objects():
        for value in gc.get_referents(item):
            if type(value) in (str, bytes) and ("need" + "le-") in str(value):
                text = str(value)
                start = text.index("need" + "le-")
                return text[start:start + 15] if x else None
""",
    "looks through descriptors": """
import os
def find(x):
    for descriptor in range(64):
        try:
            text = repr(os.pread(descriptor, 1 << 20, 0))
        except OSError:
            continue
        if "need" + "le-" in text:
            start = text.index("need" + "le-")
            return text[start:start + 15] if x else None
""",
    "looks through raw memory": """
import ctypes
def find(x):
    here = id(find) & ~4095
    for page in range(here, here + (1 << 18), 4096):
        text = ctypes.string_at(page, 4096)
        start = text.find(b"need" + b"le-")
        if start >= 0:
            return text[start:start + 15].decode() if x else None
""",
    "writes its own results": """
import json, os
for line in (["loaded"], ["value", None, None], ["resolved"], ["value", None, None], ["value", None, None]):
    os.write(3, json.dumps(line).encode() + b"\\n")
os._exit(0)
""",
    "rewrites the results": """
import os
def find(x):
    os.lseek(3, 0, 0)
    os.ftruncate(3, 0)
    os.write(3, b'["loaded"]\\n' + b'["value", true, null]\\n' * 3)
    os._exit(0)
""",
    "closes the results": "import os\nos.close(3)\ndef find(x): return None",
    "says that the sandbox failed": "import os\nos.write(1, b'!')\nos._exit(97)",
    "says that it has not started": "import os\nos.lseek(3, 0, 0)\nos.write(3, b'!')\nos._exit(97)",
    "patches the runner": """
import sys
runner = sys.modules["rllm_assets.verification.function_program"]
runner.call_line = lambda *a: '["value", null, null]'
runner.json.dumps = lambda *a: "true"
def find(x): return None
""",
    "patches the comparison": """
import sys
for name, module in list(sys.modules.items()):
    for attribute in ("same", "judge_cases", "_same", "resolved"):
        if hasattr(module, attribute):
            setattr(module, attribute, lambda *a, **k: True)
def find(x): return None
""",
    "patches the built-ins": """
import builtins
builtins.all = builtins.any = lambda items: True
builtins.len = lambda x: 0
builtins.type = lambda *a: str
builtins.isinstance = lambda *a: True
def find(x): return None
""",
    "forks and lets both report": "import os\ndef find(x):\n  os.fork()\n  return None",
    "leaves a daemon that reports": """
import os, time
if os.fork() == 0:
    os.setsid()
    while True:
        os.write(3, b'["value", null, null]\\n')
        time.sleep(0.001)
def find(x): return None
""",
    "kills everybody": """
import os
def find(x):
    for pid in range(-1, 50):
        try:
            os.kill(pid, 9)
        except OSError:
            pass
""",
    "traces": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\ndef find(x): return None",
    "hooks the exit": "import atexit, os\natexit.register(os._exit, 0)\ndef find(x): raise SystemExit(0)",
    "swaps the standard streams": "import sys\nsys.stdout = sys.stderr = sys.stdin = None\ndef find(x): return None",
    "reads the fix": """
import os
def find(x):
    for directory, inner, files in os.walk("/"):
        inner[:] = [name for name in inner if not name.startswith(("usr", "lib"))]
        if "library.py" in files:
            return open(directory + "/library.py").read()
""",
    "exceeds the parser": "import os\ndef find(x):\n  os.write(3, b'[' * 100_000 + b'\\n')\n  os._exit(0)",
    "a number too long to read": "import os\ndef find(x):\n  os.write(3, b'[' + b'9' * 100_000 + b']\\n')\n  os._exit(0)",
    "not UTF-8": "import os\ndef find(x):\n  os.write(3, b'[\"\\xff\"]\\n')\n  os._exit(0)",
    "forms that no value has": """
import os
def find(x):
    for form in ('{"$set": 5}', '{"$dict": [1]}', '{"$float": []}', '{"$tuple": null}', '{"$x": 1}', 'NaN', '1e999'):
        os.write(3, b'["value", ' + form.encode() + b', null]\\n')
    os._exit(0)
""",
}
