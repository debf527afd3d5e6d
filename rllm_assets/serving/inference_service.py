"""The InferenceService of a LoRA on its base, as a plain manifest, and the rules that KServe's webhook holds it to.

KServe's Hugging Face runtime with vLLM loads the base and puts the LoRA beside it under a name of its own; a request
chooses by `model`. Written against KServe 0.20 (serving.kserve.io/v1beta1).
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from rllm_assets.config.schema import ServingConfig
from rllm_assets.data.hashing import content_hash
from rllm_assets.models.vllm_ranks import VLLM_RANKS, rank_for
from rllm_assets.serving.records import Servable, ServingError

Manifest = dict[str, Any]

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
HASH_ANNOTATION = "rllm-assets/checkpoint-hash"
LINEAGE_ANNOTATION = "rllm-assets/lineage"
LINEAGE_HASH_ANNOTATION = "rllm-assets/lineage-hash"

_RUNTIME = "kserve-huggingfaceserver"
_BASE_PATH, _ADAPTER_PATH = "/mnt/models/base", "/mnt/models/adapter"
# Annotations may have 256 KiB together; the rest is left to KServe and to people.
_LINEAGE_BYTES = 64 * 1024
_CPU_RESOURCES = {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}}
_GPU_RESOURCES = {"requests": {"cpu": "4", "memory": "24Gi"}, "limits": {"cpu": "8", "memory": "48Gi"}}

# KServe 0.20, pkg/apis/serving/v1beta1/inference_service_validation.go and pkg/constants.
_NAME = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_AUTOSCALERS = ("hpa", "keda", "external", "none")
_SCHEMES = ("hf", "s3", "gs", "pvc", "oci", "oci+native", "oci+fetch", "hdfs", "webhdfs", "http", "https", "modelscope")


def build_inference_service(servable: Servable, config: ServingConfig) -> Manifest:
    """Return the InferenceService that serves `servable` as `config.name`.

    The checkpoint's hash is also an annotation of the predictor, and so of its pods: a new checkpoint at an old URI is
    rolled out. Raises ServingError where a URI is missing or the rank is more than vLLM can have.
    """
    base_uri = config.base_uri or _hub_uri(servable.base_model_name)
    if base_uri is None:
        raise ServingError(
            f"serving.base_uri is not set, and {servable.base_model_name} is no Hugging Face id: "
            "say where KServe loads the base model from (hf://, s3://, gs://, pvc://)"
        )
    if config.adapter_uri is None:
        raise ServingError(
            "serving.adapter_uri is not set: say where KServe loads the adapter from (s3://, gs://, pvc://, hf://)"
        )
    base_name = f"{config.name}-base"
    module = {"name": config.name, "path": _ADAPTER_PATH, "base_model_name": base_name}
    arguments = [
        f"--model_name={base_name}",
        f"--model_dir={_BASE_PATH}",
        "--backend=vllm",
        "--enable-lora",
        f"--max-lora-rank={_max_lora_rank(servable.lora_rank)}",
        f"--lora-modules={json.dumps(module, separators=(',', ':'))}",
    ]
    if config.gpus > 1:
        arguments.append(f"--tensor-parallel-size={config.gpus}")
    versions = {HASH_ANNOTATION: servable.checkpoint_hash, LINEAGE_HASH_ANNOTATION: content_hash(servable.lineage)}
    labels = {"app.kubernetes.io/name": "rllm-assets", "app.kubernetes.io/managed-by": "rllm-assets"}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "InferenceService",
        "metadata": {
            "name": config.name,
            "namespace": config.namespace,
            "labels": labels,
            "annotations": {
                # The chart's default is Knative, which most clusters do not have.
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": "none",
                **versions,
                **_lineage_text(servable),
            },
        },
        "spec": {
            # No name: the webhook lets it change only together with storageUri, and storageUris do not count.
            "predictor": {
                # Both kinds of annotation reach the pods, but only the spec's have a generation to wait for.
                "annotations": versions,
                "minReplicas": 1,
                "storageUris": [
                    {"uri": base_uri, "mountPath": _BASE_PATH},
                    {"uri": config.adapter_uri, "mountPath": _ADAPTER_PATH},
                ],
                "model": {
                    "modelFormat": {"name": "huggingface"},
                    "runtime": _RUNTIME,
                    "args": arguments,
                    "resources": _resources(config.gpus),
                },
            }
        },
    }


def check_webhook_rules(manifest: Manifest) -> None:
    """Raise ServingError for what KServe's validating webhook would refuse, before a cluster is asked."""
    name = manifest["metadata"]["name"]
    annotations: Mapping[str, str] = manifest["metadata"].get("annotations", {})
    predictor: Manifest = manifest["spec"]["predictor"]
    if not re.fullmatch(_NAME, name):
        raise _refused("metadata.name", f"{name!r} has to match {_NAME}")
    autoscaler = annotations.get("serving.kserve.io/autoscalerClass")
    if autoscaler is not None and autoscaler not in _AUTOSCALERS:
        raise _refused("metadata.annotations", f"autoscalerClass {autoscaler!r} is none of {', '.join(_AUTOSCALERS)}")
    _check_predictor(predictor, "spec.predictor")
    if predictor.get("model", {}).get("name"):
        raise _refused("spec.predictor.model.name", "the main predictor's model has no name")
    canaries: list[Manifest] = manifest["spec"].get("canary") or []
    if canaries:
        _check_canaries(canaries, predictor, annotations)


