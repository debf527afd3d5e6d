"""Inside the sandbox, beside the program that runs pytest: import an environment's own pytest before any job comes.

It is not made ready further, which is a matter of pytest's inner parts and of its version. One that cannot be imported is no
failure of the sandbox: each job says so. Standard library only.
"""

import contextlib


def prepare() -> None:
    """Import pytest, if that is possible."""
    # What stands in a package may end the process at will.
    with contextlib.suppress(BaseException):
        import pytest  # noqa: F401
