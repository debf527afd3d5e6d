"""A small pipeline of artefacts with their lineage, as the assets write them."""

import json
from pathlib import Path

from rllm_assets.data.hashing import content_hash
from rllm_assets.tracking.lineage import LineageInput, LineageRecord, issue_set, write_lineage

ISSUES = {f"pocket-{number}": content_hash(number) for number in range(6)}
TRAIN = {name: ISSUES[name] for name in list(ISSUES)[:4]}
VAL = {name: ISSUES[name] for name in list(ISSUES)[4:]}
BASE = LineageInput(asset="base_model", data_version=content_hash("base"))


def table(path: Path, issues: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"instance_id": name, "content_hash": value, "n": 1}) for name, value in issues.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def record(asset: str, content: object, **fields) -> LineageRecord:
    return LineageRecord(asset=asset, partition="pocket", data_version=content_hash([asset, content]), **fields)


def build(root: Path, max_embedded: int = 5_000) -> dict[str, Path]:
    """Write the artefacts of a run of the graph under `root` and return their paths by asset."""
    made: dict[str, Path] = {}
    for asset, issues, inputs in [
        ("historical_issues", ISSUES, ()),
        ("trajectories", None, ("historical_issues",)),
        ("train_split", TRAIN, ("trajectories",)),
        ("val_split", VAL, ("trajectories",)),
    ]:
        path = made[asset] = table(root / asset / "pocket.jsonl", issues or ISSUES)
        held = None if issues is None else issue_set(issues, path.name, max_embedded)
        given = [made[name] for name in inputs] + ([BASE] if asset == "trajectories" else [])
        write_lineage(path, record(asset, issues, issues=held, code_version="1"), given)
    checkpoint = made["lora_checkpoint"] = root / "lora_checkpoint" / "pocket"
    checkpoint.mkdir(parents=True)
    (checkpoint / "adapter_model.safetensors").write_bytes(bytes(range(64)))
    (checkpoint / "adapter_config.json").write_text("{}")
    write_lineage(
        checkpoint,
        record("lora_checkpoint", "weights", seed=0, config={"training": {"learning_rate": 1e-4}}),
        [made["train_split"], BASE],
    )
    evaluation = made["evaluation_metrics"] = root / "evaluation_metrics" / "pocket"
    evaluation.mkdir(parents=True)
    (evaluation / "metrics.json").write_text('{"pass@1": 0.5}')
    write_lineage(evaluation, record("evaluation_metrics", "metrics"), [made["val_split"], checkpoint])
    endpoint = made["deployed_endpoint"] = root / "endpoints" / "local" / "rllm"
    endpoint.mkdir(parents=True)
    (endpoint / "state.json").write_text("{}")
    (endpoint / "server.log").write_text("started\n")
    write_lineage(endpoint, record("deployed_endpoint", "state", volatile=("*.log",)), [evaluation, checkpoint])
    return made
