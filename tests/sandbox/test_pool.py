"""How jobs end, and what they cannot do to each other and to the pool."""

import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rllm_assets.sandbox import launch
from rllm_assets.sandbox import pool as pool_module
from rllm_assets.sandbox.jobs import Limits, SandboxError
from rllm_assets.sandbox.pool import Pool
from tests.sandbox.conftest import PYTHON, Run, python_job


def test_a_job_that_returns(run: Run) -> None:
    outcome = run("tell({'answer': 42}); print('hello')")
    assert (outcome.ended, outcome.code) == ("exited", 0)
    assert outcome.result == b"{'answer': 42}"
    assert outcome.output == b"hello\n"
    assert 0 < outcome.seconds < 20


@pytest.mark.parametrize(
    ("code", "ended", "number"),
    [
        ("import os; os._exit(7)", "exited", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL); tell('alive')", "exited", 0),
        ("import ctypes; ctypes.string_at(0)", "signalled", signal.SIGSEGV),
        ("raise SystemExit(3)", "exited", 0),
        ("1 / 0", "exited", 0),
    ],
)
def test_the_ending_is_told(run: Run, code: str, ended: str, number: int) -> None:
    outcome = run(code)
    assert (outcome.ended, outcome.code) == (ended, number)


def test_the_deadline_ends_every_process_of_a_job(run: Run, pool: Pool) -> None:
    outcome = run("import os\nfor _ in range(5): os.fork()\nwhile True: pass", seconds=0.1)
    assert outcome.ended == "timeout"
    assert 0.1 <= outcome.seconds < 10
    assert pool.survivors() == []


def test_a_deadline_in_c_code(run: Run) -> None:
    assert run("sum(range(10 ** 12))", seconds=0.1).ended == "timeout"


def test_ignored_signals_do_not_help(run: Run) -> None:
    ignore = "for n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n  except OSError: pass"
    code = f"import signal\n{ignore}\nwhile True: pass"
    assert run(code, seconds=0.1).ended == "timeout"


def test_output_is_capped(run: Run) -> None:
    outcome = run("while True: print('x' * 10000)", output_bytes=100_000)
    assert outcome.ended == "flooded"
    assert len(outcome.output) <= 200_000


def test_results_are_capped(run: Run) -> None:
    outcome = run("for _ in range(100): tell('x' * 10000)", result_bytes=50_000)
    assert outcome.ended == "flooded"
    assert len(outcome.result) == 50_000


def test_output_need_not_be_text(run: Run) -> None:
    outcome = run(r"import os; os.write(1, b'\xff\xfe\x00'); os.write(2, b'\x80')")
    assert (outcome.ended, outcome.output) == ("exited", b"\xff\xfe\x00\x80")


def test_a_memory_error_comes_before_the_watch(run: Run) -> None:
    outcome = run("try: bytearray(200 << 20)\nexcept MemoryError: tell('refused')", memory_mb=128)
    assert (outcome.ended, outcome.result) == ("exited", b"'refused'")


def test_memory_is_counted_over_all_processes(run: Run, pool: Pool) -> None:
    code = "import os\nfor _ in range(6):\n  if os.fork() == 0: break\nblock = bytearray(b'x' * (40 << 20))\nwhile True: pass"
    assert run(code, memory_mb=128).ended == "out_of_memory"
    assert pool.survivors() == []


@pytest.mark.parametrize(
    "take",
    [
        "import mmap; mmap.mmap(-1, 1 << 20)",
        "import os; os.memfd_create('hidden')",
        "import ctypes; r = ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600)\nif r < 0: raise OSError",
        "open('/dev/shm/hidden', 'wb')",
        "open('/dev/zero', 'rb')",
    ],
)
def test_memory_that_the_watch_cannot_see_is_not_given(run: Run, take: str) -> None:
    outcome = run(f"try:\n  exec({take!r})\nexcept OSError: tell('refused')")
    assert outcome.result == b"'refused'"


def test_a_fork_bomb_is_stopped_and_reaped(run: Run, pool: Pool) -> None:
    outcome = run("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", seconds=0.3, processes=20)
    assert outcome.ended == "timeout"
    assert pool.survivors() == []
    assert run("tell('next')").result == b"'next'"


def test_processes_and_threads_are_limited(run: Run) -> None:
    code = (
        "import os, time\nnumber = 0\ntry:\n"
        "  while number < 100:\n    if os.fork() == 0:\n      time.sleep(60)\n    number += 1\n"
        "except OSError: tell(number)"
    )
    assert run(code, processes=20).result == b"19"


