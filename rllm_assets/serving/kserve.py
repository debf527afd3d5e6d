"""The endpoint as a KServe InferenceService: applied, and watched until its pods are ready or have failed."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rllm_assets.config.schema import ServingConfig
from rllm_assets.serving.cluster import ClusterUnreachableError, apply_service, connect, get_service
from rllm_assets.serving.inference_service import Manifest, build_inference_service, check_webhook_rules
from rllm_assets.serving.records import Endpoint, Servable, ServingError

if TYPE_CHECKING:
    from kubernetes.client import CustomObjectsApi

# KServe 0.20, pkg/apis/serving/v1beta1/inference_service_status.go: TransitionStatus.
_FAILED = ("BlockedByFailedLoad", "InvalidSpec")


class Verdict(NamedTuple):
    """What a status says about a deployment, and in words why."""

    outcome: Literal["ready", "failed", "waiting"]
    reason: str


def deploy_kserve(servable: Servable, config: ServingConfig, *, poll_seconds: float = 2.0) -> Endpoint:
    """Serve `servable` by the InferenceService `config.name` in `config.namespace`, created or updated.

    Kubernetes keeps the old pods until the new ones are ready, so a checkpoint that does not load leaves the last one
    serving. Raises ServingError where the service is refused, fails to load (with KServe's reason), or is not ready
    within `config.timeout_seconds` (with the conditions that are missing). No smoke test: whether the ingress can be
    reached from here is not known.
    """
    manifest = build_inference_service(servable, config)
    check_webhook_rules(manifest)
    api = connect()
    before = get_service(api, config.namespace, config.name)
    started_at = datetime.now(UTC)
    applied = apply_service(api, manifest)
    ready = _wait(api, applied, before, config, poll_seconds)
    url = ready["status"].get("url")
    if not url:
        raise ServingError(
            f"InferenceService {config.namespace}/{config.name} is ready but has no URL: is its ingress set up?"
        )
    return Endpoint(
        name=config.name,
        target="kserve",
        # The runtime's prefix for OpenAI's protocol (KSERVE_OPENAI_ROUTE_PREFIX).
        url=f"{url.rstrip('/')}/openai/v1",
        model=config.name,
        base_model_name=servable.base_model_name,
        checkpoint_hash=servable.checkpoint_hash,
        started_at=started_at,
        lineage=servable.lineage,
    )


def judge(service: Manifest, before: Manifest | None) -> Verdict:
    """Say what `service`, as read after it was applied, has come to; `before` is what it was before that, if anything.

    `status.observedGeneration` is the generation of the Deployment behind the service (PropagateRawStatus), which can
    be ahead of the service's own: after a change it also has to move. And `Ready` stays true all through a rolling
    update; that it is over shows in the reason of PredictorReady (MinimumReplicasAvailable until then).
    """
    status: Mapping[str, Any] = service.get("status") or {}
    changed = before is not None and before["metadata"]["generation"] != service["metadata"]["generation"]
    old_status: Mapping[str, Any] = (before or {}).get("status") or {}
    failure = _failure(status)
    if failure and not (changed and failure == _failure(old_status)):
        return Verdict("failed", failure)
    conditions: dict[str, Mapping[str, Any]] = {entry["type"]: entry for entry in status.get("conditions", [])}
    missing: list[str] = []
    if "Ready" not in conditions:
        missing.append("no Ready condition yet: does a KServe controller watch the namespace?")
    elif conditions["Ready"].get("status") != "True":
        missing += [_words(entry) for entry in conditions.values() if entry.get("status") != "True" and _counts(entry)]
    if conditions.get("PredictorReady", {}).get("reason") == "MinimumReplicasAvailable":
        missing.append("the old pods still serve while the new ones start")
    generation, observed = service["metadata"]["generation"], status.get("observedGeneration", 0)
    if observed < generation:
        missing.append(f"generation {observed} observed of {generation}")
    elif changed and observed <= old_status.get("observedGeneration", 0):
        missing.append(f"generation {observed} observed, as before the change")
    if failure:
        missing.append(f"{failure}, as before the change")
    if missing:
        return Verdict("waiting", "; ".join(missing))
    return Verdict("ready", "")


def _wait(
    api: "CustomObjectsApi", applied: Manifest, before: Manifest | None, config: ServingConfig, poll_seconds: float
) -> Manifest:
    where = f"InferenceService {config.namespace}/{config.name}"
    deadline = time.monotonic() + config.timeout_seconds
    while True:
        try:
            verdict, service = _look(api, applied, before, where)
        except ClusterUnreachableError as error:
            verdict, service = Verdict("waiting", str(error)), applied
        if verdict.outcome == "ready":
            return service
        if verdict.outcome == "failed":
            raise ServingError(f"{where} failed: {verdict.reason}")
        if time.monotonic() >= deadline:
            waited = f"{config.timeout_seconds:g} s (serving.timeout_seconds)"
            raise ServingError(f"{where} was not ready after {waited}; missing: {verdict.reason}")
        time.sleep(poll_seconds)


def _look(api: "CustomObjectsApi", applied: Manifest, before: Manifest | None, where: str) -> tuple[Verdict, Manifest]:
    """Read the service once more; raise ServingError where it is no longer the one that was applied."""
    service = get_service(api, applied["metadata"]["namespace"], applied["metadata"]["name"])
    if service is None or service["metadata"]["uid"] != applied["metadata"]["uid"]:
        raise ServingError(f"{where} was deleted while it was being deployed")
    if service["metadata"]["generation"] != applied["metadata"]["generation"]:
        raise ServingError(f"{where} was changed by somebody else while it was being deployed; deploy again")
    return judge(service, before), service


def _failure(status: Mapping[str, Any]) -> str:
    """Return KServe's account of a model that did not load, or an empty text."""
    model: Mapping[str, Any] = status.get("modelStatus") or {}
    if model.get("transitionStatus") not in _FAILED:
        return ""
    info: Mapping[str, Any] = model.get("lastFailureInfo") or {}
    details = [str(info[key]) for key in ("reason", "message") if info.get(key)]
    return f"{model['transitionStatus']} ({': '.join(details) or 'no reason given'})"


def _counts(condition: Mapping[str, Any]) -> bool:
    # Stopped is false on a service that runs; conditions of severity Info are advice.
    return condition.get("type") != "Stopped" and condition.get("severity", "") in ("", "Error")


def _words(condition: Mapping[str, Any]) -> str:
    details = ": ".join(str(condition[key]) for key in ("reason", "message") if condition.get(key))
    return f"{condition.get('type')}={condition.get('status')}" + (f" ({details})" if details else "")
