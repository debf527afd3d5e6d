"""A small repository with an issue, and candidates for it."""

from rllm_assets.data.issues import Issue, RepositoryTask, Source, unified_diff

MONEY = """\
def add(a, b):
    return a - b


def half(n):
    return n // 2
"""
OLD_TESTS = """\
from calc.money import half


def test_half():
    assert half(4) == 2
"""
NEW_TESTS = OLD_TESTS.replace("import half", "import add, half") + "\n\ndef test_add():\n    assert add(2, 3) == 5\n"
TREE = {"calc/__init__.py": "", "calc/money.py": MONEY, "tests/test_money.py": OLD_TESTS, "README.md": "calc\n"}
FIXED = MONEY.replace("a - b", "a + b")


def diff(path: str, after: str, before: str | None = None) -> str:
    """The change of one file, or a new file."""
    known = TREE.get(path) if before is None else before
    if known is None:
        added = "".join(f"+{line}\n" for line in after.splitlines())
        return f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{len(after.splitlines())} @@\n{added}"
    return unified_diff(known, after, path)


def issue(tests: str = NEW_TESTS, fail_to_pass: tuple[str, ...] = ("test_add",), timeout: float = 30.0) -> Issue:
    return Issue(
        instance_id="calc-1",
        repo="calc/calc",
        problem_statement="add subtracts",
        patch=diff("calc/money.py", FIXED),
        test_patch=diff("tests/test_money.py", tests),
        FAIL_TO_PASS=[f"tests/test_money.py::{name}" for name in fail_to_pass],
        PASS_TO_PASS=["tests/test_money.py::test_half"],
        task=RepositoryTask(files=TREE, timeout_seconds=timeout),
        source=Source(benchmark="calc", kind="swebench", file="calc.jsonl", line=1),
    )


def module(code: str) -> str:
    """A candidate whose `calc/money.py` is this code."""
    return diff("calc/money.py", code)
