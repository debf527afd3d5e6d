"""A planted leak of each kind fails a blocking check of the splits that lie in storage, and no other check."""

from datetime import date

import dagster as dg
import pyarrow as pa
import pytest

from rllm_assets.assets.split_checks import splits_are_clean
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.config import SplitsConfig
from rllm_assets.data.benchmarks import BUNDLED, find_benchmark
from rllm_assets.data.issues import Source
from rllm_assets.data.reversal import reversed_diff
from rllm_assets.data.sources import load_issues
from rllm_assets.data.tables import attempts_to_table, issues_to_table, write_table
from rllm_assets.data.trajectories import Attempt
from rllm_assets.data.verdicts import Verdict
from rllm_assets.resources.artefacts import Artefacts
from rllm_assets.resources.settings import Settings
from rllm_assets.tracking.lineage import LineageRecord, write_lineage
from tests.data.split_examples import diff, function_issue, repository_issue, text

APART, NEAR = "nothing_is_on_two_sides", "no_near_duplicates_across"
QUOTED, FOREIGN = "no_held_out_report_is_quoted", "nothing_foreign_is_trained_on"
TRAIN = [function_issue(n) for n in range(20)]
VAL = [function_issue(n) for n in range(20, 30)]
PATCH = diff(900, "m.py")


def mined(commit):
    return Source(benchmark="b", kind="git", file=commit)


def two(ours, theirs, function="f60"):
    return [*TRAIN, function_issue(60, function, **ours)], [
        *VAL,
        function_issue(61, function.replace("0", "1"), **theirs),
    ]


ONE = repository_issue(70, "o/r", ("src/a.py",))
TIMED = SplitsConfig(mode="time", before=date(2011, 1, 1))

# For each kind of leak: the two sides, the kind that is named, and the checks that fail.
PLANTED = {
    "the same id": (*two({"instance_id": "x"}, {"instance_id": "x"}), "same id", {APART}),
    "the same content under another id": (
        [*TRAIN, ONE],
        [*VAL, ONE.model_copy(update={"instance_id": "another"})],
        "same content",
        {APART, NEAR},
    ),
    "the same function": ([*TRAIN, function_issue(60, "f")], [*VAL, function_issue(61, "f")], "same function", {APART}),
    "the same file": (
        [*TRAIN, ONE],
        [*VAL, repository_issue(71, "o/r", ("src/a.py",))],
        "same file",
        {APART},
    ),
    "a near-duplicate statement": (
        *two({"problem_statement": text(900, 30)}, {"problem_statement": text(900, 32)}),
        "near-duplicate statement",
        {NEAR},
    ),
    "a near-duplicate fix": (*two({"patch": PATCH}, {"patch": diff(900, "n.py")}), "near-duplicate fix", {NEAR}),
    "a shared fix commit": (
        *two({"source": mined("cd" * 20)}, {"source": mined("cd" * 20)}),
        "shared fix commit",
        {APART},
    ),
    "a shared base commit": (
        *two({"base_commit": "ab" * 20}, {"base_commit": "ab" * 20}),
        "shared base commit",
        {APART},
    ),
    "a shared issue number": (*two({"labels": ["#12"]}, {"labels": ["#12"]}), "shared issue number", {APART}),
    "a reversed patch": (*two({"patch": PATCH}, {"patch": reversed_diff(PATCH)}), "reversed fix", {APART, NEAR}),
}


def attempt(issue, said="?", turns=()):
    return Attempt(
        instance_id=issue.instance_id,
        group=issue.group,
        kind="gold",
        attempt=0,
        prompt=[{"role": "user", "content": said}],
        response="!",
        turns=list(turns),
        response_tokens=1,
        finished=True,
        verdict=Verdict(status="resolved"),
    )


