"""Environments: what tests need besides their repository, installed by pip once for each set of requirements.

An environment is a directory of packages below ``$RLLM_CACHE/environments``, named after what was asked for, complete or not
there at all, and never written to again; the sandbox shows it to jobs read-only. pip runs outside the sandbox, so it takes
wheels alone, the installation of which runs no code of theirs, unless builds from source are asked for.
"""

import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rllm_assets.data.cache import cache_directory, locked
from rllm_assets.data.files import atomic_directory
from rllm_assets.data.hashing import content_hash
from rllm_assets.data.issues import Issue, RepositoryTask
from rllm_assets.data.projects import ProjectError, requirements_of
from rllm_assets.data.repositories import TaskError, repository_of

logger = logging.getLogger(__name__)

_ABOUT, _PACKAGES = "environment.json", "packages"
_SECONDS = 1800
# What pip says of each connection that it does not get.
_NO_CONNECTION = "connection broken by"


class BuildError(ValueError):
    """pip cannot install what was asked for; the message ends with what it said last."""


class IndexUnreachableError(RuntimeError):
    """The package index does not answer, which says nothing about what was asked for."""


class InUseError(RuntimeError):
    """An environment cannot be removed now: sandboxes read from it."""


class Environment(BaseModel):
    """An environment that is ready.

    Attributes:
        key: its name, the same for the same requirements on the same kind of machine.
        requirements: what was asked for.
        installed: what it holds, as name==version.
        plugins: modules that are plugins of pytest.
        has_pytest: whether its own pytest is to be used.
        bytes: its size on disk.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    requirements: tuple[str, ...]
    installed: tuple[str, ...]
    plugins: tuple[str, ...]
    has_pytest: bool
    bytes: int

    @property
    def packages(self) -> Path:
        """The directory that goes on the path."""
        return _root() / self.key / _PACKAGES

    @property
    def used(self) -> float:
        """When it was last opened, in seconds since 1970."""
        return (_root() / self.key / _ABOUT).stat().st_mtime


def environment_of(issue: Issue, failed: dict[str, BuildError] | None = None) -> Environment | None:
    """Return the environment of an issue's tests, built now where it is not there yet; None where they need none.

    Args:
        issue: what its own tree says counts, never one that a policy has changed.
        failed: environments that could not be built, by what was asked for: those are not tried again.

    Raises:
        TaskError: where what the repository needs cannot be made out or installed.
        IndexUnreachableError: where the package index does not answer.
    """
    install = issue.task.install if isinstance(issue.task, RepositoryTask) else None
    if install is None:
        return None
    failed = {} if failed is None else failed
    try:
        requirements = requirements_of(repository_of(issue).tree, install)
        if not requirements:
            return None
        asked = content_hash([*requirements, install.source_builds])
        if asked in failed:
            raise failed[asked]
        try:
            return built(requirements, source_builds=install.source_builds)
        except BuildError as error:
            failed[asked] = error
            raise
    except (ProjectError, BuildError) as error:
        raise TaskError(f"{issue.instance_id}: {error}") from None


def built(requirements: Sequence[str], *, source_builds: bool = False) -> Environment:
    """Return the environment of some requirements, built where it is not there yet; whoever comes meanwhile waits.

    The sandbox brings its own pytest. Only where that is none that is asked for, the environment has another.

    Raises:
        BuildError: where pip cannot install them.
        IndexUnreachableError: where the package index does not answer.
    """
    wanted = _without_ours(requirements)
    key = _key(wanted, source_builds)
    directory = _root() / key
    if not (directory / _ABOUT).is_file():
        with locked(_lock(key), lambda: logger.info("waiting for another process that builds environment %s", key)):
            if not (directory / _ABOUT).is_file():
                _build(directory, wanted, source_builds)
    return _read(directory)


def environments() -> list[Environment]:
    """Return the environments that are there, in order of their keys."""
    return [_read(path.parent) for path in sorted(_root().glob(f"[!.]*/{_ABOUT}"))]


@contextmanager
def in_use(environment: Environment) -> Iterator[None]:
    """Keep an environment from being removed."""
    with locked(_lock(environment.key), shared=True):
        if not environment.packages.is_dir():
            raise TaskError(f"environment {environment.key} was removed just now")
        os.utime(_root() / environment.key / _ABOUT)
        yield


def remove(key: str) -> None:
    """Remove an environment; what needs it builds it again.

    Raises:
        InUseError: where it is being built or read from.
    """

    def refuse() -> None:
        raise InUseError(f"environment {key} is in use")

    with locked(_lock(key), refuse):
        # Gone as a whole, also for who looks while its files are being deleted.
        aside = _root() / f".{key}.removed.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        (_root() / key).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _is_pytest(requirement: str) -> bool:
    return re.match(r"pytest(?![\w.\-])", requirement, re.IGNORECASE) is not None


def _without_ours(requirements: Sequence[str]) -> tuple[str, ...]:
    """Return requirements in order, less those on pytest where the sandbox's own will do."""
    from packaging.requirements import Requirement

    ours = metadata.version("pytest")
    asked = [Requirement(text).specifier for text in requirements if _is_pytest(text)]
    will_do = all(specifier.contains(ours, prereleases=True) for specifier in asked)
    return tuple(sorted({text for text in requirements if not (will_do and _is_pytest(text))}))


