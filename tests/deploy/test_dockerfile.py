"""What can be said of the Dockerfile without a container engine."""

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

Stage = list[tuple[str, str]]


@pytest.fixture(scope="module")
def dockerfile(repository: Path) -> str:
    return (repository / "deploy" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def instructions(dockerfile: str) -> Stage:
    """Return the instructions and their arguments, in order."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


@pytest.fixture(scope="module")
def arguments(instructions: Stage) -> dict[str, str]:
    """Return the build arguments with their defaults."""
    return dict(rest.split("=", 1) for word, rest in instructions if word == "ARG")


@pytest.fixture(scope="module")
def last_stage(instructions: Stage) -> Stage:
    begins = max(index for index, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[begins:]


def test_only_known_instructions_are_used(instructions: Stage) -> None:
    assert {word for word, _ in instructions} <= {
        "ARG", "CMD", "COPY", "ENV", "EXPOSE", "FROM", "RUN", "USER", "WORKDIR",
    }  # fmt: skip


def test_the_base_is_a_pinned_python_that_the_project_supports(
    instructions: Stage, arguments: dict[str, str], project: dict[str, Any]
) -> None:
    match = re.fullmatch(r"python:(3\.11\.\d+)-slim-bookworm", arguments["PYTHON_IMAGE"])
    assert match
    assert match[1] in SpecifierSet(project["requires-python"])
    assert [rest for word, rest in instructions if word == "FROM"] == [
        "${PYTHON_IMAGE} AS build",
        "${PYTHON_IMAGE} AS run",
    ]


def test_torch_is_the_one_that_the_project_asks_for(arguments: dict[str, str], project: dict[str, Any]) -> None:
    (torch,) = (requirement for requirement in map(Requirement, project["dependencies"]) if requirement.name == "torch")
    assert arguments["TORCH_VERSION"] in torch.specifier
    assert arguments["TORCH_INDEX"] == "https://download.pytorch.org/whl/cpu"


def test_the_extras_exist(arguments: dict[str, str], project: dict[str, Any]) -> None:
    assert set(arguments["EXTRAS"].split(",")) <= project["optional-dependencies"].keys()


def test_dagster_postgres_is_of_dagsters_release(instructions: Stage, project: dict[str, Any]) -> None:
    (install,) = (rest for word, rest in instructions if word == "RUN" and "dagster-postgres" in rest)
    (found,) = re.findall(r'"(dagster-postgres[^"]*)"', install)
    (k8s,) = (one for one in map(Requirement, project["dependencies"]) if one.name == "dagster-k8s")
    assert Requirement(found).specifier == k8s.specifier


def test_the_image_runs_as_somebody_without_rights(last_stage: Stage) -> None:
    words = [word for word, _ in last_stage]
    user = words.index("USER")
    assert last_stage[user][1] == "1000:1000"
    assert "RUN" not in words[user:]
    assert "COPY" not in words[user:]


def test_the_sandbox_is_installed_where_it_is_used(last_stage: Stage) -> None:
    assert any("apt-get install" in rest and "bubblewrap" in rest.split() for word, rest in last_stage if word == "RUN")


def test_launchers_can_give_their_own_command(instructions: Stage, last_stage: Stage) -> None:
    assert "ENTRYPOINT" not in {word for word, _ in instructions}
    (command,) = (json.loads(rest) for word, rest in last_stage if word == "CMD")
    assert command[:3] == ["dagster", "api", "grpc"]
    (port,) = (rest for word, rest in last_stage if word == "EXPOSE")
    assert port in command


def test_the_volume_is_where_the_image_writes(last_stage: Stage, values: dict[str, Any]) -> None:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    (mount,) = deployment["volumeMounts"]
    assert ("WORKDIR", mount["mountPath"]) in last_stage
    (settings,) = (rest for word, rest in last_stage if word == "ENV")
    for name in ("RLLM_STORAGE", "RLLM_CACHE", "RLLM_BENCHMARKS"):
        assert re.search(rf"\b{name}={mount['mountPath']}/", settings)


def test_what_is_copied_is_not_ignored_and_the_rest_is(instructions: Stage, repository: Path) -> None:
    copied = [
        source
        for word, rest in instructions
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    ignored, *rules = (repository / "deploy" / "Dockerfile.dockerignore").read_text().split()
    assert ignored == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(Path(source).name for source in copied)
    assert any(fnmatch.fnmatch("rllm_assets/data/__pycache__", rule) for rule in rules)


def test_what_the_build_needs_of_the_project_is_copied(instructions: Stage, project: dict[str, Any]) -> None:
    (copy,) = (rest for word, rest in instructions if word == "COPY" and "pyproject.toml" in rest)
    assert {"pyproject.toml", project["readme"], *project["license-files"]} == set(copy.split()[:-1])
