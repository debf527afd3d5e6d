"""Deploying to KServe, against an API server in memory whose controller is the test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rllm_assets.config.schema import ServingConfig
from rllm_assets.serving import Endpoint, Servable, ServingError, deploy
from rllm_assets.serving.kserve import deploy_kserve, judge

Make = Callable[..., Servable]
Kubernetes = Any  # FakeKubernetes, which conftest loads by its path.
PATH = "/apis/serving.kserve.io/v1beta1/namespaces/rllm/inferenceservices/rllm"
URL = "http://rllm-rllm.example.com"


def config(timeout_seconds: float = 60) -> ServingConfig:
    return ServingConfig(
        target="kserve",
        timeout_seconds=timeout_seconds,
        base_uri="hf://HuggingFaceTB/SmolLM2-135M-Instruct",
        adapter_uri="s3://rllm/adapter",
    )


def run(servable: Servable, timeout_seconds: float = 60) -> Endpoint:
    return deploy_kserve(servable, config(timeout_seconds), poll_seconds=0)


def condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, str]:
    details = {"reason": reason, "message": message}
    return {"type": kind, "status": status, **{key: value for key, value in details.items() if value}}


def ready(observed: int, reason: str = "NewReplicaSetAvailable") -> dict[str, Any]:
    conditions = [
        condition("IngressReady", "True"),
        condition("PredictorReady", "True", reason),
        condition("Ready", "True"),
        condition("Stopped", "False"),
    ]
    return {
        "observedGeneration": observed,
        "url": URL,
        "conditions": conditions,
        "modelStatus": {"transitionStatus": "UpToDate"},
    }


def starting(observed: int = 0) -> dict[str, Any]:
    conditions = [
        condition("IngressReady", "Unknown"),
        condition("PredictorReady", "False", "MinimumReplicasUnavailable", "no pod is available"),
        condition("Ready", "False"),
        condition("Stopped", "False"),
    ]
    return {"observedGeneration": observed, "conditions": conditions, "modelStatus": {"transitionStatus": "InProgress"}}


def failed(kind: str = "BlockedByFailedLoad", message: str = "no such bucket") -> dict[str, Any]:
    model = {
        "transitionStatus": kind,
        "lastFailureInfo": {"reason": "ModelLoadFailed", "message": message, "exitCode": 1},
    }
    return starting() | {"modelStatus": model}


def test_a_first_deployment_is_applied_and_awaited(servable: Make, kubernetes: Kubernetes) -> None:
    kubernetes.statuses = [{}, starting(1), ready(1)]

    endpoint = deploy(servable("aaaa1111"), config().model_copy(update={"timeout_seconds": 60}), Path("/unused"), [])

    assert kubernetes.reads == 3
    assert endpoint == Endpoint(
        name="rllm",
        target="kserve",
        url=f"{URL}/openai/v1",
        model="rllm",
        base_model_name="tiny",
        checkpoint_hash="aaaa1111",
        started_at=endpoint.started_at,
        lineage={"checkpoint": "aaaa1111", "issues": ["pocket__clamp-1"]},
    )
    stored = kubernetes.services[PATH]
    assert stored["metadata"]["annotations"]["rllm-assets/checkpoint-hash"] == "aaaa1111"
    ((_, query, headers),) = (request for request in kubernetes.requests if request[0] == "PATCH")
    assert query == {"fieldManager": "rllm-assets", "fieldValidation": "Strict"}
    assert headers["Content-Type"] == "application/apply-patch+yaml"


def test_an_update_waits_for_the_new_pods(servable: Make, kubernetes: Kubernetes) -> None:
    kubernetes.statuses = [ready(1)]
    run(servable("aaaa1111"))
    kubernetes.reads = 0
    before, unseen, rolling, done = ready(1), ready(1), ready(2, reason="MinimumReplicasAvailable"), ready(2)
    kubernetes.statuses = [before, unseen, rolling, done]

    endpoint = run(servable("bbbb2222"))

    assert kubernetes.reads == 4
    assert endpoint.checkpoint_hash == "bbbb2222"
    assert kubernetes.services[PATH]["metadata"]["generation"] == 2


def test_deploying_the_same_again_is_ready_at_once(servable: Make, kubernetes: Kubernetes) -> None:
    kubernetes.statuses = [ready(1)]
    made = servable("aaaa1111")
    run(made)
    run(made)
    assert kubernetes.services[PATH]["metadata"]["generation"] == 1


@pytest.mark.parametrize("kind", ["BlockedByFailedLoad", "InvalidSpec"])
def test_a_failed_load_ends_the_wait_with_its_reason(servable: Make, kubernetes: Kubernetes, kind: str) -> None:
    kubernetes.statuses = [starting(1), failed(kind)]
    with pytest.raises(
        ServingError, match=rf"^InferenceService rllm/rllm failed: {kind} \(ModelLoadFailed: no such bucket\)$"
    ):
        run(servable("aaaa1111"))


def test_a_failure_from_before_the_change_is_not_taken_for_a_new_one(servable: Make, kubernetes: Kubernetes) -> None:
    kubernetes.statuses = [failed()]
    with pytest.raises(ServingError, match="no such bucket"):
        run(servable("aaaa1111"))

    kubernetes.statuses = [failed(), failed(), starting(2), ready(2)]
    assert run(servable("bbbb2222")).checkpoint_hash == "bbbb2222"

    kubernetes.statuses = [ready(2), failed(message="another reason")]
    with pytest.raises(ServingError, match="another reason"):
        run(servable("cccc3333"))


def test_a_service_that_is_never_ready_says_which_conditions_are_missing(
    servable: Make, kubernetes: Kubernetes
) -> None:
    kubernetes.statuses = [starting(1)]
    with pytest.raises(ServingError) as caught:
        run(servable("aaaa1111"), timeout_seconds=0.05)
    assert str(caught.value) == (
        "InferenceService rllm/rllm was not ready after 0.05 s (serving.timeout_seconds); missing: IngressReady=Unknown; "
        "PredictorReady=False (MinimumReplicasUnavailable: no pod is available); Ready=False"
    )


def test_a_service_that_no_controller_sees_says_so(servable: Make, kubernetes: Kubernetes) -> None:
    with pytest.raises(ServingError, match=r"no Ready condition yet: does a KServe controller watch the namespace\?"):
        run(servable("aaaa1111"), timeout_seconds=0.05)


def test_an_outage_of_the_api_server_is_waited_out(servable: Make, kubernetes: Kubernetes) -> None:
    kubernetes.statuses = [ready(1)]
    kubernetes.dropped = 3
    assert run(servable("aaaa1111")).url == f"{URL}/openai/v1"
    assert kubernetes.dropped == 0


def test_a_ready_service_without_an_address_is_no_endpoint(servable: Make, kubernetes: Kubernetes) -> None:
    kubernetes.statuses = [{key: value for key, value in ready(1).items() if key != "url"}]
    with pytest.raises(ServingError, match="is ready but has no URL"):
        run(servable("aaaa1111"))


REFUSALS = [
    (401, {"message": "Unauthorized"}, "the Kubernetes cluster does not accept these credentials: Unauthorized"),
    (
        403,
        {"message": 'User "dagster" cannot patch'},
        "no permission to patch inferenceservices.serving.kserve.io in namespace rllm",
    ),
    (
        403,
        {"message": 'admission webhook "inferenceservice.kserve" denied the request: no canary'},
        'InferenceService rllm/rllm was refused: admission webhook "inferenceservice.kserve" denied the request: no canary',
    ),
    (404, "404 page not found", "the cluster has no inferenceservices.serving.kserve.io v1beta1: install KServe"),
    (404, {"details": {"kind": "namespaces", "name": "rllm"}}, "namespace rllm does not exist (serving.namespace)"),
    (
        409,
        {"details": {"causes": [{"field": ".spec.predictor.minReplicas", "message": 'conflict with "kubectl-edit"'}]}},
        "others manage fields of InferenceService rllm/rllm, which they have to give up: "
        '.spec.predictor.minReplicas: conflict with "kubectl-edit"',
    ),
    (
        422,
        {"message": "spec.predictor: Required value"},
        "InferenceService rllm/rllm is not valid: spec.predictor: Required",
    ),
    (400, {"message": 'unknown field "spec.predictor.storageUris"'}, "so it may be too old: unknown field"),
    (
        500,
        "etcd is on fire",
        "the Kubernetes cluster answered 500 to patch InferenceService rllm/rllm: etcd is on fire",
    ),
]


@pytest.mark.parametrize(("status", "body", "message"), REFUSALS)
def test_a_refusal_is_explained(
    servable: Make, kubernetes: Kubernetes, status: int, body: dict[str, Any] | str, message: str
) -> None:
    kubernetes.refusals["PATCH"] = (status, body if isinstance(body, str) else json.dumps(body))
    with pytest.raises(ServingError) as caught:
        run(servable("aaaa1111"))
    assert message in str(caught.value)


def test_reading_needs_permission_too(servable: Make, kubernetes: Kubernetes) -> None:
    kubernetes.refusals["GET"] = (403, '{"message": "no"}')
    with pytest.raises(
        ServingError, match=r"no permission to get inferenceservices\.serving\.kserve\.io in namespace rllm"
    ):
        run(servable("aaaa1111"))


def test_a_cluster_that_does_not_answer_is_named(servable: Make, kubernetes: Kubernetes, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    content = json.loads(kubeconfig.read_text())
    content["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    kubeconfig.write_text(json.dumps(content))
    with pytest.raises(ServingError, match=r"^the Kubernetes cluster at http://127\.0\.0\.1:1 cannot be reached"):
        run(servable("aaaa1111"))


def test_no_cluster_at_all_is_said_plainly(servable: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ServingError, match=r"^no Kubernetes cluster to deploy to: .*set serving\.target to local$"):
        run(servable("aaaa1111"))


def test_what_the_webhook_would_refuse_never_reaches_the_cluster(servable: Make, kubernetes: Kubernetes) -> None:
    with pytest.raises(ServingError, match="KServe would refuse"):
        deploy_kserve(servable("aaaa1111"), config().model_copy(update={"adapter_uri": "file:///tmp/adapter"}))
    assert kubernetes.requests == []


def service(generation: int, status: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"generation": generation}, "status": status}


@pytest.mark.parametrize(
    ("now", "before", "outcome"),
    [
        (service(1, ready(1)), None, "ready"),
        (service(1, {}), None, "waiting"),
        (service(2, ready(1)), service(1, ready(1)), "waiting"),
        (service(2, ready(2)), service(1, ready(1)), "ready"),
        # A Deployment that was scaled by hand is ahead: 5 is what it was before the change, and says nothing about it.
        (service(2, ready(5)), service(1, ready(5)), "waiting"),
        (service(2, ready(6)), service(1, ready(5)), "ready"),
        (service(1, ready(1)), service(1, ready(1)), "ready"),
        (service(1, failed()), service(1, failed()), "failed"),
        (service(2, failed()), service(1, failed()), "waiting"),
        (service(2, failed()), service(1, ready(1)), "failed"),
        (service(2, ready(2, reason="MinimumReplicasAvailable")), service(1, ready(1)), "waiting"),
    ],
)
def test_judge(now: dict[str, Any], before: dict[str, Any] | None, outcome: str) -> None:
    assert judge(now, before).outcome == outcome


def test_a_service_changed_or_deleted_meanwhile_is_not_waited_for(
    servable: Make, kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = kubernetes.read

    def changed_by_somebody(path: str) -> tuple[int, Any]:
        status, found = read(path)
        if status == 200 and kubernetes.reads:
            found["metadata"]["generation"] += 1
        return status, found

    monkeypatch.setattr(kubernetes, "read", changed_by_somebody)
    kubernetes.statuses = [starting(1)]
    with pytest.raises(ServingError, match="was changed by somebody else while it was being deployed; deploy again"):
        run(servable("aaaa1111"))

    def deleted_by_somebody(path: str) -> tuple[int, Any]:
        kubernetes.services.pop(path, None)
        return read(path)

    monkeypatch.setattr(kubernetes, "read", deleted_by_somebody)
    with pytest.raises(ServingError, match="was deleted while it was being deployed"):
        run(servable("bbbb2222"))
