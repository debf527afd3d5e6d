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
    "is a number that equals everything": """
class Yes(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
class Items(list):
    def __iter__(self): return iter([Yes()])
    def __len__(self): return 1
def find(x): return Items([Yes()])
""",
    "lies to the encoder about its type": """
import builtins
kinds = builtins.type
class Yes:
    def __eq__(self, other): return True
builtins.type = lambda *a: str if kinds(a[0]) is Yes else kinds(*a)
def find(x): return Yes()
""",
    "takes over the encoder": """
import json, json.encoder
json.encoder.c_make_encoder = None
json.encoder.JSONEncoder.iterencode = lambda self, value, _one_shot=False: iter(['["value", null, null]'])
def find(x): return None
""",
    "says a key twice": """
import os
def find(x):
    os.write(3, b'["value", {"$dict": [], "$dict": "needle", "$set": []}, null]\\n')
    os._exit(0)
""",
    "nests its value as deep as it goes": """
import os
def find(x):
    for tag in (b'[', b'{"$set": [', b'{"$dict": [[', b'{"a": '):
        close = {b'[': b']', b'{"$set": [': b']}', b'{"$dict": [[': b', 1]]}', b'{"a": ': b'}'}[tag]
        os.write(3, b'["value", ' + tag * 900 + b'1' + close * 900 + b', null]\\n')
    os._exit(0)
""",
    "spells what JSON has not": """
import os
def find(x):
    os.write(3, b'["value", NaN, null]\\n["value", -Infinity, null]\\n["value", {"$float": "needle"}, null]\\n')
    os._exit(0)
""",
    "lone surrogates": "def find(x):\n  if x: return '\\ud800needle\\udfff'\n  raise ValueError('\\udcff' * 300)",
    "a value as large as it gets": "def find(x): return ['\\u2028' * 9] * 20_000",
    "a value that never ends": "import itertools\ndef find(x): return itertools.repeat('needle')",
    "a mapping that makes its values up": """
class Any(dict):
    def __missing__(self, key): return self
    def __eq__(self, other): return True
    def items(self): return [("needle", "needle")]
def find(x): return Any()
""",
    "an exception of every kind": """
class Any(type):
    def __instancecheck__(cls, other): return True
    def __subclasscheck__(cls, other): return True
    def mro(cls): return [cls, *Exception.__mro__]
class Yes(Exception, metaclass=Any): __module__ = "builtins"
Yes.__qualname__ = "needle"
def find(x): raise Yes
""",
    "a thread that reports later": """
import os, threading, time
def report():
    while True:
        os.write(3, b'["value", null, null]\\n')
        time.sleep(0.0005)
threading.Thread(target=report, daemon=True).start()
def find(x): time.sleep(0.01)
""",
    "an alarm between the cases": """
import os, signal
def report(*_):
    os.write(3, b'["value", null, null]\\n')
signal.signal(signal.SIGALRM, report)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
def find(x):
    for _ in range(10 ** 5): pass
""",
    "answers when it is thrown away": """
import os
class Late:
    def __del__(self): os.write(3, b'["value", null, null]\\n' * 3)
def find(x): return Late()
""",
    "maps the results and rewrites them": """
import mmap, os
def find(x):
    os.ftruncate(3, 4096)
    with mmap.mmap(3, 4096) as result:
        text = b'["loaded"]\\n' + b'["value", null, null]\\n' * 3
        result[:len(text)] = text
    os.ftruncate(3, len(text))
    os._exit(0)
""",
    "rewrites its task": """
import json, os, sys
frame = sys._getframe()
while frame:
    for value in list(frame.f_locals.values()):
        if type(value) is dict and "calls" in value:
            value["calls"] = []
    frame = frame.f_back
def find(x): return None
""",
    "imports what it wrote": """
import os, sys
for name in ("json", "base64", "sitecustomize", "candidate"):
    open(f"/tmp/{name}.py", "w").write("def loads(*a, **k): return ['value', None, None]\\ndumps = loads\\n")
open("/tmp/x.pth", "w").write("import os; os._exit(0)\\n")
sys.path.insert(0, "/tmp")
sys.modules.pop("json")
import json
def find(x): return None
""",
    "a finder of its own": """
import importlib.abc, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        open("/tmp/seen", "a").write(name)
sys.meta_path.insert(0, Finder())
sys.path_hooks.insert(0, lambda path: Finder())
def find(x): return open("/tmp/seen").read()
""",
    "outlives its deadline": """
import os, signal, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
if os.fork() == 0:
    os.setsid()
    time.sleep(0.05)
    os.write(3, b'["value", null, null]\\n' * 3)
    os._exit(0)
def find(x): os._exit(0)
""",
    "starts itself anew": """
import os, sys
def find(x):
    os.set_inheritable(3, True)
    code = "import json, os; os.write(3, (json.dumps(['value', None, None]) + chr(10)).encode() * 2)"
    os.execve(sys._base_executable or sys.executable, ["python", "-S", "-c", code], {})
""",
}
