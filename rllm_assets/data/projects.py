"""What a repository says that it needs: read from its tree as data, nothing of which is ever run."""

import configparser
import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from rllm_assets.data.changes import Tree
from rllm_assets.data.issues import Install

_PYPROJECT, _SETUP = "pyproject.toml", "setup.cfg"
# What a requirements file may hold besides requirements: comments, and the repository itself.
_COMMENT = re.compile(r"(^|\s)#.*$")
_ITSELF = re.compile(r"^(-e\s+|--editable[ =])?\.(\[[\w,\s.\-]*\])?$")
_INCLUDED = re.compile(r"^(?:-r\s*|--requirement[ =])(\S+)$")


class ProjectError(ValueError):
    """A repository's own description of what it needs cannot be used; the message names the file and says why."""


@dataclass(frozen=True)
class Project:
    """A repository as it describes itself; names and lists are empty where it says nothing.

    Attributes:
        name: of the distribution.
        version: where it is written down.
        python: the versions of Python that it is for.
        dependencies: requirements.
        extras: further requirements by name, those of dependency groups among them.
        entry_points: what it offers, by group: names to objects.
    """

    name: str = ""
    version: str = ""
    python: str = ""
    dependencies: tuple[str, ...] = ()
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    entry_points: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def project_of(tree: Tree) -> Project:
    """Return the project that a tree's pyproject.toml describes (PEP 621, PEP 735), or else its setup.cfg.

    Raises:
        ProjectError: where the file cannot be parsed.
    """
    return _project(tree.get(_PYPROJECT, ""), tree.get(_SETUP, ""))


def requirements_of(tree: Tree, install: Install) -> tuple[str, ...]:
    """Return the requirements of a tree's tests, each once and in order, as `install` asks for them.

    Raises:
        ProjectError: where a file cannot be parsed or is not there, where there is no such extra, where the project is for
            another Python, and for what is no requirement by name and version.
    """
    project = project_of(tree)
    wanted = list(install.packages)
    if install.project or install.extras:
        _check_python(project)
    if install.project:
        wanted += project.dependencies
    for extra in install.extras:
        wanted += _of_extra(project, extra)
    for file in install.files:
        wanted += _of_file(tree, file)
    return tuple(sorted({checked(text, "the tree") for text in _without_itself(project, wanted)}))


def metadata_files(tree: Tree) -> dict[str, str]:
    """Return what an installation would have written of a tree's project, so that it finds its own version and entry points.

    Raises:
        ProjectError: as `project_of`.
    """
    project = project_of(tree)
    if not re.fullmatch(r"[A-Za-z0-9]([\w.\-]*[A-Za-z0-9])?", project.name, re.ASCII):
        return {}
    version = project.version if re.fullmatch(r"[\w.+!\-]+", project.version, re.ASCII) else "0"
    folder = f"{re.sub(r'[-_.]+', '_', project.name)}-{version}.dist-info"
    groups = "\n".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in names.items())
        for group, names in project.entry_points.items()
    )
    about = f"Metadata-Version: 2.1\nName: {project.name}\nVersion: {version}\n"
    return {f"{folder}/METADATA": about, f"{folder}/entry_points.txt": groups}


def checked(text: str, where: str) -> str:
    """Return a requirement in its one form.

    Raises:
        ProjectError: where it is none, or names an address: what is installed comes from the package index alone.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise ProjectError(f"{where}: {text!r} is no requirement: {str(error).splitlines()[0]}") from None
    if requirement.url is not None:
        raise ProjectError(f"{where}: {text!r} names an address; only what the package index has is installed")
    return str(requirement)


@functools.lru_cache(maxsize=64)
def _project(pyproject: str, setup: str) -> Project:
    try:
        described = tomllib.loads(pyproject)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProjectError(f"{_PYPROJECT}: {error}") from None
    if isinstance(described.get("project"), dict):
        return _from_pyproject(described["project"], described.get("dependency-groups"))
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(setup)
    except configparser.Error as error:
        raise ProjectError(f"{_SETUP}: {' '.join(str(error).split())}") from None
    extras = parser["options.extras_require"] if parser.has_section("options.extras_require") else {}
    return Project(
        name=parser.get("metadata", "name", fallback=""),
        version=parser.get("metadata", "version", fallback=""),
        python=parser.get("options", "python_requires", fallback=""),
        dependencies=_lines(parser.get("options", "install_requires", fallback="")),
        extras={name: _lines(text) for name, text in extras.items()},
    )


def _from_pyproject(project: Mapping[str, Any], groups: Any) -> Project:
    extras = {name: _texts(value) for name, value in _table(project.get("optional-dependencies")).items()}
    groups = _table(groups)
    scripts = {"console_scripts": project.get("scripts"), "gui_scripts": project.get("gui-scripts")}
    entry_points = {**scripts, **_table(project.get("entry-points"))}
    return Project(
        name=str(project.get("name", "")),
        version=str(project.get("version", "")),
        python=str(project.get("requires-python", "")),
        dependencies=_texts(project.get("dependencies")),
        extras={**{name: tuple(_of_group(groups, name, ())) for name in groups}, **extras},
        entry_points={
            group: {name: str(target) for name, target in _table(names).items()}
            for group, names in entry_points.items()
            if names
        },
    )


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _of_group(groups: Mapping[str, Any], name: str, trail: tuple[str, ...]) -> Iterator[str]:
    for item in groups.get(name) or ():
        if isinstance(item, str):
            yield item
        elif (included := _table(item).get("include-group")) and included not in trail:
            yield from _of_group(groups, included, (*trail, name))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


def _of_extra(project: Project, name: str) -> tuple[str, ...]:
    if name not in project.extras:
        known = ", ".join(project.extras) or "none"
        raise ProjectError(f"it declares no extra or dependency group {name!r}; there is {known}")
    return project.extras[name]


def _of_file(tree: Tree, file: str, trail: tuple[str, ...] = ()) -> Iterator[str]:
    text = tree.get(file)
    if text is None:
        raise ProjectError(f"{file}: no such file in the tree")
    for number, line in enumerate(text.splitlines(), start=1):
        line = _COMMENT.sub("", line).strip()
        if not line or _ITSELF.match(line):
            continue
        if included := _INCLUDED.match(line):
            path = str(PurePosixPath(file).parent / included[1])
            if path in (*trail, file):
                raise ProjectError(f"{file}:{number}: {line!r} goes round in a circle")
            yield from _of_file(tree, path, (*trail, file))
        elif not line.startswith("--hash="):
            # The hashes of a locked file stand behind the requirement, most often on lines of their own.
            yield checked(line.partition(" --hash=")[0].rstrip("\\ "), f"{file}:{number}")


def _without_itself(project: Project, wanted: list[str]) -> Iterator[str]:
    """Yield requirements, less those on the project itself, in whose place its own extras stand."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    own = canonicalize_name(project.name)
    waiting, seen = list(wanted), set()
    while waiting:
        text = checked(waiting.pop(), "the tree")
        if text in seen:
            continue
        seen.add(text)
        requirement = Requirement(text)
        if own and canonicalize_name(requirement.name) == own:
            waiting += [part for extra in requirement.extras for part in _of_extra(project, extra)]
        else:
            yield text


def _check_python(project: Project) -> None:
    import platform

    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        fits = SpecifierSet(project.python).contains(platform.python_version(), prereleases=True)
    except InvalidSpecifier as error:
        raise ProjectError(f"requires-python: {error}") from None
    if not fits:
        raise ProjectError(f"it is for Python {project.python}, and this is {platform.python_version()}")
