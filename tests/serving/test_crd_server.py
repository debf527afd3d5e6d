"""Deploying to a real CRD API server with KServe's own CRD, whose controller is the test.

Needs the start script of such a server, named by RLLM_CRD_APISERVER: given the first of three free ports, it prints the path
of a kubeconfig and serves until it is told to stop.
"""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rllm_assets.config.schema import ServingConfig
from rllm_assets.serving import Endpoint, Servable, ServingError, kserve
from rllm_assets.serving.cluster import FIELD_MANAGER, connect
from rllm_assets.serving.kserve import deploy_kserve

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]

Make = Callable[..., Servable]
WHERE = ("serving.kserve.io", "v1beta1", "rllm", "inferenceservices")


def free_ports(count: int) -> int:
    """Return the first of `count` consecutive free ports, outside of the range that the kernel hands out."""
    for first in range(21_000, 30_000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + offset))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
        return first
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def server(inference_service_crd: dict[str, Any]) -> Iterator[Path]:
    """Return the kubeconfig of a running API server that knows InferenceServices."""
    script = Path(os.environ.get("RLLM_CRD_APISERVER", ""))
    if not script.is_file():
        pytest.skip("RLLM_CRD_APISERVER names no start script: KServe's API is not tested against a real server")
    with subprocess.Popen([str(script), str(free_ports(3))], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            kubeconfig = process.stdout.readline().strip()
            assert kubeconfig, f"{script} did not start"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("KUBECONFIG", kubeconfig)
                install(inference_service_crd)
            yield Path(kubeconfig)
        finally:
            process.send_signal(signal.SIGTERM)


def install(crd: dict[str, Any]) -> None:
    """Create a CRD and return when the server serves its kind."""
    from kubernetes.client import ApiextensionsV1Api
    from kubernetes.client.exceptions import NotFoundException

    api = connect()
    ApiextensionsV1Api(api.api_client).create_custom_resource_definition(crd)
    while True:
        with contextlib.suppress(NotFoundException):
            api.list_namespaced_custom_object(*WHERE)
            return


@pytest.fixture
def api(server: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a client, after which no service is left."""
    monkeypatch.setenv("KUBECONFIG", str(server))
    api: Any = connect()
    yield api
    for item in api.list_namespaced_custom_object(*WHERE)["items"]:
        api.delete_namespaced_custom_object(*WHERE, item["metadata"]["name"])


class Deployment:
    """A deployment under way in a thread, seen from the controller's side."""

    def __init__(self, api: Any, pool: ThreadPoolExecutor) -> None:
        self.api, self.pool = api, pool

    def start(self, servable: Servable, **options: Any) -> "Future[Endpoint]":
        settings = {"base_uri": "hf://a/b", "adapter_uri": "s3://rllm/adapter", "timeout_seconds": 60} | options
        return self.pool.submit(deploy_kserve, servable, ServingConfig(target="kserve", **settings), poll_seconds=0.02)

    def seen(self, generation: int, deployment: "Future[Endpoint]") -> dict[str, Any]:
        """Return the service once it has the generation."""
        from kubernetes.client.exceptions import NotFoundException

        while not deployment.done():
            with contextlib.suppress(NotFoundException):
                service = self.api.get_namespaced_custom_object(*WHERE, "rllm")
                if service["metadata"]["generation"] == generation:
                    return service
        raise AssertionError(f"the deployment ended before generation {generation}: {deployment.exception()}")

    def report(self, observed: int, ready: bool, reason: str = "", **model: Any) -> None:
        """Write a status as KServe's controller does."""
        now, truth = "2026-01-01T00:00:00Z", "True" if ready else "False"
        conditions = [
            {"type": "IngressReady", "status": truth, "lastTransitionTime": now},
            {"type": "PredictorReady", "status": truth, "reason": reason, "lastTransitionTime": now},
            {"type": "Ready", "status": truth, "lastTransitionTime": now},
        ]
        model_status = {"transitionStatus": "UpToDate" if ready else "InProgress"} | model
        status = {
            "observedGeneration": observed,
            "conditions": conditions,
            "modelStatus": model_status,
            "url": "http://rllm-rllm.example.com",
            "deploymentMode": "Standard",
        }
        self.api.patch_namespaced_custom_object_status(
            *WHERE, "rllm", {"status": status}, _content_type="application/merge-patch+json"
        )


@pytest.fixture
def controller(api: Any) -> Iterator[Deployment]:
    with ThreadPoolExecutor(1) as pool:
        yield Deployment(api, pool)


def test_first_deployment_then_update(servable: Make, controller: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: list[str] = []

    def judge(*services: Any) -> kserve.Verdict:
        verdict = real_judge(*services)
        reasons.append(verdict.reason)
        return verdict

    real_judge = kserve.judge
    monkeypatch.setattr(kserve, "judge", judge)
    first = controller.start(servable("aaaa1111"))
    service = controller.seen(1, first)
    assert {entry["manager"] for entry in service["metadata"]["managedFields"]} == {FIELD_MANAGER}
    controller.report(0, ready=False)
    assert not first.done()
    controller.report(1, ready=True, reason="NewReplicaSetAvailable")
    assert first.result(timeout=30).url == "http://rllm-rllm.example.com/openai/v1"

    second = controller.start(servable("bbbb2222"))
    service = controller.seen(2, second)
    assert service["spec"]["predictor"]["annotations"]["rllm-assets/checkpoint-hash"] == "bbbb2222"
    controller.report(2, ready=True, reason="MinimumReplicasAvailable")
    while "the old pods still serve while the new ones start" not in reasons:
        assert not second.done()
    controller.report(2, ready=True, reason="NewReplicaSetAvailable")
    assert second.result(timeout=30).checkpoint_hash == "bbbb2222"


def test_the_same_again_changes_nothing(servable: Make, controller: Deployment, api: Any) -> None:
    made = servable("aaaa1111")
    first = controller.start(made)
    controller.seen(1, first)
    controller.report(1, ready=True, reason="NewReplicaSetAvailable")
    first.result(timeout=30)
    version = api.get_namespaced_custom_object(*WHERE, "rllm")["metadata"]["resourceVersion"]

    controller.start(made).result(timeout=30)

    assert api.get_namespaced_custom_object(*WHERE, "rllm")["metadata"]["resourceVersion"] == version


def test_a_failed_load(servable: Make, controller: Deployment) -> None:
    deployment = controller.start(servable("aaaa1111"))
    controller.seen(1, deployment)
    info = {"reason": "ModelLoadFailed", "message": "no such bucket", "exitCode": 1}
    controller.report(1, ready=False, transitionStatus="BlockedByFailedLoad", lastFailureInfo=info)
    with pytest.raises(ServingError, match=r"failed: BlockedByFailedLoad \(ModelLoadFailed: no such bucket\)$"):
        deployment.result(timeout=30)


def test_never_ready(servable: Make, controller: Deployment) -> None:
    deployment = controller.start(servable("aaaa1111"), timeout_seconds=4)
    controller.seen(1, deployment)
    controller.report(1, ready=False, reason="MinimumReplicasUnavailable")
    with pytest.raises(
        ServingError,
        match=r"was not ready after 4 s .*IngressReady=False; PredictorReady=False \(MinimumReplicasUnavailable\)",
    ):
        deployment.result(timeout=30)


def test_what_others_have_set_is_not_taken_from_them(servable: Make, controller: Deployment, api: Any) -> None:
    first = controller.start(servable("aaaa1111"))
    controller.seen(1, first)
    controller.report(1, ready=True)
    first.result(timeout=30)
    theirs = {"spec": {"predictor": {"minReplicas": 3, "timeout": 90}}}
    api.patch_namespaced_custom_object(
        *WHERE, "rllm", theirs, field_manager="somebody", _content_type="application/merge-patch+json"
    )
    with pytest.raises(
        ServingError, match=r'others manage fields .*\.spec\.predictor\.minReplicas: conflict with "somebody"'
    ):
        controller.start(servable("bbbb2222")).result(timeout=30)

    theirs = {"spec": {"predictor": {"minReplicas": 1}}}
    api.patch_namespaced_custom_object(
        *WHERE, "rllm", theirs, field_manager="somebody", _content_type="application/merge-patch+json"
    )
    second = controller.start(servable("cccc3333"))
    service = controller.seen(4, second)
    assert service["spec"]["predictor"]["timeout"] == 90
    controller.report(4, ready=True)
    assert second.result(timeout=30).checkpoint_hash == "cccc3333"


def test_a_deletion_ends_the_wait(servable: Make, controller: Deployment, api: Any) -> None:
    deployment = controller.start(servable("aaaa1111"))
    controller.seen(1, deployment)
    api.delete_namespaced_custom_object(*WHERE, "rllm")
    with pytest.raises(ServingError, match="was deleted while it was being deployed"):
        deployment.result(timeout=30)


def test_a_kind_that_is_not_installed_is_named(
    servable: Make, controller: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rllm_assets.serving.cluster.VERSION", "v9")
    with pytest.raises(
        ServingError, match=r"the cluster has no inferenceservices\.serving\.kserve\.io v9: install KServe"
    ):
        controller.start(servable("aaaa1111")).result(timeout=30)


def test_a_field_that_its_kserve_does_not_know_is_named(
    servable: Make, controller: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = kserve.build_inference_service

    def newer(*arguments: Any) -> dict[str, Any]:
        manifest = build(*arguments)
        manifest["spec"]["predictor"]["warpDrive"] = True
        return manifest

    monkeypatch.setattr(kserve, "build_inference_service", newer)
    with pytest.raises(ServingError, match=r"so it may be too old: .*warpDrive"):
        controller.start(servable("aaaa1111")).result(timeout=30)