def _root() -> Path:
    return cache_directory() / "environments"


def _lock(key: str) -> Path:
    return _root() / ".locks" / key


def _key(requirements: Sequence[str], source_builds: bool) -> str:
    machine = [sys.implementation.cache_tag, sysconfig.get_platform(), *platform.libc_ver()]
    return content_hash([list(requirements), source_builds, machine, metadata.version("pytest")])[:20]


def _read(directory: Path) -> Environment:
    return Environment.model_validate_json((directory / _ABOUT).read_bytes())


def _build(directory: Path, requirements: tuple[str, ...], source_builds: bool) -> None:
    # Of a build that was killed; whoever holds the lock is the only one who builds here.
    for left in directory.parent.glob(f".{directory.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    logger.info("building environment %s: %s", directory.name, ", ".join(requirements))
    with atomic_directory(directory) as draft:
        packages = draft / _PACKAGES
        packages.mkdir(mode=0o755)
        _install(packages, requirements, source_builds)
        found = list(metadata.distributions(path=[str(packages)]))
        points = [point for each in found for point in each.entry_points if point.group == "pytest11"]
        environment = Environment(
            key=directory.name,
            requirements=requirements,
            installed=tuple(sorted(f"{each.name}=={each.version}" for each in found)),
            plugins=tuple(sorted({point.module for point in points})),
            has_pytest=any(_is_pytest(text) for text in requirements),
            bytes=sum(path.lstat().st_blocks * 512 for path in packages.rglob("*")),
        )
        (draft / _ABOUT).write_text(environment.model_dump_json(indent=2), encoding="utf-8")


def _install(packages: Path, requirements: Sequence[str], source_builds: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="rllm-environment-") as name:
        listed, pinned = Path(name) / "requirements.txt", Path(name) / "constraints.txt"
        listed.write_text("".join(f"{text}\n" for text in requirements), encoding="utf-8")
        ours = "" if any(_is_pytest(text) for text in requirements) else f"pytest=={metadata.version('pytest')}\n"
        pinned.write_text(ours, encoding="utf-8")
        command = [sys.executable, "-I", "-m", "pip", "install", "--target", str(packages), "--no-input", "--quiet"]
        command += ["--disable-pip-version-check", "--no-warn-conflicts", "--root-user-action", "ignore"]
        command += [] if source_builds else ["--only-binary", ":all:"]
        command += ["--requirement", str(listed), "--constraint", str(pinned)]
        try:
            # Jobs read it as somebody else, who this user's umask might shut out.
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_SECONDS, umask=0o022, cwd=name,
                env=_variables(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise BuildError(f"pip took longer than {_SECONDS} seconds") from None
    if done.returncode == 0:
        return
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in said if line.startswith("ERROR:")] or said or [f"exit code {done.returncode}"]
    if _NO_CONNECTION in done.stderr:
        raise IndexUnreachableError(f"pip cannot reach the package index: {errors[-1]}")
    raise BuildError(f"pip: {errors[-1].removeprefix('ERROR: ')[:500]}")


def _variables() -> dict[str, str]:
    """Return this process's environment variables, less what would put packages elsewhere."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("PIP_TARGET", "PIP_USER", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV")
    }
