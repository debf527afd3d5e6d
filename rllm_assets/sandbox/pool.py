"""Run jobs in zygotes: the deadline, the caps and the last word are out here."""

import contextlib
import functools
import json
import os
import queue
import select
import signal
import socket
import time
from dataclasses import dataclass, field

from rllm_assets.sandbox import memory
from rllm_assets.sandbox.jobs import Ending, Grade, Job, Limits, Outcome, Program, SandboxError
from rllm_assets.sandbox.launch import Zygote, start

_RECYCLE_AFTER = 2000
_FORK_SECONDS = 30.0
_KILL_SECONDS = 10.0
# How often a running job's memory is looked at.
_WATCH_SECONDS = 0.025
_MB = 1 << 20


class ZygoteLostError(Exception):
    """The zygote died or does not answer."""


class Pool:
    """A `Sandbox` of one zygote a worker; `close` it, or use it as a context manager."""

    def __init__(self, grade: Grade, programs: tuple[Program, ...], workers: int, limits: Limits) -> None:
        self.grade: Grade = grade
        self.limits = limits
        self.workers = workers
        self._programs = programs
        self._idle: queue.LifoQueue[Zygote | None] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._closed = False

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: Job) -> Outcome:
        """Run one job, in a fresh zygote once more should the first die of it.

        Raises:
            SandboxError: where that one fails too, or the machine has no descriptors, processes or memory to give.
        """
        zygote = self._idle.get()
        try:
            if self._closed:
                raise SandboxError("the sandbox is closed")
            for attempt in (1, 2):
                if zygote is None:
                    zygote = start(self.grade, self._programs, self.limits)
                try:
                    outcome = run_job(zygote, job)
                except ZygoteLostError as error:
                    zygote.end()
                    zygote = None
                    if attempt == 2:
                        raise SandboxError(f"the sandbox failed twice on the same job: {error}") from error
                except OSError as error:
                    zygote.end()
                    zygote = None
                    raise SandboxError(f"the machine refuses what a sandbox needs: {error}") from error
                else:
                    zygote.jobs += 1
                    if zygote.jobs >= _RECYCLE_AFTER or not zygote.healthy:
                        zygote.end()
                        zygote = None
                    return outcome
            raise AssertionError("unreachable")
        finally:
            self._idle.put(zygote)

    def zygotes(self) -> list[Zygote]:
        """Return the zygotes that are up and idle."""
        taken = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
        for zygote in taken:
            self._idle.put(zygote)
        return [zygote for zygote in taken if zygote is not None]

    def survivors(self) -> list[int]:
        """Return the pids of processes that outlived their jobs in idle zygotes; there should be none."""
        return [pid for zygote in self.zygotes() for pid in memory.descendants(zygote.pid)]

    def close(self) -> None:
        """End every zygote, waiting for those at work; no job runs after that."""
        self._closed = True
        for _ in range(self.workers):
            zygote = self._idle.get()
            if zygote is not None:
                zygote.end()
        for _ in range(self.workers):
            self._idle.put(None)


@dataclass
class _Output:
    """What a job prints, behind the one byte that says that it is set up."""

    descriptor: int
    limit: int
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def read(self) -> bool:
        """Take what is there; False when it is more than the limit."""
        while self.size <= self.limit:
            try:
                part = os.read(self.descriptor, 65536)
            except BlockingIOError:
                return True
            if not part:
                return True
            self.size += len(part)
            self.parts.append(part)
        return False

    def whole(self) -> bytes:
        """Return everything that was read."""
        return b"".join(self.parts)


def run_job(zygote: Zygote, job: Job) -> Outcome:
    """Run one job in a zygote and collect what it wrote.

    Raises:
        ZygoteLostError: where the zygote died, or the job could not be set up.
    """
    request = _request(job.program, zygote.directory, job.timeout_seconds, job.limits)
    opened: list[int] = []
    try:
        opened.extend(os.memfd_create(name) for name in ("payload", "result"))
        opened += os.pipe()
        payload, result, readable, writable = opened
        os.write(payload, job.payload)
        os.lseek(payload, 0, os.SEEK_SET)
        os.set_blocking(readable, False)
        try:
            socket.send_fds(zygote.control, [request], [payload, result, writable])
        except OSError as error:
            raise ZygoteLostError(f"the zygote is gone: {error}") from error
        os.close(opened.pop())
        return _follow(zygote, job, result, _Output(readable, job.limits.output_bytes))
    finally:
        for descriptor in opened:
            os.close(descriptor)


