"""Code that takes what it can get; each with how the sandbox ends it."""

from typing import NamedTuple


class Greed(NamedTuple):
    code: str
    endings: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Its deadline: what is ended for its memory and not its time shall have the time, on a busy machine too."""
        return 1.0 if "timeout" in self.endings else 30.0


ATTACKS = {
    "forks without end": Greed("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", ("timeout",)),
    "starts threads without end": Greed(
        "import threading, time\nwhile True:\n  try: threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "  except (RuntimeError, MemoryError): pass",
        ("timeout",),
    ),
    "takes memory in one process": Greed("x = [bytearray(1 << 20) for _ in range(1 << 20)]", ("exited",)),
    "takes memory in many processes": Greed(
        "import os\nfor _ in range(8):\n  if os.fork() == 0: break\nblock = bytearray(b'x' * (200 << 20))\nwhile True: pass",
        ("out_of_memory",),
    ),
    "fills the disk": Greed(
        "n = 0\nwhile True:\n  try: open(f'/tmp/{n}', 'w').write('x' * 1_000_000)\n  except OSError: pass\n  n += 1",
        ("timeout",),
    ),
    "makes files without end": Greed(
        "n = 0\nwhile True:\n  try: open(f'/tmp/{n}', 'w').close()\n  except OSError: pass\n  n += 1", ("timeout",)
    ),
    "floods the output": Greed("while True: print('x' * 10_000)", ("flooded",)),
    "floods the results": Greed("while True: tell('x' * 10_000)", ("flooded", "exited")),
    "loops in C": Greed("sum(range(10 ** 12))", ("timeout",)),
    "sleeps": Greed("import time; time.sleep(60)", ("timeout",)),
    "ignores signals": Greed(
        "import signal\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n  except OSError: pass\n"
        "while True: pass",
        ("timeout",),
    ),
    "leaves a daemon": Greed(
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    os.closerange(1, 9)\n"
        "    time.sleep(60)\n  os._exit(0)",
        ("exited",),
    ),
    "signals everybody": Greed("import os; os.kill(-1, 9)", ("exited", "signalled")),
    "locks its directory": Greed("import os; os.chmod('/tmp', 0)", ("exited",)),
    "nests directories without end": Greed(
        "import os\nwhile True:\n  try: os.mkdir('d'); os.chdir('d')\n  except OSError: break", ("exited", "timeout")
    ),
    "grows the results without writing": Greed(
        "import os\ntry: os.ftruncate(3, 1 << 40)\nexcept OSError: os.ftruncate(3, 60 << 20)", ("flooded",)
    ),
    "grows the task without writing": Greed(
        "import os\nfor n in range(64):\n  try: os.ftruncate(n, 1 << 40)\n  except OSError: pass",
        ("exited", "signalled"),
    ),
    "fills pipes without end": Greed(
        "import fcntl, os\nwhile True:\n  try:\n    _, end = os.pipe()\n    fcntl.fcntl(end, 1031, 1 << 20)\n"
        "    os.set_blocking(end, False)\n    os.write(end, bytes(1 << 20))\n  except OSError: pass",
        ("timeout",),
    ),
    "leaves a stopped process": Greed("import os\nif os.fork() == 0: os.kill(os.getpid(), 19)", ("exited",)),
    "leaves one that waits for a lock": Greed(
        "import fcntl, os\nwith open('/tmp/lock', 'w') as file:\n  fcntl.flock(file, fcntl.LOCK_EX)\n  if os.fork() == 0:\n"
        "    with open('/tmp/lock', 'w') as other: fcntl.flock(other, fcntl.LOCK_EX)",
        ("exited",),
    ),
    "stacks timers": Greed(
        "import ctypes\nlibc = ctypes.CDLL(None)\nwhile True: libc.syscall(222, 1, None, ctypes.byref(ctypes.c_int()))",
        ("timeout",),
    ),
}
