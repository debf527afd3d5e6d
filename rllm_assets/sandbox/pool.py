"""Run jobs in zygotes: the deadline, the caps and the last word are out here."""

import contextlib
import json
import math
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

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: Job) -> Outcome:
        """Run one job, in a fresh zygote once more should the first die of it.

        Raises:
            SandboxError: where that one fails too.
        """
        zygote = self._idle.get()
        try:
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
                else:
                    zygote.jobs += 1
                    if zygote.jobs >= _RECYCLE_AFTER or not zygote.healthy:
                        zygote.end()
                        zygote = None
                    return outcome
            raise AssertionError("unreachable")
        finally:
            self._idle.put(zygote)

    def survivors(self) -> list[int]:
        """Return the pids of processes that outlived their jobs in idle zygotes; there should be none."""
        zygotes = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
        for zygote in zygotes:
            self._idle.put(zygote)
        return [pid for zygote in zygotes if zygote is not None for pid in memory.descendants(zygote.pid)]

    def close(self) -> None:
        """End every zygote, waiting for those at work."""
        for _ in range(self.workers):
            zygote = self._idle.get()
            if zygote is not None:
                zygote.end()
        for _ in range(self.workers):
            self._idle.put(None)


@dataclass
class _Stream:
    """One of the pipes that a job writes into."""

    descriptor: int
    limit: int
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    open: bool = True

    def read(self) -> bool:
        """Take what is there; False when it is more than the limit."""
        while self.open:
            try:
                part = os.read(self.descriptor, 65536)
            except BlockingIOError:
                return True
            if not part:
                self.open = False
                return True
            self.size += len(part)
            if self.size > self.limit:
                return False
            self.parts.append(part)
        return True


def run_job(zygote: Zygote, job: Job) -> Outcome:
    """Run one job in a zygote and collect what it wrote.

    Raises:
        ZygoteLostError: where the zygote died, or the job could not be set up.
    """
    payload = os.memfd_create("job")
    result_read, result_write = os.pipe()
    output_read, output_write = os.pipe()
    result = _Stream(result_read, job.limits.result_bytes)
    output = _Stream(output_read, job.limits.output_bytes)
    try:
        with open(payload, "wb", closefd=False) as file:
            file.write(job.payload)
        os.lseek(payload, 0, os.SEEK_SET)
        os.set_blocking(result_read, False)
        os.set_blocking(output_read, False)
        request = json.dumps(_request(zygote, job)).encode()
        try:
            socket.send_fds(zygote.control, [request], [payload, result_write, output_write])
        except OSError as error:
            raise ZygoteLostError(f"the zygote is gone: {error}") from error
        finally:
            for descriptor in (payload, result_write, output_write):
                os.close(descriptor)
        return _follow(zygote, job, result, output)
    finally:
        os.close(result_read)
        os.close(output_read)


def _request(zygote: Zygote, job: Job) -> dict:
    limits = job.limits
    seconds = int(job.timeout_seconds) + 2
    return {
        "program": job.program,
        "directory": zygote.directory,
        "resources": {
            # A single process gets a MemoryError before the watch would end the job.
            "RLIMIT_AS": limits.memory_mb * _MB,
            "RLIMIT_NPROC": limits.processes,
            "RLIMIT_NOFILE": limits.open_files,
            "RLIMIT_FSIZE": limits.disk_mb * _MB,
            "RLIMIT_CPU": seconds,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_MSGQUEUE": 0,
            "RLIMIT_SIGPENDING": 256,
        },
    }


@dataclass
class _Watch:
    """A job under way: when it started, why it was killed, and until when to wait for the zygote's answer."""

    zygote: Zygote
    job: Job
    give_up: float
    started: float | None = None
    killed: Ending | None = None

    def start(self, now: float) -> None:
        self.started = now
        self.give_up = math.inf

    def kill(self, why: Ending) -> None:
        self.killed = why
        self.give_up = time.monotonic() + _KILL_SECONDS
        with contextlib.suppress(OSError):
            self.zygote.control.send(b"stop")

    def check(self, now: float, quiet: bool) -> None:
        """Kill the job at its deadline, or when nothing happened for a while and it has grown too big."""
        if self.started is None or self.killed:
            return
        if now >= self.started + self.job.timeout_seconds:
            self.kill("timeout")
        elif quiet and _excess(self.zygote) > self.job.limits.memory_mb * _MB:
            self.kill("out_of_memory")

    def wait(self, now: float) -> float:
        """Return for how many seconds events may be waited for."""
        if self.started is None or self.killed:
            return max(0.0, self.give_up - now)
        return max(0.0, min(_WATCH_SECONDS, self.started + self.job.timeout_seconds - now))


def _follow(zygote: Zygote, job: Job, result: _Stream, output: _Stream) -> Outcome:
    watch = _Watch(zygote, job, give_up=time.monotonic() + _FORK_SECONDS)
    poll = select.poll()
    streams = {result.descriptor: result, output.descriptor: output}
    for descriptor in (zygote.control.fileno(), *streams):
        poll.register(descriptor, select.POLLIN)
    status = None
    looked = 0.0
    while status is None:
        events = poll.poll(watch.wait(time.monotonic()) * 1000 + 1)
        now = time.monotonic()
        for descriptor, _ in events:
            if descriptor not in streams:
                status = _status(zygote)
                continue
            fits = streams[descriptor].read()
            if not fits and not watch.killed:
                watch.kill("flooded")
            if not fits or not streams[descriptor].open:
                poll.unregister(descriptor)
                del streams[descriptor]
        if watch.started is None and result.parts:
            watch.start(now)
            looked = now
        if status is None:
            quiet = now - looked >= _WATCH_SECONDS
            watch.check(now, quiet)
            looked = now if quiet else looked
            if now > watch.give_up:
                zygote.healthy = False
                status = signal.SIGKILL
                zygote.kill()
    fits = result.read() and output.read()
    if not b"".join(result.parts).startswith(b"+"):
        raise ZygoteLostError(f"a job could not be set up: {b''.join(result.parts)[1:300].decode(errors='replace')}")
    code = os.waitstatus_to_exitcode(status)
    ending: Ending = watch.killed or ("exited" if fits and code >= 0 else "signalled" if fits else "flooded")
    seconds = time.monotonic() - (watch.started or time.monotonic())
    return Outcome(ending, abs(code), b"".join(result.parts)[1:], b"".join(output.parts), seconds)


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