def test_daemons_do_not_outlive_the_job(run: Run, pool: Pool) -> None:
    code = (
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    os.close(1); os.close(2); os.close(3)\n"
        "    time.sleep(60)\n  os._exit(0)\nos.wait()\ntell('left')"
    )
    assert run(code).result == b"'left'"
    assert pool.survivors() == []


def test_the_directory_is_small_and_empty_each_time(run: Run) -> None:
    fill = (
        "written = 0\ntry:\n  for n in range(200):\n    with open(f'/tmp/{n}', 'wb') as file: file.write(b'x' * (1 << 20))\n"
        "    written += 1\nexcept OSError: tell(written)"
    )
    assert int(run(fill).result) <= 64
    assert run("import os; tell(os.listdir('/tmp'))").result == b"[]"
    many = "n = 0\ntry:\n  while n < 100000:\n    open(f'/tmp/{n}', 'w').close()\n    n += 1\nexcept OSError: tell(n)"
    assert int(run(many).result) < 4096
    assert run("import os; tell(os.listdir('/tmp'))").result == b"[]"


@pytest.mark.parametrize(
    "spoil", ["os.chmod('/tmp', 0)", "os.mkdir('/tmp/a'); os.chmod('/tmp/a', 0)", "os.symlink('/', '/tmp/a')"]
)
def test_a_spoiled_directory_is_replaced(run: Run, spoil: str) -> None:
    assert run(f"import os; {spoil}; tell('spoiled')").result == b"'spoiled'"
    fresh = run("import os; open('/tmp/mine', 'w').close(); tell((oct(os.stat('/tmp').st_mode), os.listdir('/tmp')))")
    assert fresh.result == b"('0o41777', ['mine'])"


def test_signalling_everybody_reaches_the_job_alone(run: Run, pool: Pool) -> None:
    run("tell('first')")
    (before,) = pool.zygotes()
    run("import os\ntry: os.kill(-1, 9)\nexcept OSError: pass\ntry: os.killpg(0, 9)\nexcept OSError: pass")
    assert run("tell('next')").result == b"'next'"
    assert pool.zygotes() == [before]


def test_jobs_leave_nothing_in_memory_for_the_next(run: Run) -> None:
    first = run("secret = 'needle-' + 'in-the-heap' * 3; tell(len(secret))")
    assert first.ended == "exited"
    search = """
import ctypes
spread = [bytes(64) for _ in range(1000)]
low = min(id(block) for block in spread) & ~4095
found = False
for page in range(low, low + (64 << 10), 4096):
    found = found or (b'needle-' + b'in-the-heap') in ctypes.string_at(page, 4096)
tell(found)
"""
    # The search's own text holds the two halves apart.
    assert run(search).result == b"False"


def test_randomness_and_hashes_repeat(run: Run) -> None:
    code = "import random; tell((random.random(), hash('a'), list({'x', 'y', 'z'})))"
    assert run(code).result == run(code).result


def test_the_order_of_sets_is_the_same_in_every_zygote(strong: None) -> None:
    results = set()
    for _ in range(2):
        with Pool("strong", (PYTHON,), 1, Limits()) as pool:
            results.add(pool.run(python_job("tell(list({'x', 'y', 'z', 'u', 'v', 'w'}))")).result)
    assert len(results) == 1


def test_a_zygote_that_dies_is_replaced_and_the_job_run_again(pool: Pool) -> None:
    pool.run(python_job("tell('first')"))
    (zygote,) = pool.zygotes()
    zygote.kill()
    assert pool.run(python_job("tell('second')")).result == b"'second'"
    assert pool.zygotes() != [zygote]