@pytest.fixture
def checked(tmp_path):
    """Write splits as they would lie in storage, check them, and return the failed checks with what they say."""

    def run(train, val, *, config=None, attempts=()):
        tables = {
            "train_split": issues_to_table(train).append_column(
                "fold", pa.array([i % 6 for i in range(len(train))], pa.int32())
            ),
            "val_split": issues_to_table(val),
            "test_split": issues_to_table([]),
        }
        config = config or SplitsConfig()
        for name, table in tables.items():
            directory = tmp_path / name / "mine"
            directory.mkdir(parents=True)
            write_table(table, directory / "issues.parquet")
            made = {"splits": config.model_dump(mode="json"), "by_repository": False}
            write_lineage(directory, LineageRecord(asset=name, partition="mine", data_version="v", config=made))
        directory = tmp_path / "trajectories" / "mine"
        directory.mkdir(parents=True)
        gold = [attempt(issue) for issue in (*train, *val)]
        write_table(attempts_to_table([*gold, *attempts]), directory / "trajectories.parquet")
        write_lineage(directory, LineageRecord(asset="trajectories", partition="mine", data_version="v"))
        trained = []

        @dg.multi_asset(specs=[dg.AssetSpec(name, partitions_def=benchmarks) for name in (*tables, "trajectories")])
        def made_before():
            for name in (*tables, "trajectories"):
                yield dg.MaterializeResult(name)

        @dg.asset(partitions_def=benchmarks, deps=["train_split"])
        def trainer():
            trained.append(True)

        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("benchmarks", ["mine"])
            result = dg.materialize(
                [made_before, trainer, splits_are_clean],
                partition_key="mine",
                instance=instance,
                resources={
                    "artefacts": Artefacts(root=str(tmp_path)),
                    "settings": Settings(benchmarks=str(tmp_path / "none")),
                },
                raise_on_error=False,
            )
        evaluations = result.get_asset_check_evaluations()
        assert {evaluation.check_name for evaluation in evaluations} >= {APART, NEAR, QUOTED}
        errors = {
            evaluation.check_name: evaluation.metadata["problems"].value
            for evaluation in evaluations
            if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR
        }
        # Nobody trains on a split that leaks.
        assert bool(trained) is not bool(errors)
        return errors

    return run


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_leak_stops_the_run(checked, what):
    train, val, kind, names = PLANTED[what]
    errors = checked(train, val)
    assert errors.keys() == names
    assert any(line.startswith(f"{kind}: ") for lines in errors.values() for line in lines), errors


def test_clean_splits_go_on(checked):
    assert checked(TRAIN, VAL) == {}


def test_a_training_issue_from_after_the_date_stops_the_run(checked):
    train = [issue.model_copy(update={"created_at": "2010-06-01"}) for issue in TRAIN]
    val = [issue.model_copy(update={"created_at": "2012-01-01"}) for issue in VAL]
    late = train[3].model_copy(update={"created_at": "2011-01-01"})
    errors = checked([*train[:3], late, *train[4:]], val, config=TIMED)
    assert errors == {APART: [f"out of its time: {late.instance_id} (train)"]}


@pytest.mark.parametrize("where", ["prompt", "turns"])
def test_a_held_out_report_in_a_training_trajectory_stops_the_run(checked, where):
    quote = f"Somebody said: {VAL[0].problem_statement}"
    quoting = (
        attempt(TRAIN[0], quote) if where == "prompt" else attempt(TRAIN[0], "?", [{"role": "tool", "content": quote}])
    )
    assert checked(TRAIN, VAL, attempts=[quoting]) == {
        QUOTED: [f"quoted in a trajectory: a trajectory of {TRAIN[0].instance_id} quotes {VAL[0].instance_id}"]
    }


def test_an_issue_of_a_benchmark_that_is_kept_out_stops_the_run(checked):
    (theirs, *_), _ = load_issues(find_benchmark("pocket", BUNDLED / "none"))
    planted = function_issue(60, "f60", problem_statement=theirs.problem_statement)
    errors = checked([*TRAIN, planted], VAL, config=SplitsConfig(decontaminate=("pocket",)))
    assert errors.keys() == {FOREIGN}
    assert f"decontamination: {planted.instance_id} (train) and {theirs.instance_id}" in errors[FOREIGN][0]


def test_a_fix_that_does_not_resolve_stops_the_run(checked):
    failed = attempt(TRAIN[0]).model_copy(update={"verdict": Verdict(status="failed", reason="case 1"), "attempt": 1})
    assert checked(TRAIN, VAL, attempts=[failed]).keys() == {"every_split_fix_resolves"}


def test_too_few_held_out_issues_stop_the_run(checked):
    assert checked(TRAIN, VAL[:1]).keys() == {"enough_on_each_side"}
