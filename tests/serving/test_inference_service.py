"""The manifests, held to their wording, to KServe's SDK types, to its CRD, and to its webhook's rules."""

import copy
import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rllm_assets.config.schema import ServingConfig
from rllm_assets.data.hashing import content_hash
from rllm_assets.serving import Servable, ServingError
from rllm_assets.serving.inference_service import Manifest, build_inference_service, check_webhook_rules

Make = Callable[..., Servable]

CONFIGS: dict[str, dict[str, Any]] = {
    "cpu": {"adapter_uri": "s3://rllm/checkpoints/aaaa1111", "base_uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct"},
    "gpu": {"adapter_uri": "gs://rllm/aaaa1111", "base_uri": "pvc://models/base", "gpus": 1, "name": "policy"},
    "gpus": {"adapter_uri": "pvc://models/adapter", "base_uri": "pvc://models/base", "gpus": 2, "namespace": "other"},
}


def build(servable: Servable, kind: str = "cpu", **options: Any) -> Manifest:
    return build_inference_service(servable, ServingConfig(target="kserve", **{**CONFIGS[kind], **options}))


def test_the_manifest_of_a_lora_on_cpus(servable: Make) -> None:
    made = servable("aaaa1111")
    lineage_hash = content_hash(made.lineage)
    module = '{"name":"rllm","path":"/mnt/models/adapter","base_model_name":"rllm-base"}'
    assert build(made) == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "rllm",
            "namespace": "rllm",
            "labels": {"app.kubernetes.io/name": "rllm-assets", "app.kubernetes.io/managed-by": "rllm-assets"},
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": "none",
                "rllm-assets/checkpoint-hash": "aaaa1111",
                "rllm-assets/lineage-hash": lineage_hash,
                "rllm-assets/lineage": '{"checkpoint":"aaaa1111","issues":["pocket__clamp-1"]}',
            },
        },
        "spec": {
            "predictor": {
                "annotations": {
                    "rllm-assets/checkpoint-hash": "aaaa1111",
                    "rllm-assets/lineage-hash": lineage_hash,
                },
                "minReplicas": 1,
                "storageUris": [
                    {"uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct", "mountPath": "/mnt/models/base"},
                    {"uri": "s3://rllm/checkpoints/aaaa1111", "mountPath": "/mnt/models/adapter"},
                ],
                "model": {
                    "modelFormat": {"name": "huggingface"},
                    "runtime": "kserve-huggingfaceserver",
                    "args": [
                        "--model_name=rllm-base",
                        "--model_dir=/mnt/models/base",
                        "--backend=vllm",
                        "--enable-lora",
                        "--max-lora-rank=8",
                        f"--lora-modules={module}",
                    ],
                    "resources": {
                        "requests": {"cpu": "2", "memory": "4Gi"},
                        "limits": {"cpu": "4", "memory": "8Gi"},
                    },
                },
            }
        },
    }


