"""Small repositories with a history, built by git in a temporary directory."""

import subprocess
from pathlib import Path

IDENTITY = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]


def git(directory: Path, *command: str, when: str = "2024-05-06T07:08:09+00:00") -> str:
    done = subprocess.run(
        ["git", *IDENTITY, *command],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(directory), "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when},
    )
    return done.stdout.strip()


def commit(directory: Path, message: str, files: dict[str, str | bytes | None], **options: str) -> str:
    """Write files, None for one that goes, and commit them; return the commit's hash."""
    if not (directory / ".git").exists():
        directory.mkdir(parents=True, exist_ok=True)
        git(directory, "init", "-q")
    for path, content in files.items():
        if content is None:
            (directory / path).unlink()
            continue
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "--allow-empty", "-m", message, **options)
    return git(directory, "rev-parse", "HEAD")


def calculator(directory: Path) -> dict[str, str]:
    """A library with a history of fixes and other commits; return their hashes by name."""
    made = {}
    start = {
        "calc/__init__.py": "",
        "calc/money.py": "def add(a, b):\n    return a - b\n\n\ndef half(n):\n    return n / 2\n",
        "tests/test_money.py": "from calc.money import half\n\n\ndef test_half():\n    assert half(4) == 2\n",
        "README.md": "calc\n",
    }
    made["start"] = commit(directory, "Begin", start)
    made["docs"] = commit(directory, "Fix a typo", {"README.md": "Calc\n"})
    made["fix"] = commit(
        directory,
        "Fix #12: add subtracts\n\nReported by many.",
        {
            "calc/money.py": "def add(a, b):\n    return a + b\n\n\ndef half(n):\n    return n / 2\n",
            "tests/test_money.py": "from calc.money import add, half\n\n\ndef test_half():\n    assert half(4) == 2\n\n\n"
            "def test_add():\n    assert add(2, 3) == 5\n",
            "README.md": "Calc, now right\n",
        },
    )
    made["feature"] = commit(
        directory,
        "Make it prettier",
        {"calc/show.py": "def show(n):\n    return str(n)\n", "tests/test_show.py": "def test_show():\n    pass\n"},
    )
    made["untested"] = commit(
        directory, "Fix show for None", {"calc/show.py": "def show(n):\n    return str(n or 0)\n"}
    )
    made["no proof"] = commit(
        directory,
        "fixes half of odd numbers",
        {
            "calc/money.py": "def add(a, b):\n    return a + b\n\n\ndef half(n):\n    return n // 2\n",
            "tests/test_half.py": "from calc.money import half\n\n\ndef test_four():\n    assert half(4) == 2\n",
        },
    )
    made["flaky"] = commit(
        directory,
        "Closes #7, wrong result of twice",
        {
            "calc/twice.py": "def twice(n):\n    return n + n\n",
            "tests/test_twice.py": "import uuid\n\nimport pytest\nfrom calc.twice import twice\n\n\n"
            "@pytest.mark.parametrize('n', [uuid.uuid4().int])\ndef test_twice(n):\n    assert twice(n) == 2 * n\n",
        },
    )
    return made
