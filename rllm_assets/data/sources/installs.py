"""The option `install` of sources of repositories: what pip installs before their tests run."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from rllm_assets.data.issues import Install, Issue, Rejected, RepositoryTask, first_error
from rllm_assets.data.projects import ProjectError, checked


def complaint(value: Any) -> str:
    """Return what is wrong with the option; nothing where it is right."""
    if not isinstance(value, Mapping) or not value:
        return f"a mapping is expected, with one or more of {', '.join(Install.model_fields)}, not {value!r}"
    try:
        install = Install.model_validate(value)
        for text in install.packages:
            checked(text, "packages")
    except ValidationError as error:
        field, reason = first_error(error)
        known = f"unknown; known are {', '.join(Install.model_fields)}"
        return f"{field}: {known if reason.startswith('Extra inputs') else reason}"
    except ProjectError as error:
        return str(error)
    if not (install.packages or install.project or install.extras or install.files):
        return "source_builds: without effect, since nothing is installed"
    return ""


def complaint_with_rows(value: Any) -> str:
    """Return what is wrong with the option where rows may name packages themselves; nothing where it is right."""
    if isinstance(value, Mapping) and "rows" in value:
        if not isinstance(value["rows"], bool):
            return f"rows: true or false is expected, not {value['rows']!r}"
        # What the rows name may be all there is.
        value = {**{name: each for name, each in value.items() if name != "rows"}, "project": True}
    return complaint(value)


def with_install(rows: Iterator[Issue | Rejected], value: Any) -> Iterator[Issue | Rejected]:
    """Yield rows with the option, as it stands in benchmark.yaml, in their tasks."""
    install = Install.model_validate(value) if value else None
    for row in rows:
        yield installing(row, install) if isinstance(row, Issue) and install else row


def installing(issue: Issue, install: Install) -> Issue:
    """Return an issue whose tests need what `install` says."""
    assert isinstance(issue.task, RepositoryTask)
    return issue.model_copy(update={"task": issue.task.model_copy(update={"install": install})})


def packages_of_row(config: Any) -> tuple[str, ...]:
    """Return the packages that a row of SWE-rebench names (`install_config.pip_packages`); its commands are never run.

    Raises:
        ValueError: where they are no list of requirements.
    """
    if isinstance(config, str):
        try:
            config = json.loads(config)
        except RecursionError:
            raise ValueError("nested too deeply") from None
    packages = config.get("pip_packages") if isinstance(config, dict) else None
    if packages is None:
        return ()
    if not isinstance(packages, list) or not all(isinstance(text, str) for text in packages):
        raise ValueError("pip_packages: a list of requirements is expected")
    return tuple(checked(text, "pip_packages") for text in packages)