def _check_predictor(predictor: Manifest, where: str) -> None:
    model = predictor.get("model")
    if model is None:
        raise _refused(where, "exactly one implementation is needed: model")
    minimum, maximum = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
    if minimum < 0 or maximum < 0 or (maximum and minimum > maximum):
        raise _refused(f"{where}.minReplicas", f"{minimum} to {maximum} replicas is no range")
    if any(variable.get("name") == "PYTHONPATH" for variable in model.get("env", [])):
        raise _refused(f"{where}.model.env", "PYTHONPATH may not be set")
    storage: list[Manifest] | None = predictor.get("storageUris")
    if storage is not None and model.get("storageUri") is not None:
        raise _refused(where, "storageUri and storageUris exclude each other")
    for index, entry in enumerate(storage or []):
        _check_storage(entry, f"{where}.storageUris[{index}]")
    fetched = [entry["mountPath"] for entry in storage or [] if not entry["uri"].startswith("pvc://")]
    claims = [entry["mountPath"] for entry in storage or [] if entry["uri"].startswith("pvc://")]
    if len(claims) != len(set(claims)):
        raise _refused(f"{where}.storageUris", "the mount paths of volume claims have to differ")
    if len(fetched) > 1 and len({path.strip("/").split("/")[0] for path in fetched}) > 1:
        raise _refused(f"{where}.storageUris", f"the mount paths {', '.join(fetched)} share no folder but /")


def _check_storage(entry: Manifest, where: str) -> None:
    uri, path = entry.get("uri", ""), entry.get("mountPath", "/mnt/models")
    scheme = urlsplit(uri).scheme
    if scheme not in _SCHEMES:
        raise _refused(f"{where}.uri", f"{uri!r} begins with none of {', '.join(f'{known}://' for known in _SCHEMES)}")
    if not path.startswith("/") or path == "/" or ".." in path:
        raise _refused(f"{where}.mountPath", f"{path!r} has to be absolute, below /, and without '..'")


def _check_canaries(canaries: list[Manifest], stable: Manifest, annotations: Mapping[str, str]) -> None:
    if annotations.get("serving.kserve.io/deploymentMode") != "Standard":
        raise _refused("spec.canary", "a canary needs the deploymentMode Standard")
    names = [stable.get("name", "")]
    for index, canary in enumerate(canaries):
        where, predictor = f"spec.canary[{index}]", canary["predictor"]
        _check_predictor(predictor, f"{where}.predictor")
        if not predictor.get("name") or predictor["name"] in names:
            raise _refused(
                f"{where}.predictor.name", f"{predictor.get('name')!r} has to be set and to differ from {names}"
            )
        names.append(predictor["name"])
        if "name" not in predictor["model"]:
            raise _refused(f"{where}.predictor.model.name", "has to be there, if only as an empty text")
        if not 0 <= canary["trafficPercent"] <= 100:
            raise _refused(f"{where}.trafficPercent", f"{canary['trafficPercent']} is not between 0 and 100")
        for key in ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling", "workerSpec"):
            if predictor.get(key):
                raise _refused(f"{where}.predictor.{key}", "a canary has fixed replicas and one node")
        if predictor.get("minReplicas", 1) > stable.get("minReplicas", 1):
            raise _refused(f"{where}.predictor.minReplicas", "is more than the stable predictor's")
    if sum(canary["trafficPercent"] for canary in canaries) > 100:
        raise _refused("spec.canary", "the canaries' trafficPercent sum to more than 100")


def _refused(where: str, why: str) -> ServingError:
    return ServingError(f"KServe would refuse the InferenceService: {where}: {why}")


def _hub_uri(base_model_name: str) -> str | None:
    return f"hf://{base_model_name}" if re.fullmatch(r"[\w.-]+/[\w.-]+", base_model_name) else None


def _max_lora_rank(rank: int) -> int:
    allowed = rank_for(rank)
    if allowed is None:
        raise ServingError(
            f"a LoRA of rank {rank} cannot be served by vLLM, whose largest is {VLLM_RANKS[-1]} (model.lora_rank)"
        )
    return allowed


def _resources(gpus: int) -> Manifest:
    if gpus == 0:
        return _CPU_RESOURCES
    cards = {"nvidia.com/gpu": str(gpus)}
    return {kind: {**amounts, **cards} for kind, amounts in _GPU_RESOURCES.items()}


def _lineage_text(servable: Servable) -> dict[str, str]:
    """Return the lineage as an annotation, where it is short enough for one; its hash is there always."""
    text = json.dumps(servable.lineage, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {LINEAGE_ANNOTATION: text} if len(text.encode()) <= _LINEAGE_BYTES else {}
