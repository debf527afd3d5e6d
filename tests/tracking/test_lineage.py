import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rllm_assets.data.hashing import content_hash, file_hash
from rllm_assets.tracking.lineage import (
    LineageError,
    LineageRecord,
    hardware,
    issue_set,
    lineage_path,
    package_versions,
    read_lineage,
    record_key,
    write_lineage,
)
from tests.tracking.pipeline import BASE, ISSUES, TRAIN, build, record


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    return build(tmp_path / "storage")


class TestWriting:
    def test_what_is_written_is_read_back(self, made):
        lineage = read_lineage(made["lora_checkpoint"])
        assert lineage.asset == "lora_checkpoint"
        assert lineage.seed == 0
        assert lineage.config == {"training": {"learning_rate": 1e-4}}
        assert lineage.created_at.endswith("+00:00")
        assert lineage.files == {
            name: file_hash(made["lora_checkpoint"] / name)
            for name in ("adapter_config.json", "adapter_model.safetensors")
        }

    def test_inputs_are_named_by_content_with_a_relative_path(self, made):
        train, base = read_lineage(made["lora_checkpoint"]).inputs
        assert train.data_version == read_lineage(made["train_split"]).data_version
        assert train.path == "../../train_split/pocket.jsonl.lineage.json"
        assert base == BASE

    def test_it_lies_inside_a_directory_and_beside_a_file(self, made):
        assert lineage_path(made["lora_checkpoint"]) == made["lora_checkpoint"] / "lineage.json"
        assert lineage_path(made["train_split"]).name == "pocket.jsonl.lineage.json"
        for path in made.values():
            assert lineage_path(lineage_path(path)) == lineage_path(path)
            assert lineage_path(path).is_file()

    def test_every_ancestor_is_embedded_once(self, made):
        lineage = read_lineage(made["deployed_endpoint"])
        assert sorted(item.asset for item in lineage.ancestors.values()) == [
            "evaluation_metrics",
            "historical_issues",
            "lora_checkpoint",
            "train_split",
            "trajectories",
            "val_split",
        ]
        for key, ancestor in lineage.ancestors.items():
            assert key == ancestor.key
            own = read_lineage(made[ancestor.asset])
            assert (ancestor.files, ancestor.issues, ancestor.created_at) == (own.files, own.issues, own.created_at)

    def test_paths_of_ancestors_are_relative_to_the_file_that_embeds_them(self, made):
        endpoint = made["deployed_endpoint"]
        for ancestor in read_lineage(endpoint).ancestors.values():
            for source in ancestor.inputs:
                if source.path is not None:
                    assert (endpoint / source.path).resolve() == lineage_path(made[source.asset]).resolve()

    def test_equal_content_in_two_assets_keeps_two_records(self, tmp_path):
        for asset in ("train_split", "val_split"):
            (tmp_path / asset).mkdir()
            write_lineage(tmp_path / asset, LineageRecord(asset=asset, data_version="same"))
        (tmp_path / "both").mkdir()
        lineage = write_lineage(
            tmp_path / "both",
            LineageRecord(asset="both", data_version="b"),
            [tmp_path / "train_split", tmp_path / "val_split"],
        )
        assert sorted(lineage.ancestors) == ["train_split@same", "val_split@same"]

    def test_of_two_records_of_the_same_content_the_later_is_embedded(self, tmp_path):
        for folder, time in (("old", "2026-01-01"), ("new", "2026-01-02")):
            (tmp_path / folder).mkdir()
            write_lineage(tmp_path / folder, LineageRecord(asset="issues", data_version="i", created_at=time))
        for folders in (("old", "new"), ("new", "old")):
            (tmp_path / "out").mkdir(exist_ok=True)
            out = LineageRecord(asset="out", data_version="o")
            lineage = write_lineage(tmp_path / "out", out, [tmp_path / folder for folder in folders])
            assert [item.created_at for item in lineage.ancestors.values()] == ["2026-01-02"]

    def test_an_input_without_lineage_is_an_error(self, tmp_path):
        (tmp_path / "table.parquet").write_text("")
        with pytest.raises(LineageError, match=r"has no table\.parquet\.lineage\.json"):
            write_lineage(tmp_path, record("out", 0), [tmp_path / "table.parquet"])
        assert not (tmp_path / "lineage.json").exists()

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        config=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=8,
        )
    )
    def test_any_configuration_survives(self, tmp_path, config):
        (tmp_path / "out").mkdir(exist_ok=True)
        written = write_lineage(tmp_path / "out", record("out", 0, config={"value": config}))
        assert read_lineage(tmp_path / "out") == written


class TestIssueSets:
    def test_a_few_issues_are_listed(self):
        issues = issue_set({"b": "2", "a": "1"})
        assert (issues.count, issues.ids, issues.file) == (2, {"a": "1", "b": "2"}, None)
        assert issues.digest == content_hash({"a": "1", "b": "2"})

    def test_many_issues_are_hashed_and_stay_in_their_file(self):
        many = {f"i-{number}": str(number) for number in range(11)}
        issues = issue_set(many, "issues.parquet", max_embedded=10)
        assert (issues.count, issues.ids, issues.file) == (11, None, "issues.parquet")
        assert issues.digest == issue_set(many).digest

    def test_many_issues_without_a_file_are_an_error(self):
        with pytest.raises(ValueError, match="11 issues are too many"):
            issue_set({str(number): "" for number in range(11)}, max_embedded=10)

    def test_the_lineage_of_many_issues_is_small(self, tmp_path):
        many = {f"repository__issue-{number}": "0" * 64 for number in range(50_000)}
        write_lineage(tmp_path, record("historical_issues", 0, issues=issue_set(many, "issues.parquet")))
        assert (tmp_path / "lineage.json").stat().st_size < 2_000


class TestReading:
    def test_a_path_without_lineage_is_named(self, tmp_path):
        with pytest.raises(LineageError, match=r"has no lineage\.json; give an artefact"):
            read_lineage(tmp_path)
        with pytest.raises(LineageError, match="absent does not exist"):
            read_lineage(tmp_path / "absent")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "cannot be read as JSON"),
            ("[]", "is no lineage file: "),
            ("{}", "is no lineage file: asset: Field required"),
            ('{"asset": "a", "data_version": "d", "sed": 1}', "is no lineage file: sed: Extra inputs"),
            ('{"format": 2}', "has lineage format 2, which is newer"),
        ],
    )
    def test_what_is_no_lineage_is_an_error_that_says_why(self, tmp_path, text, message):
        (tmp_path / "lineage.json").write_text(text)
        with pytest.raises(LineageError, match=message):
            read_lineage(tmp_path)

    def test_a_copy_alone_knows_every_issue(self, made, tmp_path):
        copy = tmp_path / "elsewhere" / "lora"
        shutil.copytree(made["lora_checkpoint"], copy)
        shutil.rmtree(tmp_path / "storage")
        held = {item.asset: item.issues.ids for item in read_lineage(copy).ancestors.values() if item.issues}
        assert held == {"train_split": TRAIN, "historical_issues": ISSUES}


def test_keys_name_asset_partition_and_content():
    assert record_key("train_split", "pocket", "abc") == "train_split[pocket]@abc"
    assert record_key("base_model", None, "abc") == "base_model@abc"


def test_the_packages_that_matter_have_versions():
    versions = package_versions(("pydantic", "no-such-package"))
    assert sorted(versions) == ["pydantic", "python"]


def test_hardware_is_text_that_json_holds():
    assert json.loads(json.dumps(hardware())) == hardware()
    assert int(hardware()["cpus"]) >= 1
