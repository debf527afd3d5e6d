"""Asset checks: which block, and what a fix that fails as an answer stops."""

import dagster as dg
import pytest

from rllm_assets.assets import checks
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.data.tables import attempts_to_table, write_table
from rllm_assets.data.trajectories import Attempt
from rllm_assets.data.verdicts import Verdict
from rllm_assets.definitions import defs
from rllm_assets.resources.artefacts import Artefacts
from rllm_assets.tracking.lineage import LineageRecord, write_lineage


def gold(number, resolved):
    verdict = Verdict(status="resolved" if resolved else "failed", reason="" if resolved else "case 1: 3 instead of 4")
    return Attempt(
        instance_id=f"tiny-{number}",
        group=f"tiny/sums.add_{number}",
        kind="gold",
        attempt=0,
        prompt=[{"role": "user", "content": "?"}],
        response="!",
        response_tokens=1,
        finished=True,
        verdict=verdict,
        reward=float(resolved),
    )


@pytest.mark.parametrize(("resolved", "goes_on"), [([True, False, True], True), ([False, False], False)])
def test_a_fix_that_fails_as_an_answer_stops_nothing_unless_all_do(tmp_path, resolved, goes_on):
    directory = tmp_path / "trajectories" / "tiny"
    table = attempts_to_table(gold(number, fixed) for number, fixed in enumerate(resolved))
    directory.mkdir(parents=True)
    write_table(table, directory / "trajectories.parquet")
    write_lineage(directory, LineageRecord(asset="trajectories", partition="tiny", data_version="v"))
    after = []

    @dg.asset(partitions_def=benchmarks)
    def trajectories():
        """Stands in for the one whose artefact lies there already."""

    @dg.asset(partitions_def=benchmarks, deps=["trajectories"])
    def splits():
        after.append("splits")

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("benchmarks", ["tiny"])
        result = dg.materialize(
            [trajectories, splits, checks.every_fix_resolves],
            partition_key="tiny",
            instance=instance,
            resources={"artefacts": Artefacts(root=str(tmp_path))},
            raise_on_error=False,
        )
    assert (result.success, bool(after)) == (goes_on, goes_on)
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.metadata["left_out"].value == resolved.count(False)
    assert evaluation.metadata["fixes"].value == len(resolved)
    assert "tiny-1: case 1: 3 instead of 4" in evaluation.metadata["failing"].value


def test_checks_are_blocking_where_going_on_would_spoil_what_follows():
    blocking = {
        key.name: defs.resolve_asset_graph().get(key).blocking for key in defs.resolve_asset_graph().asset_check_keys
    }
    assert blocking == {
        "every_fix_resolves": True,
        "nothing_is_on_two_sides": True,
        "no_near_duplicates_across": True,
        "no_held_out_report_is_quoted": True,
        "nothing_foreign_is_trained_on": True,
        "every_split_fix_resolves": True,
        "enough_on_each_side": True,
        "classes_are_on_both_sides": True,
        "adapter_fits_its_base": True,
        "gate_has_passed": False,
    }
