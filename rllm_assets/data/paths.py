"""Which files of a repository are tests, by whole names: ``latest.py`` is none."""

import re
from pathlib import PurePosixPath

_TEST_FOLDERS = {"test", "tests", "testing"}
_TEST_FILE = re.compile(r"^(test_.*|.*_test|tests?|conftest)\.py$")
_TEST_MODULE = re.compile(r"^(test_.*|.*_test)\.py$")


def is_test(path: str) -> bool:
    """Tell whether a file belongs to the tests: it lies in a folder of tests, or is named like one."""
    *folders, name = PurePosixPath(path).parts
    return bool(_TEST_FOLDERS.intersection(folders)) or _TEST_FILE.match(name) is not None


def is_test_module(path: str) -> bool:
    """Tell whether pytest looks for tests in a file."""
    return _TEST_MODULE.match(PurePosixPath(path).name) is not None
