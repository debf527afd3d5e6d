"""The kustomize base renders to valid objects that grant what is used and no more."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rllm_assets.serving.inference_service import GROUP, PLURAL

KUBERNETES = "1.36"

Objects = list[dict[str, Any]]


def of_kind(objects: Objects, kind: str) -> dict[str, dict[str, Any]]:
    return {entry["metadata"]["name"]: entry for entry in objects if entry["kind"] == kind}


def test_every_file_of_the_base_is_used(repository: Path) -> None:
    base = repository / "deploy" / "kustomize" / "base"
    listed = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(path.name for path in base.iterdir())


def test_what_it_renders(objects: Objects) -> None:
    assert sorted((entry["kind"], entry["metadata"]["name"]) for entry in objects) == [
        ("Namespace", "rllm"),
        ("NetworkPolicy", "runs"),
        ("NetworkPolicy", "sandbox-deny-all"),
        ("PersistentVolumeClaim", "rllm-data"),
        ("Role", "rllm-serving"),
        ("Role", "rllm-steps"),
        ("RoleBinding", "rllm-serving"),
        ("RoleBinding", "rllm-steps"),
        ("ServiceAccount", "rllm-runs"),
    ]


def test_every_object_is_valid_and_of_the_namespace(objects: Objects) -> None:
    for entry in objects:
        kubernetes_validate.validate(entry, KUBERNETES, strict=True)
        if entry["kind"] != "Namespace":
            assert entry["metadata"]["namespace"] == "rllm"


def test_the_validation_finds_what_is_wrong(objects: Objects) -> None:
    claim = of_kind(objects, "PersistentVolumeClaim")["rllm-data"]
    wrong = claim | {"spec": claim["spec"] | {"acessModes": ["ReadWriteOnce"]}}
    with pytest.raises(kubernetes_validate.ValidationError, match="acessModes"):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_runs_may_do_what_they_do_and_no_more(objects: Objects) -> None:
    roles = of_kind(objects, "Role")
    granted = {
        (group, resource): rule["verbs"]
        for role in roles.values()
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert granted == {
        ("batch", "jobs"): ["create", "delete", "get", "list"],
        ("batch", "jobs/status"): ["get"],
        ("", "pods"): ["get", "list"],
        ("", "pods/log"): ["get"],
        ("", "events"): ["list"],
        (GROUP, PLURAL): ["create", "get", "patch"],
    }
    for name, binding in of_kind(objects, "RoleBinding").items():
        assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "rllm-runs", "namespace": "rllm"}]


def test_a_sandbox_has_no_network(objects: Objects) -> None:
    policy = of_kind(objects, "NetworkPolicy")["sandbox-deny-all"]["spec"]
    assert policy == {
        "podSelector": {"matchLabels": {"rllm-assets/role": "sandbox"}},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_a_run_is_called_by_nobody_and_gets_no_cloud_credentials(objects: Objects) -> None:
    policy = of_kind(objects, "NetworkPolicy")["runs"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    outside = [peer["ipBlock"] for rule in policy["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert outside == [{"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}]
    assert [[port["port"] for port in rule["ports"]] for rule in policy["egress"]] == [[53, 53], [5432], [443, 6443]]


def test_no_secret_is_kept_here(repository: Path, objects: Objects) -> None:
    assert of_kind(objects, "Secret") == {}
    for file in (repository / "deploy").rglob("*.yaml"):
        for line in file.read_text().lower().splitlines():
            assert "password:" not in line, f"{file}: {line}"
            assert "token:" not in line.replace("automountserviceaccounttoken:", ""), f"{file}: {line}"