def test_gpus_are_asked_for_and_shared_by_one_model(servable: Make) -> None:
    one = build(servable("aaaa1111"), "gpu")["spec"]["predictor"]["model"]
    assert one["resources"]["limits"]["nvidia.com/gpu"] == one["resources"]["requests"]["nvidia.com/gpu"] == "1"
    assert not [argument for argument in one["args"] if "tensor-parallel" in argument]

    two = build(servable("bbbb2222"), "gpus")["spec"]["predictor"]["model"]
    assert two["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert two["args"][-1] == "--tensor-parallel-size=2"


@pytest.mark.parametrize(("rank", "allowed"), [(1, 8), (8, 8), (9, 16), (32, 32), (129, 256), (512, 512)])
def test_the_rank_is_rounded_up_to_one_that_vllm_knows(servable: Make, rank: int, allowed: int) -> None:
    made = servable("aaaa1111").model_copy(update={"lora_rank": rank})
    assert f"--max-lora-rank={allowed}" in build(made)["spec"]["predictor"]["model"]["args"]


def test_a_rank_above_vllms_largest_is_refused(servable: Make) -> None:
    with pytest.raises(
        ServingError, match=r"rank 513 cannot be served by vLLM, whose largest is 512 \(model\.lora_rank\)"
    ):
        build(servable("aaaa1111").model_copy(update={"lora_rank": 513}))


def test_the_base_is_taken_from_the_hub_where_its_name_is_an_id(servable: Make) -> None:
    made = servable("aaaa1111").model_copy(update={"base_model_name": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"})
    uris = build(made, base_uri=None)["spec"]["predictor"]["storageUris"]
    assert uris[0]["uri"] == "hf://deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"


def test_a_uri_that_nobody_gave_is_asked_for(servable: Make) -> None:
    with pytest.raises(ServingError, match=r"^serving\.base_uri is not set, and tiny is no Hugging Face id"):
        build(servable("aaaa1111"), base_uri=None)
    with pytest.raises(ServingError, match=r"^serving\.adapter_uri is not set"):
        build(servable("bbbb2222"), adapter_uri=None)


def test_a_lineage_too_long_for_an_annotation_leaves_its_hash(servable: Make) -> None:
    lineage = {"issues": [f"pocket__clamp-{index}" for index in range(10_000)]}
    annotations = build(servable("aaaa1111").model_copy(update={"lineage": lineage}))["metadata"]["annotations"]
    assert "rllm-assets/lineage" not in annotations
    assert annotations["rllm-assets/lineage-hash"] == content_hash(lineage)


def test_another_checkpoint_at_the_same_uri_changes_the_spec(servable: Make) -> None:
    assert build(servable("aaaa1111"))["spec"] != build(servable("bbbb2222"))["spec"]


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_manifest_keeps_the_webhooks_rules(servable: Make, kind: str) -> None:
    check_webhook_rules(build(servable("aaaa1111"), kind))


def canary(percent: int = 10, **changes: Any) -> Manifest:
    predictor = {"name": "next", "minReplicas": 1, "model": {"name": "", "modelFormat": {"name": "huggingface"}}}
    return {"trafficPercent": percent, "predictor": predictor | changes}


def change(manifest: Manifest, path: str, value: Any) -> Manifest:
    """Return a manifest with the value at a dotted path replaced, or removed where it is None."""
    changed = copy.deepcopy(manifest)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = changed
    for part in parents:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metadata.name", "9lives", r"metadata\.name: '9lives' has to match"),
        ("metadata.annotations", {"serving.kserve.io/autoscalerClass": "kpa"}, r"autoscalerClass 'kpa' is none of"),
        ("spec.predictor.model", None, r"spec\.predictor: exactly one implementation"),
        ("spec.predictor.minReplicas", -1, r"minReplicas: -1 to 0 replicas is no range"),
        ("spec.predictor.maxReplicas", -1, r"minReplicas: 1 to -1 replicas is no range"),
        ("spec.predictor.model.env", [{"name": "PYTHONPATH", "value": "/x"}], r"PYTHONPATH may not be set"),
        ("spec.predictor.model.storageUri", "s3://a/b", r"storageUri and storageUris exclude each other"),
        ("spec.predictor.model.name", "policy", r"model\.name: the main predictor's model has no name"),
        ("spec.predictor.storageUris.0.uri", "", r"storageUris\[0\]\.uri: '' begins with none of hf://"),
        ("spec.predictor.storageUris.1.uri", "/local/path", r"storageUris\[1\]\.uri: '/local/path' begins with none"),
        (
            "spec.predictor.storageUris.0.mountPath",
            "models",
            r"storageUris\[0\]\.mountPath: 'models' has to be absolute",
        ),
        ("spec.predictor.storageUris.0.mountPath", "/", r"mountPath: '/' has to be absolute, below /"),
        ("spec.predictor.storageUris.0.mountPath", "/mnt/../etc", r"without '\.\.'"),
        (
            "spec.predictor.storageUris.0.mountPath",
            "/srv/base",
            r"/srv/base, /mnt/models/adapter share no folder but /",
        ),
        ("spec.canary", [canary(name="")], r"canary\[0\]\.predictor\.name: '' has to be set"),
        ("spec.canary", [canary(), canary()], r"canary\[1\]\.predictor\.name: 'next' has to be set and to differ"),
        ("spec.canary", [canary(model={})], r"canary\[0\]\.predictor\.model\.name: has to be there"),
        ("spec.canary", [canary(101)], r"canary\[0\]\.trafficPercent: 101 is not between"),
        ("spec.canary", [canary(60), canary(50, name="third")], r"sum to more than 100"),
        ("spec.canary", [canary(maxReplicas=2)], r"canary\[0\]\.predictor\.maxReplicas: a canary has fixed replicas"),
        ("spec.canary", [canary(minReplicas=2)], r"minReplicas: is more than the stable predictor's"),
    ],
)
def test_what_the_webhook_refuses_is_refused_here(servable: Make, path: str, value: Any, message: str) -> None:
    with pytest.raises(ServingError, match=f"^KServe would refuse the InferenceService: .*{message}"):
        check_webhook_rules(change(build(servable("aaaa1111")), path, value))


def test_a_canary_that_keeps_the_rules_passes_and_one_on_knative_does_not(servable: Make) -> None:
    manifest = change(build(servable("aaaa1111")), "spec.canary", [canary(60), canary(40, name="third")])
    check_webhook_rules(manifest)
    with pytest.raises(ServingError, match=r"spec\.canary: a canary needs the deploymentMode Standard"):
        check_webhook_rules(change(manifest, "metadata.annotations", {}))


def test_volume_claims_may_lie_anywhere_but_not_on_each_other(servable: Make) -> None:
    manifest = build(servable("aaaa1111"), "gpus")
    check_webhook_rules(change(manifest, "spec.predictor.storageUris.0.mountPath", "/srv/base"))
    with pytest.raises(ServingError, match=r"mount paths of volume claims have to differ"):
        check_webhook_rules(change(manifest, "spec.predictor.storageUris.0.mountPath", "/mnt/models/adapter"))


def misfits(models: Any, kind: str, value: Any, where: str) -> list[str]:
    """Return what in a value does not fit a type of KServe's or Kubernetes' generated clients (`list[X]`, `dict(str, X)`)."""
    if kind.startswith("list["):
        if not isinstance(value, list):
            return [f"{where}: not a list"]
        return [
            found
            for index, entry in enumerate(value)
            for found in misfits(models, kind[5:-1], entry, f"{where}[{index}]")
        ]
    if kind.startswith(("dict(", "dict[")):
        inner = kind[5:-1].split(",", 1)[1].strip()
        return [found for key, entry in value.items() for found in misfits(models, inner, entry, f"{where}.{key}")]
    plain: Mapping[str, type | tuple[type, ...]] = {
        "str": str,
        "int": int,
        "bool": bool,
        "float": (int, float),
        "object": object,
    }
    if kind in plain:
        return [] if isinstance(value, plain[kind]) else [f"{where}: {value!r} is no {kind}"]
    model = next((getattr(module, kind) for module in models if hasattr(module, kind)), None)
    if model is None:
        return [f"{where}: unknown type {kind}"]
    fields = {name: model.openapi_types[key] for key, name in model.attribute_map.items()}
    found = [f"{where}.{name}: unknown field" for name in value if name not in fields]
    for name in value.keys() & fields.keys():
        found += misfits(models, fields[name], value[name], f"{where}.{name}")
    return found


@pytest.fixture(scope="module")
def sdk() -> list[Any]:
    """Return the modules with the generated types of KServe and Kubernetes."""
    reason = "kserve is not installed (pip install .[kserve]): manifests are not compared with its types"
    kserve = pytest.importorskip("kserve", reason=reason)
    # The one type that kserve does not export.
    return [
        kserve,
        importlib.import_module("kserve.models.v1beta1_storage_uri"),
        importlib.import_module("kubernetes.client"),
    ]


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_manifest_fits_the_types_of_kserves_sdk(servable: Make, sdk: list[Any], kind: str) -> None:
    manifest = build(servable("aaaa1111"), kind)
    assert misfits(sdk, "V1beta1InferenceService", manifest, "") == []

    wrong = change(change(manifest, "spec.predictor.minReplicas", "1"), "spec.predictor.replicas", 1)
    assert sorted(misfits(sdk, "V1beta1InferenceService", wrong, "")) == [
        ".spec.predictor.minReplicas: '1' is no int",
        ".spec.predictor.replicas: unknown field",
    ]


def strict(schema: Any) -> Any:
    """Return a CRD's schema as JSON Schema that, as the API server does, refuses unknown fields and fills in defaults."""
    if isinstance(schema, list):
        return [strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {key: strict(value) for key, value in schema.items()}
    properties = schema.get("properties")
    if isinstance(properties, dict) and schema.get("type") == "object":
        made["properties"] = {name: strict(entry) for name, entry in properties.items()}
        made["required"] = [name for name in schema.get("required", []) if "default" not in properties.get(name, {})]
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        made["type"] = [schema["type"], "null"]
    return made


@pytest.fixture(scope="module")
def crd(inference_service_crd: dict[str, Any]) -> Any:
    """Return a validator of InferenceServices by KServe's CRD."""
    from jsonschema import Draft202012Validator

    (version,) = (one for one in inference_service_crd["spec"]["versions"] if one["name"] == "v1beta1")
    schema = version["schema"]["openAPIV3Schema"]
    metadata = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return Draft202012Validator(strict(schema | {"properties": schema["properties"] | {"metadata": metadata}}))


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_manifest_fits_kserves_crd(servable: Make, crd: Any, kind: str) -> None:
    manifest = build(servable("aaaa1111"), kind)
    assert [error.message for error in crd.iter_errors(manifest)] == []

    (error,) = crd.iter_errors(change(manifest, "spec.predictor.model.modelformat", {"name": "huggingface"}))
    assert list(error.absolute_path) == ["spec", "predictor", "model"]
    assert "modelformat" in error.message


def test_the_lora_module_is_json_that_vllm_can_read(servable: Make) -> None:
    arguments = build(servable("aaaa1111"), "gpu")["spec"]["predictor"]["model"]["args"]
    (module,) = (argument.partition("=")[2] for argument in arguments if argument.startswith("--lora-modules="))
    assert json.loads(module) == {"name": "policy", "path": "/mnt/models/adapter", "base_model_name": "policy-base"}
