"""Sandboxes with an environment in them: a pool for each, of which a few stay open."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from rllm_assets.sandbox.pool import Pool
from rllm_assets.verification.environments import Environment, in_use

# Issues come sorted, and so do their environments; each open one has processes that wait.
_MOST_IDLE = 4


@dataclass
class _Open:
    pool: Pool
    owned: ExitStack
    lent: int = field(default=0)


class EnvironmentPools:
    """Lends pools by the name of their programs and by their environment; callable from several threads.

    Args:
        make: makes a pool of a name's programs, with an environment in it.
    """

    def __init__(self, make: Callable[[str, Environment], Pool]) -> None:
        self._make = make
        self._open: OrderedDict[tuple[str, str], _Open] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, name: str, environment: Environment) -> Iterator[Pool]:
        """Lend a pool, opened where there is none; the environment stays on disk as long as the pool is open.

        Raises:
            TaskError: where the environment has just been removed.
        """
        key = (name, environment.key)
        with self._lock:
            if key not in self._open:
                self._open[key] = self._opened(name, environment)
            found = self._open[key]
            found.lent += 1
        try:
            yield found.pool
        finally:
            with self._lock:
                found.lent -= 1
                self._open.move_to_end(key)
                idle = [each for each, opened in self._open.items() if not opened.lent]
                closing = [self._open.pop(each) for each in idle[: max(0, len(idle) - _MOST_IDLE)]]
            for each in closing:
                each.owned.close()

    def close(self) -> None:
        """End all sandboxes."""
        with self._lock:
            closing = list(self._open.values())
            self._open.clear()
        for each in closing:
            each.owned.close()

    def _opened(self, name: str, environment: Environment) -> _Open:
        with ExitStack() as owned:
            owned.enter_context(in_use(environment))
            pool = owned.enter_context(self._make(name, environment))
            return _Open(pool, owned.pop_all())
