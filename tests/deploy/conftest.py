"""The files under deploy/, read once."""

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="session")
def values() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deploy" / "helm" / "dagster-values.yaml").read_text())


@pytest.fixture(scope="session")
def objects() -> list[dict[str, Any]]:
    """Return what the kustomize base renders."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: the kustomize base is not rendered")
    command = [kubectl, "kustomize", str(ROOT / "deploy" / "kustomize" / "base")]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(rendered))
