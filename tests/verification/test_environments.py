"""Environments of packages: built once, by pip and without a network here, and seen by the tests of a repository."""

import threading
from pathlib import Path

import pytest

from rllm_assets.data.cache import cache_directory, locked
from rllm_assets.data.changes import UNCHANGED
from rllm_assets.data.issues import Install, Issue, RepositoryTask
from rllm_assets.verification import Verifier, environments
from rllm_assets.verification.environments import BuildError, IndexUnreachableError, InUseError, built, environment_of
from rllm_assets.verification.shell import Command
from rllm_assets.verification.validation import ValidationError, validate_issues
from tests.verification.repository import NEW_TESTS, TREE, diff, issue, module
from tests.wheels import repacked, wheel


@pytest.fixture(autouse=True)
def index(tmp_path, monkeypatch) -> Path:
    """A directory of wheels in place of the package index, and a cache of its own."""
    directory = tmp_path / "wheels"
    directory.mkdir()
    wheel(directory, "coins", "def penny():\n    return 1\n", needs="metal")
    wheel(directory, "metal", "KIND = 'copper'\n")
    wheel(directory, "minted", "import pytest\n\n@pytest.fixture\ndef mint():\n    return 5\n", plugin=True)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    # Which is what takes pip longest.
    monkeypatch.setenv("PIP_NO_COMPILE", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.setenv("RLLM_CACHE", str(tmp_path / "cache"))
    return directory


def with_packages(tests: str, install: Install, files: dict[str, str] | None = None, name: str = "calc-1") -> Issue:
    """The issue of the small repository, whose tests are to be found out and need packages."""
    return issue().model_copy(
        update={
            "instance_id": name,
            "test_patch": diff("tests/test_money.py", NEW_TESTS + tests),
            "FAIL_TO_PASS": [],
            "PASS_TO_PASS": [],
            "task": RepositoryTask(files=TREE | (files or {}), install=install),
        }
    )


def test_an_environment_is_built_once_and_knows_what_it_holds(index):
    first = built(["coins", "pytest>=7", "minted"])
    assert first.requirements == ("coins", "minted")
    assert first.installed == ("coins==1.0", "metal==1.0", "minted==1.0")
    assert first.plugins == ("minted",)
    assert (first.packages / "coins.py").read_text() == "def penny():\n    return 1\n"
    assert first.bytes > 3 * 512
    assert first.packages.parent.parent == cache_directory() / "environments"
    for file in index.iterdir():
        file.unlink()
    assert built(["minted", "coins"]) == first
    assert environments.environments() == [first]


def test_tests_see_their_environment_and_their_own_installation(verifier: Verifier):
    tests = (
        "\n\ndef test_packages(mint):\n    import coins, metal\n    from importlib.metadata import version\n\n"
        "    assert (coins.penny(), metal.KIND, mint) == (1, 'copper', 5)\n    assert version('calc') == '3.2'\n"
        "\n\ndef test_nothing_can_be_written():\n    import coins, pytest\n\n"
        "    with pytest.raises(OSError, match='Read-only'):\n        open(coins.__file__, 'w')\n"
    )
    pyproject = '[project]\nname = "calc"\nversion = "3.2"\ndependencies = ["coins"]\n'
    install = Install(project=True, packages=("minted",))
    asked = with_packages(tests, install, {"pyproject.toml": pyproject})
    (kept,), rejected = validate_issues([asked], verifier)
    assert rejected == []
    assert kept.FAIL_TO_PASS == ["tests/test_money.py::test_add"]
    assert [
        f"tests/test_money.py::test_{name}" for name in ("half", "nothing_can_be_written", "packages")
    ] == kept.PASS_TO_PASS
    assert verifier.verify(kept, kept.patch).resolved


def test_another_pytest_is_used_where_the_sandboxes_own_will_not_do(verifier: Verifier, index):
    needed = ("pluggy", "iniconfig", "packaging", "pygments")
    for name in needed:
        repacked(index, name, "90.0")
    repacked(index, "pytest", "6.0", needed)
    assert not built(["metal", "pytest>=6"]).has_pytest
    tests = (
        "\n\ndef test_pytest():\n    import pytest\n    from importlib.metadata import version\n\n"
        "    assert (version('pytest'), pytest.__file__[:13]) == ('6.0', '/environment/')\n"
    )
    asked = with_packages(tests, Install(packages=("pytest<7", "pytest>=5")))
    (kept,), _ = validate_issues([asked], verifier)
    assert kept.FAIL_TO_PASS == ["tests/test_money.py::test_add"]
    assert kept.PASS_TO_PASS == ["tests/test_money.py::test_half", "tests/test_money.py::test_pytest"]
    assert verifier.verify(kept, UNCHANGED).reason == (
        "tests/test_money.py::test_add failed: assert -1 == 5  +  where -1 = add(2, 3)"
    )
    broken = verifier.verify(kept, module("def add(a, b) return a"))
    assert broken.reason == "tests/test_money.py could not be collected: SyntaxError: expected ':'"
    (ran,) = verifier.run_commands([Command(kept, TREE, "python -m pytest --version")], 20.0)
    assert ran.output.startswith("pytest ")
    (ran,) = verifier.run_commands([Command(kept, TREE, "python -c 'import pytest; print(pytest.__file__)'")], 20.0)
    assert ran.output == "/environment/pytest/__init__.py\n"


def test_a_pytest_that_cannot_be_imported_costs_its_issue(verifier: Verifier, index):
    wheel(index, "pytest", "raise SystemExit('what a pity')\n", version="5.0")
    asked = with_packages("", Install(packages=("pytest<6",)), name="calc-2")
    kept, (rejected,) = validate_issues([asked, issue()], verifier)
    assert [each.instance_id for each in kept] == ["calc-1"]
    assert rejected.category == "environment"
    assert rejected.reason.startswith("calc-2: its tests do not run: ")


def test_an_issue_without_packages_does_not_see_those_of_others(verifier: Verifier):
    tests = "\n\ndef test_packages():\n    import coins\n"
    install = Install(packages=("coins",))
    kept, _ = validate_issues(
        [with_packages(tests, install), with_packages(tests, Install(packages=("metal",)), name="calc-2")], verifier
    )
    assert [issue.PASS_TO_PASS for issue in kept] == [
        ["tests/test_money.py::test_half", "tests/test_money.py::test_packages"],
        ["tests/test_money.py::test_half"],
    ]


def test_what_cannot_be_installed_is_quarantined_with_what_pip_said(verifier: Verifier, index):
    wheel(index, "spoilt", "", needs="gold")
    missing = with_packages("", Install(packages=("coins>=2",)), name="calc-2")
    no_dependency = with_packages("", Install(packages=("spoilt",)), name="calc-3")
    no_file = with_packages("", Install(files=("dev.txt",)), name="calc-4")
    kept, rejected = validate_issues([issue(), missing, no_dependency, no_file], verifier)
    assert [each.instance_id for each in kept] == ["calc-1"]
    assert [(row.category, row.reason) for row in rejected] == [
        ("environment", "calc-2: pip: No matching distribution found for coins>=2"),
        ("environment", "calc-3: pip: No matching distribution found for gold"),
        ("environment", "calc-4: dev.txt: no such file in the tree"),
    ]
    assert environments.environments() == []
    assert [path.name for path in (cache_directory() / "environments").iterdir()] == [".locks"]


def test_sources_are_not_built_unless_that_is_asked_for(index):
    import io
    import tarfile

    setup = b"from setuptools import setup\n\nopen('/tmp/never', 'x')\nsetup(name='forged', version='1.0')\n"
    with tarfile.open(index / "forged-1.0.tar.gz", "w:gz") as file:
        for name, data in {
            "setup.py": setup,
            "PKG-INFO": b"Metadata-Version: 2.1\nName: forged\nVersion: 1.0\n",
        }.items():
            about = tarfile.TarInfo(f"forged-1.0/{name}")
            about.size = len(data)
            file.addfile(about, io.BytesIO(data))
    with pytest.raises(BuildError, match=r"^pip: No matching distribution found for forged$"):
        built(["forged"])
    assert not Path("/tmp/never").exists()


def test_one_failure_is_not_tried_again_for_every_issue(index):
    failed: dict[str, BuildError] = {}
    asked = with_packages("", Install(packages=("gold",)))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^calc-1: pip: No matching distribution found for gold$"):
            environment_of(asked, failed)
        # A second try would find it.
        wheel(index, "gold", "")
    assert len(failed) == 1
    assert environment_of(asked) is not None


def test_an_index_that_does_not_answer_says_nothing_about_the_issue(verifier: Verifier, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    # Nothing listens on port 9 of this machine.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    asked = with_packages("", Install(packages=("coins",)))
    with pytest.raises(IndexUnreachableError, match=r"^pip cannot reach the package index: "):
        built(["coins"])
    with pytest.raises(ValidationError, match="pip cannot reach the package index"):
        validate_issues([asked], verifier)
    verdict = verifier.verify(issue().model_copy(update={"task": asked.task}), issue().patch)
    assert (verdict.status, verdict.reason[:36]) == ("no_verdict", "pip cannot reach the package index: ")


def test_two_who_build_at_once_build_once(monkeypatch):
    builds: list[Path] = []
    build = environments._build

    def counted(directory, *arguments):
        builds.append(directory)
        build(directory, *arguments)

    monkeypatch.setattr(environments, "_build", counted)
    found = []
    threads = [threading.Thread(target=lambda: found.append(built(["coins"]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert found == [found[0]] * 3


def test_what_a_killed_build_left_is_cleared_away():
    environment = built(["metal"])
    root = environment.packages.parent.parent
    environments.remove(environment.key)
    left = root / f".{environment.key}.abc.tmp"
    (left / "packages").mkdir(parents=True)
    # Without its last file it is none.
    (root / environment.key).mkdir()
    assert environments.environments() == []
    assert built(["metal"]) == environment
    assert sorted(path.name for path in root.iterdir()) == sorted([".locks", environment.key])


def test_an_environment_in_use_cannot_be_removed(verifier: Verifier):
    environment = built(["metal"])
    with (
        environments.in_use(environment),
        pytest.raises(InUseError, match=f"^environment {environment.key} is in use$"),
    ):
        environments.remove(environment.key)
    with locked(cache_directory() / "environments" / ".locks" / environment.key), pytest.raises(InUseError):
        environments.remove(environment.key)
    environments.remove(environment.key)
    assert environments.environments() == []


def test_a_service_elsewhere_has_no_environments(verifier: Verifier, monkeypatch):
    asked = issue().model_copy(update={"task": RepositoryTask(files=TREE, install=Install(packages=("metal",)))})
    monkeypatch.setattr(verifier, "_service", "http://pod:8734")
    verdict = verifier.verify(asked, asked.patch)
    assert (verdict.status, verdict.reason) == (
        "no_verdict",
        "the sandbox service http://pod:8734 has no environments; unset RLLM_SANDBOX",
    )
