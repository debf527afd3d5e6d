"""Honest functions that return 7 and use what honest Python uses."""

ORDINARY = {
    "asyncio": """
import asyncio
async def wait():
  await asyncio.sleep(0)
  return 7
def f(): return asyncio.run(wait())
""",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
def f(): return sum(ThreadPoolExecutor(4).map(int, '124'))
""",
    "files": """
import tempfile
def f():
  with tempfile.TemporaryFile('w+') as t:
    t.write('7')
    t.seek(0)
    return int(t.read())
""",
    "subprocess": """
import subprocess, sys
def f():
  return len(subprocess.check_output([sys.executable, '-S', '-c', 'print(10**5)']))
""",
    "database": """
import sqlite3
def f(): return sqlite3.connect('/tmp/d').execute('select 7').fetchone()[0]
""",
    "signals": """
import signal
def f():
  signal.signal(signal.SIGALRM, lambda *a: None)
  signal.alarm(1)
  return 7
""",
    "dataclasses": """
from dataclasses import dataclass
@dataclass
class P:
  x: 'int'
def f(): return P(7).x
""",
    "types": """
import typing
class P(typing.NamedTuple):
  x: int
def f(): return typing.get_type_hints(P) == {'x': int} and 7
""",
    "dates": """
import datetime, time
def f(): return 7 if time.timezone == 0 and datetime.datetime.now().year > 2000 else 0
""",
    "numbers": """
import decimal, fractions, math, random, statistics, hashlib, zlib
def f(): return math.floor(statistics.mean([7, 7]))
""",
    "text": """
import re, string, json, textwrap, unicodedata, csv, io
def f(): return len(re.findall('a', 'a' * 7))
""",
    "collections": """
import collections, heapq, bisect, itertools, functools, copy, enum, abc, operator
def f(): return 7
""",
    "recursion": """
import sys
sys.setrecursionlimit(20000)
def g(n): return n and 1 + g(n - 1)
def f(): return g(10000) - 9993
""",
    "main guard": """
def f(): return 7
if __name__ == '__main__': raise SystemExit
""",
}
