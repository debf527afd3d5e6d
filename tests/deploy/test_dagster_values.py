"""The chart's values name what the image and the base have, and make the pods that they seem to.

Dagster's chart turns them into the run launcher's configuration and into the code server's container context
(helm/dagster/templates/helpers/instance/_run-launcher.tpl and .../dagster-user-deployments/templates/helpers/_helpers.tpl);
what it does there is done here, and Dagster's own code makes the Job.
"""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from kubernetes.client import ApiClient

from rllm_assets.assets.sizes import heavy_tags
from tests.deploy.test_local import ONE_RUN_A_PARTITION

Values = dict[str, Any]


@pytest.fixture(scope="module")
def code(values: Values) -> dict[str, Any]:
    """Return the values of the code server."""
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    return deployment


@pytest.fixture(scope="module")
def launcher(values: Values) -> dict[str, Any]:
    """Return the values of the run launcher."""
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    return values["runLauncher"]["config"]["k8sRunLauncher"]


@pytest.fixture(scope="module")
def job(values: Values, code: dict[str, Any], launcher: dict[str, Any]) -> dict[str, Any]:
    """Return the Job of a run."""
    run_config = launcher["runK8sConfig"]
    ours = K8sContainerContext(
        image_pull_policy=launcher["imagePullPolicy"],
        run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(
            {
                "container_config": run_config["containerConfig"],
                "pod_spec_config": run_config["podSpecConfig"],
                "pod_template_spec_metadata": run_config["podTemplateSpecMetadata"],
                "job_spec_config": run_config["jobSpecConfig"],
            }
        ),
    )
    passed_on = {key: code[key] for key in ("env", "volumes", "resources", "labels") if key in code}
    context = {
        "image_pull_policy": code["image"]["pullPolicy"],
        "volume_mounts": code["volumeMounts"],
        "namespace": "rllm",
        "service_account_name": values["dagster-user-deployments"]["serviceAccount"]["name"],
        "run_k8s_config": {"pod_spec_config": {"automount_service_account_token": True}},
        **passed_on,
    }
    merged = ours.merge(K8sContainerContext.create_from_config({"k8s": context}))
    image = f"{code['image']['repository']}:{code['image']['tag']}"
    config = DagsterK8sJobConfig(
        job_image=image,
        dagster_home="/opt/dagster/dagster_home",
        instance_config_map="dagster-instance",
        postgres_password_secret="dagster-postgresql-secret",
    )
    made = construct_dagster_k8s_job(
        config, ["dagster", "api", "execute_run"], "run", user_defined_k8s_config=merged.run_k8s_config
    )
    serialized: Any = ApiClient().sanitize_for_serialization(made)
    return serialized


@pytest.fixture(scope="module")
def pod(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["template"]


def test_the_job_of_a_run_is_valid(job: dict[str, Any]) -> None:
    kubernetes_validate.validate(job, "1.36", strict=True)
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400


def test_a_run_has_the_code_servers_image_environment_and_volume(pod: dict[str, Any], project: dict[str, Any]) -> None:
    (container,) = pod["spec"]["containers"]
    assert container["image"] == f"rllm-assets:{project['version']}"
    assert {"name": "RLLM_EXECUTOR", "value": "k8s"} in container["env"]
    assert {"name": "data", "mountPath": "/var/lib/rllm"} in container["volumeMounts"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "rllm-data"}} in pod["spec"]["volumes"]


def test_a_run_has_its_own_resources_and_asks_for_no_gpu(pod: dict[str, Any]) -> None:
    (container,) = pod["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "4Gi"},
        "limits": {"cpu": "2", "memory": "12Gi"},
    }


def test_a_heavy_step_asks_for_what_the_values_say(pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = pod["spec"]["containers"]
    sizes = {entry["name"]: entry["value"] for entry in container["env"] if entry["name"].startswith("RLLM_STEP_")}
    assert set(sizes) == {"RLLM_STEP_CPUS", "RLLM_STEP_GPUS", "RLLM_STEP_MEMORY"}
    for name, value in sizes.items():
        monkeypatch.setenv(name, value)
    assert heavy_tags()["dagster-k8s/config"]["container_config"]["resources"] == {
        "requests": {"cpu": "2", "memory": "12Gi"},
        "limits": {"memory": "12Gi"},
    }


def test_a_run_has_no_privileges_but_the_namespaces_of_its_sandboxes(pod: dict[str, Any]) -> None:
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "Unconfined"},
    }
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["serviceAccountName"] == "rllm-runs"


def test_the_network_policy_is_about_runs(pod: dict[str, Any], objects: list[dict[str, Any]]) -> None:
    (policy,) = (entry for entry in objects if (entry["kind"], entry["metadata"]["name"]) == ("NetworkPolicy", "runs"))
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert selector.items() <= pod["metadata"]["labels"].items()


def test_names_are_those_of_the_base(values: Values, code: dict[str, Any], objects: list[dict[str, Any]]) -> None:
    there = {(entry["kind"], entry["metadata"]["name"]) for entry in objects}
    account = values["dagster-user-deployments"]["serviceAccount"]
    assert account["create"] is False
    assert ("ServiceAccount", account["name"]) in there
    for volume in code["volumes"]:
        assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there


def test_the_code_server_serves_the_projects_definitions(
    values: Values, code: dict[str, Any], repository: Path
) -> None:
    assert code["dagsterApiGrpcArgs"] == ["-m", "rllm_assets.definitions"]
    dockerfile = (repository / "deploy" / "Dockerfile").read_text()
    assert '"-m", "rllm_assets.definitions"]' in dockerfile
    assert f'"-p", "{code["port"]}"' in dockerfile
    assert values["dagster-user-deployments"]["enableSubchart"] is True


def test_the_run_launcher_knows_every_key(launcher: dict[str, Any]) -> None:
    """A misspelt key would be dropped by the chart without a word."""
    assert set(launcher) == {"imagePullPolicy", "loadInclusterConfig", "runK8sConfig"}
    known = {"containerConfig", "podSpecConfig", "podTemplateSpecMetadata", "jobSpecConfig", "jobMetadata"}
    assert set(launcher["runK8sConfig"]) <= known
    fields = K8sRunLauncher.config_type()
    assert {"image_pull_policy", "load_incluster_config", "run_k8s_config"} <= set(fields)


def test_pools_are_limited(values: Values) -> None:
    assert values["additionalInstanceConfig"] == {"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}}


def test_the_readme_gives_the_versions_that_are_meant(
    repository: Path, code: dict[str, Any], project: dict[str, Any]
) -> None:
    readme = (repository / "deploy" / "README.md").read_text()
    (dagster,) = (line for line in project["dependencies"] if line.startswith("dagster>"))
    chart = dagster.removeprefix("dagster>=").split(",")[0]
    assert f"dagster/dagster --version {chart} " in readme
    assert f"--tag {code['image']['repository']}:{code['image']['tag']} ." in readme
    for block in yaml.safe_load_all((repository / "deploy" / "kustomize" / "base" / "namespace.yaml").read_text()):
        assert f"--namespace {block['metadata']['name']} " in readme


def test_a_partition_has_one_run_at_a_time(values: Values) -> None:
    coordinator = values["dagsterDaemon"]["runCoordinator"]
    assert coordinator["type"] == "QueuedRunCoordinator"
    limits = coordinator["config"]["queuedRunCoordinator"]["tagConcurrencyLimits"]
    assert limits == ONE_RUN_A_PARTITION
