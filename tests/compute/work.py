"""States and calls that workers import."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class State(NamedTuple):
    log: Path
    calls: list[object]


@contextmanager
def logged(log: Path) -> Iterator[State]:
    """A state that writes down when it is entered and exited, a line each with its process."""
    note(log, "entered")
    yield State(log, [])
    note(log, "exited")


@contextmanager
def refusing() -> Iterator[None]:
    raise ValueError("no state today")
    yield


@contextmanager
def dying() -> Iterator[None]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def note(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(f"{text} {os.getpid()}\n")


def square(state: State, item: int) -> int:
    state.calls.append(item)
    return item * item


def history(state: State, item: int) -> list[object]:
    state.calls.append(item)
    return list(state.calls)


def fail(state: State, item: int) -> int:
    if item == 2:
        raise KeyError("two")
    return item


def die_once(state: State, item: int) -> int:
    """Kill the worker where the item is 3, the first time that anybody tries."""
    mark = state.log.with_name("died")
    if item == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die(state: State, item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def meet(state: State, others: int) -> int:
    """Come back when so many workers are here at once."""
    note(state.log, "here")
    until = time.monotonic() + 300
    while len({line for line in state.log.read_text().splitlines() if line.startswith("here")}) < others:
        assert time.monotonic() < until, "the others did not come"
        time.sleep(0.02)
    return os.getpid()


def place(state: State, item: object) -> tuple[Path, str]:
    return Path.cwd(), os.environ.get("CUDA_VISIBLE_DEVICES", "unset")


def tell_and_triple(part: tuple[Path, int], send: Callable[[object], None]) -> tuple[int, int]:
    """Send two messages, wait until somebody has heard them, and return thrice the number and the process."""
    heard, number = part
    for turn in range(2):
        send((number, turn))
    until = time.monotonic() + 120
    while not (heard / str(number)).exists():
        assert time.monotonic() < until, "nobody heard"
        time.sleep(0.02)
    return 3 * number, os.getpid()


def tell_and_die_once(mark: Path, send: Callable[[object], None]) -> str:
    send("one")
    send("two")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    send("three")
    return "done"


def tell_and_die(number: int, send: Callable[[object], None]) -> int:
    send(number)
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def tell_and_fail(number: int, send: Callable[[object], None]) -> int:
    send(number)
    raise KeyError(f"share {number}")
