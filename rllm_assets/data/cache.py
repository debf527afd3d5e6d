"""Where this user keeps what was fetched or converted once, and how processes that fill it wait for each other."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_directory() -> Path:
    """Return the directory: ``$RLLM_CACHE``, or ``rllm_assets`` in the user's cache directory."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "rllm_assets"
    return Path(os.environ.get("RLLM_CACHE", default))


@contextmanager
def locked(path: Path, when_taken: Callable[[], None] = lambda: None, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock that a file stands for, alone or with others who share it.

    `when_taken` is called before waiting for whoever holds it; where it raises, there is no waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("w") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            when_taken()
            fcntl.flock(file, kind)
        yield
