"""The pods that candidates run in: valid objects, and pods that may do nothing."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rllm_assets.verification.verifier import SANDBOXES
from tests.deploy.test_kustomize import KUBERNETES, of_kind

Objects = list[dict[str, Any]]


@pytest.fixture(scope="module")
def objects(repository: Path) -> Objects:
    folder = repository / "deploy" / "kustomize" / "sandbox"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(path.name for path in folder.iterdir())
    return [entry for name in listed for entry in yaml.safe_load_all((folder / name).read_text())]


def test_every_object_is_valid(objects: Objects) -> None:
    for entry in objects:
        kubernetes_validate.validate(entry, KUBERNETES, strict=True)


def test_the_pods_may_do_nothing(objects: Objects) -> None:
    pod = of_kind(objects, "Deployment")["rllm-sandbox"]["spec"]["template"]
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert pod["metadata"]["labels"] == {"rllm-assets/role": "sandbox"}
    assert of_kind(objects, "RuntimeClass")[spec["runtimeClassName"]]["handler"] == "runsc"
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}
    assert "env" not in container
    assert [volume["emptyDir"] for volume in spec["volumes"]] == [{"sizeLimit": "512Mi"}]


def test_only_steps_call_and_nobody_is_called(objects: Objects) -> None:
    policies = of_kind(objects, "NetworkPolicy")
    (ingress,) = policies["sandbox-from-runs"]["spec"]["ingress"]
    assert ingress["from"] == [{"podSelector": {"matchLabels": {"rllm-assets/role": "run"}}}]
    assert policies["sandbox-from-runs"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policies["sandbox-from-runs"]["spec"]
    (port,) = of_kind(objects, "Service")["rllm-sandbox"]["spec"]["ports"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": port["port"]}]


def test_the_probes_ask_for_what_is_served(objects: Objects) -> None:
    (container,) = of_kind(objects, "Deployment")["rllm-sandbox"]["spec"]["template"]["spec"]["containers"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"].removeprefix("/") in SANDBOXES