@functools.lru_cache(maxsize=256)
def _request(program: str, directory: str, timeout_seconds: float, limits: Limits) -> bytes:
    resources = {
        # A single process gets a MemoryError before the watch would end the job.
        "RLIMIT_AS": limits.memory_mb * _MB,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": limits.disk_mb * _MB,
        "RLIMIT_CPU": int(timeout_seconds) + 2,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_SIGPENDING": 256,
    }
    return json.dumps({"program": program, "directory": directory, "resources": resources}).encode()


@dataclass
class _Watch:
    """A job under way: when it started, why it was killed, and until when to wait for the zygote's answer."""

    zygote: Zygote
    job: Job
    give_up: float
    started: float | None = None
    looked: float = 0.0
    killed: Ending | None = None

    def start(self, now: float) -> None:
        """Start the clock."""
        self.started = self.looked = now

    def kill(self, why: Ending) -> None:
        """Ask the zygote to end the job, once."""
        if self.killed is None:
            self.killed = why
            self.give_up = time.monotonic() + _KILL_SECONDS
            with contextlib.suppress(OSError):
                self.zygote.control.send(b"stop")

    def wait(self, now: float) -> float:
        """Return for how many seconds events may be waited for."""
        if self.started is None or self.killed:
            return max(0.0, self.give_up - now)
        return max(0.0, min(self.looked + _WATCH_SECONDS, self.started + self.job.timeout_seconds) - now)

    def gave_up(self, now: float) -> bool:
        """Kill the job at its deadline, or when it has grown too big; tell whether the zygote does not answer any more."""
        if self.started is None or self.killed:
            return now > self.give_up
        if now >= self.started + self.job.timeout_seconds:
            self.kill("timeout")
        elif now >= self.looked + _WATCH_SECONDS:
            self.looked = now
            if _excess(self.zygote) > self.job.limits.memory_mb * _MB:
                self.kill("out_of_memory")
        return False


def _follow(zygote: Zygote, job: Job, result: int, output: _Output) -> Outcome:
    watch = _Watch(zygote, job, give_up=time.monotonic() + _FORK_SECONDS)
    control = zygote.control.fileno()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(output.descriptor, select.POLLIN)
    status = None
    while status is None:
        events = poll.poll(watch.wait(time.monotonic()) * 1000 + 1)
        now = time.monotonic()
        for descriptor, _ in events:
            if descriptor == control:
                status = _status(zygote)
            elif not output.read():
                poll.unregister(descriptor)
                watch.kill("flooded")
        if watch.started is None and output.parts:
            watch.start(now)
        if status is None and watch.gave_up(now):
            zygote.healthy = False
            zygote.kill()
            status = signal.SIGKILL
    fits = output.read() and os.fstat(result).st_size <= job.limits.result_bytes
    printed = output.whole()
    if not printed.startswith(b"+"):
        raise ZygoteLostError(f"a job could not be set up: {printed[1:300].decode(errors='replace')}")
    code = os.waitstatus_to_exitcode(status)
    ending: Ending = watch.killed or ("flooded" if not fits else "exited" if code >= 0 else "signalled")
    seconds = time.monotonic() - (watch.started or time.monotonic())
    return Outcome(ending, abs(code), os.pread(result, job.limits.result_bytes, 0), printed[1:], seconds)


def _excess(zygote: Zygote) -> int:
    """Return the memory of the job's processes beyond what each shares with the zygote."""
    return sum(max(0, memory.resident_bytes(pid) - zygote.resident) for pid in memory.descendants(zygote.pid))


def _status(zygote: Zygote) -> int:
    try:
        answer = zygote.control.recv(65536)
    except OSError as error:
        raise ZygoteLostError(str(error)) from error
    if not answer:
        raise ZygoteLostError(f"the zygote died: {zygote.said()}")
    return int(answer)
