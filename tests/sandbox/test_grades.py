"""A sandbox gets the grade that it has shown, not the one that its parts promise."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rllm_assets.sandbox import grades
from rllm_assets.sandbox.grades import open_sandbox, probe
from rllm_assets.sandbox.jobs import Limits, SandboxUnavailableError
from rllm_assets.sandbox.kernel import landlock_version
from tests.sandbox.conftest import PYTHON, python_job

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fresh_probes() -> Iterator[None]:
    grades._probe_once.cache_clear()
    yield
    grades._probe_once.cache_clear()


@pytest.fixture
def without_bubblewrap(fresh_probes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def leaky_bubblewrap(strong: None, fresh_probes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text(f'#!/bin/sh\nexec {shutil.which("bwrap")} --ro-bind /etc /etc "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_the_strong_sandbox_stops_every_attack(strong: None) -> None:
    assert probe("strong") is None
    with open_sandbox((PYTHON,), 1, Limits()) as sandbox:
        assert sandbox.grade == "strong"
        assert sandbox.run(python_job("tell(1)")).result == b"1"


@pytest.mark.usefixtures("leaky_bubblewrap")
def test_a_sandbox_that_leaks_is_not_strong() -> None:
    assert probe("strong") == "did not stop: read the system's users"
    with pytest.raises(SandboxUnavailableError, match="strong: did not stop: read the system's users"):
        open_sandbox((PYTHON,), 1, Limits())


@pytest.mark.usefixtures("without_bubblewrap")
def test_without_bubblewrap_it_refuses_and_says_what_to_install() -> None:
    with pytest.raises(SandboxUnavailableError) as refusal:
        open_sandbox((PYTHON,), 1, Limits())
    message = str(refusal.value)
    assert "strong: there is no bwrap on PATH" in message
    assert "apt-get install bubblewrap" in message
    assert "allow_unsandboxed=True" in message


@pytest.mark.usefixtures("without_bubblewrap")
@pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")
def test_allowed_by_hand_it_takes_the_next_best(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with open_sandbox((PYTHON,), 1, Limits(), allow_unsandboxed=True) as sandbox:
        assert sandbox.grade == "weak"
        attempt = f"try: open({str(secret)!r})\nexcept OSError as error: tell(type(error).__name__)"
        assert sandbox.run(python_job(attempt)).result == b"'PermissionError'"
        assert sandbox.run(python_job("import os; tell(dict(os.environ))")).result == b"{}"
        written = sandbox.run(python_job("open('mine', 'w').close(); import os; tell(os.listdir())"))
        assert written.result == b"['mine']"


@pytest.mark.parametrize("grade", ["weak", "none"])
def test_lower_grades_end_and_reap_jobs_too(grade: grades.Grade) -> None:
    if grade == "weak" and landlock_version() == 0:
        pytest.skip("this kernel has no Landlock")
    with open_sandbox((PYTHON,), 1, Limits(), allow_unsandboxed=True, grades=(grade,)) as sandbox:
        assert sandbox.grade == grade
        assert sandbox.run(python_job("while True: pass", seconds=0.1)).ended == "timeout"
        daemon = "import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(60)\ntell('left')"
        assert sandbox.run(python_job(daemon)).result == b"'left'"
        assert sandbox.survivors() == []
        (zygote,) = sandbox.zygotes()
        assert Path(zygote.directory).is_dir()
    assert not Path(zygote.directory).exists()


def test_the_refusal_can_be_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxUnavailableError, match="Linux namespaces; this is darwin"):
        open_sandbox((PYTHON,), 1, Limits(), allow_unsandboxed=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_has_it_too(strong: None, open_directory: Path) -> None:
    """Root runs the same probes as a user that nobody has, with the system's Python: the user could not reach another."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    version = "import sys; sys.exit(sys.version_info < (3, 11))"
    if python is None or subprocess.run([python, "-c", version], check=False).returncode != 0:
        pytest.skip("no Python 3.11 that every user can reach, so the sandbox is not tried as one")
    package = open_directory / "rllm_assets"
    shutil.copytree(ROOT / "rllm_assets" / "sandbox", package / "sandbox")
    shutil.copy(ROOT / "rllm_assets" / "__init__.py", package)
    done = subprocess.run(
        [python, "-B", "-c", "from rllm_assets.sandbox.grades import probe; print(probe('strong'))"],
        cwd=open_directory,
        env={"PATH": os.environ["PATH"]},
        user=54321,
        group=54321,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("None\n", "")
