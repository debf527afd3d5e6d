"""What stands before the first asset: the benchmark's files and the base model's weights."""

import dagster as dg

from rllm_assets.assets.sizes import OWNERS
from rllm_assets.automation.partitions import benchmarks

benchmark_source = dg.AssetSpec(
    "benchmark_source",
    description="A benchmark's files. Data version: hash of benchmark.yaml, of every file of its source and of its old runs.",
    partitions_def=benchmarks,
    group_name="sources",
    kinds={"yaml"},
    owners=OWNERS,
)

base_model = dg.AssetSpec(
    "base_model",
    description="The model that a benchmark's LoRA is trained on, frozen. Data version: hash of its files.",
    partitions_def=benchmarks,
    group_name="sources",
    kinds={"huggingface"},
    owners=OWNERS,
)
