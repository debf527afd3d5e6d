"""Environment variables for a while: how Ray takes most of its settings."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


@contextmanager
def environment(settings: Mapping[str, str], also_restored: Sequence[str] = ()) -> Iterator[None]:
    """Set those variables that the user has not set, and take them back at the end.

    Args:
        settings: names and values.
        also_restored: variables that somebody else may change meanwhile.
    """
    before = {name: os.environ.get(name) for name in (*settings, *also_restored)}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