def test_a_job_that_no_zygote_survives_is_the_sandboxes_failure(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    start = launch.start
    monkeypatch.setattr(pool_module, "start", lambda *arguments: _dead(start(*arguments)))
    with pytest.raises(SandboxError, match="failed twice on the same job"):
        pool.run(python_job("tell('never')"))
    monkeypatch.setattr(pool_module, "start", start)
    assert pool.run(python_job("tell('again')")).result == b"'again'"


def _dead(zygote: launch.Zygote) -> launch.Zygote:
    zygote.kill()
    return zygote


def test_a_machine_without_descriptors_is_the_sandboxes_failure_and_none_is_lost(pool: Pool) -> None:
    assert pool.run(python_job("tell(1)")).result == b"1"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    said = []
    try:
        for spare in range(20):
            # Each time, one comes as far as one descriptor more allows.
            for zygote in pool.zygotes():
                zygote.kill()
            resource.setrlimit(resource.RLIMIT_NOFILE, (before + spare, hard))
            try:
                pool.run(python_job("tell(1)"))
            except SandboxError as error:
                said.append(str(error))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 3 < len(said) < 20
    assert all("Too many open files" in message for message in said)
    assert pool.run(python_job("tell(2)")).result == b"2"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_zygotes_are_recycled(strong: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_RECYCLE_AFTER", 2)
    with Pool("strong", (PYTHON,), 1, Limits()) as pool:
        seen = []
        for _ in range(4):
            pool.run(python_job("tell(1)"))
            seen.append([zygote.pid for zygote in pool.zygotes()])
    assert [len(pids) for pids in seen] == [1, 0, 1, 0]


def test_jobs_from_several_threads_do_not_mix(strong: None) -> None:
    with Pool("strong", (PYTHON,), 2, Limits()) as pool, ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda n: pool.run(python_job(f"tell({n})")), range(40)))
    assert [int(outcome.result) for outcome in outcomes] == list(range(40))


def test_closing_leaves_nothing(strong: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = _names("/proc/self/fd")
    with Pool("strong", (PYTHON,), 2, Limits()) as pool:
        pool.run(python_job("tell(1)"))
        processes = [zygote.process for zygote in pool.zygotes()]
        pids = [zygote.pid for zygote in pool.zygotes()]
    assert processes
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert _names("/proc/self/fd") == before
    assert _names(str(tmp_path)) == set()
    with pytest.raises(SandboxError, match="closed"):
        pool.run(python_job("tell(1)"))


def _names(directory: str) -> set[str]:
    return {path.name for path in Path(directory).iterdir()}


def test_the_sandbox_dies_with_its_owner(strong: None) -> None:
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from rllm_assets.sandbox.pool import Pool\n"
            "from tests.sandbox.conftest import PYTHON, Limits, python_job\n"
            "import threading\n"
            "pool = Pool('strong', (PYTHON,), 1, Limits())\n"
            "pool.run(python_job('tell(1)'))\n"
            "print(pool.zygotes()[0].pid, flush=True)\n"
            "pool.run(python_job('import time; time.sleep(300)', seconds=300))\n",
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert owner.stdout is not None
    zygote = os.pidfd_open(int(owner.stdout.readline()))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    # A pidfd becomes readable when its process ends.
    assert select.select([zygote], [], [], 20)[0] == [zygote]
    os.close(zygote)


def test_the_environment_of_the_owner_is_out_of_reach(strong: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLLM_SECRET", "needle")
    with Pool("strong", (PYTHON,), 1, Limits()) as pool:
        pool.run(python_job("tell(1)"))
        (zygote,) = pool.zygotes()
        for pid in (zygote.pid, zygote.launcher.pid):
            assert b"needle" not in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no uid to drop")
def test_root_is_given_up_outside_too(pool: Pool) -> None:
    pool.run(python_job("tell(1)"))
    (zygote,) = pool.zygotes()
    status = Path(f"/proc/{zygote.pid}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert set(uids).isdisjoint({"0"})


def test_a_failing_set_up_is_told(strong: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        Pool("strong", (PYTHON,), 1, Limits()) as pool,
        pytest.raises(SandboxError, match="could not be set up: KeyError"),
    ):
        pool.run(pool_module.Job("no.such.program", b"", 1.0))


def test_distributions_are_read_wherever_they_are_installed(
    strong: None, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below /tmp too, where jobs have their own directory."""
    for name, text in {
        "shapes/__init__.py": "SIDES = 4\n",
        "corners.py": "CORNERS = 4\n",
        "shapes-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: shapes\nVersion: 1.0\n",
        "shapes-1.0.dist-info/RECORD": "shapes/__init__.py,,\ncorners.py,,\nshapes-1.0.dist-info/METADATA,,\n",
    }.items():
        (open_directory / name).parent.mkdir(exist_ok=True)
        (open_directory / name).write_text(text)
    monkeypatch.syspath_prepend(str(open_directory))
    program = replace(PYTHON, preload=("shapes",), distributions=("shapes",))
    with Pool("strong", (program,), 1, Limits()) as pool:
        outcome = pool.run(python_job("import corners, shapes; tell((shapes.SIDES, corners.CORNERS, shapes.__file__))"))
    assert outcome.result == b"(4, 4, '/packages/shapes/__init__.py')"
