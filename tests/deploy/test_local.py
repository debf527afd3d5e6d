"""The instance of one machine."""

import shutil
from pathlib import Path

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator

ONE_RUN_A_PARTITION = [{"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}]


def test_dagster_takes_it_and_the_pools_are_limited(repository: Path, tmp_path: Path) -> None:
    shutil.copy(repository / "deploy" / "local" / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        limits = instance.get_concurrency_config()
        assert limits.pool_config.default_pool_limit == 1
        assert limits.pool_config.pool_granularity.value == "op"
        assert limits.run_queue_config is not None
        assert limits.run_queue_config.max_concurrent_runs == 2
        assert limits.run_queue_config.tag_concurrency_limits == ONE_RUN_A_PARTITION
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        assert not instance.telemetry_enabled
