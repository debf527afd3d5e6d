import json
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rllm_assets.tracking.ancestry import Node, dependence, issues_of, tree, verify
from rllm_assets.tracking.lineage import LineageError, issue_set, lineage_path, read_lineage, write_lineage
from tests.tracking.pipeline import ISSUES, TRAIN, VAL, build, record, table


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    return build(tmp_path / "storage")


def outline(node: Node) -> dict[str, list]:
    mark = "*" if node.repeated else ""
    return {node.source.asset + mark: [outline(child) for child in node.children]}


class TestTree:
    def test_it_leads_to_the_issues_and_opens_each_artefact_once(self, made):
        issues = {"historical_issues": []}
        train = {"train_split": [{"trajectories": [issues, {"base_model": []}]}]}
        assert outline(tree(made["deployed_endpoint"])) == {
            "deployed_endpoint": [
                {
                    "evaluation_metrics": [
                        {"val_split": train["train_split"]},
                        {"lora_checkpoint": [{"train_split": [{"trajectories*": []}]}, {"base_model": []}]},
                    ]
                },
                {"lora_checkpoint*": []},
            ]
        }

    def test_something_from_outside_has_no_record(self, made):
        _, base = tree(made["lora_checkpoint"]).children
        assert (base.source.asset, base.record) == ("base_model", None)


class TestDependence:
    def test_a_checkpoint_depends_on_the_issues_it_was_trained_on(self, made):
        found = dependence(made["lora_checkpoint"], "pocket-0")
        assert found.depends
        assert found.content_hash == TRAIN["pocket-0"]
        assert [item.asset for item in found.read_through] == ["train_split"]

    def test_it_does_not_depend_on_those_that_the_split_held_out(self, made):
        found = dependence(made["lora_checkpoint"], "pocket-5")
        assert not found.depends
        assert found.content_hash is None
        assert [item.asset for item in found.only_in] == ["historical_issues"]

    def test_the_endpoint_depends_on_both_splits(self, made):
        for name in ISSUES:
            split = "train_split" if name in TRAIN else "val_split"
            assert [item.asset for item in dependence(made["deployed_endpoint"], name).read_through] == [split]

    def test_an_artefact_that_holds_issues_depends_on_its_own_only(self, made):
        assert dependence(made["val_split"], "pocket-5").depends
        assert not dependence(made["val_split"], "pocket-0").depends

    def test_an_unknown_issue_is_in_nothing(self, made):
        found = dependence(made["deployed_endpoint"], "pocket-77")
        assert not found.depends
        assert found.only_in == ()


class TestManyIssues:
    @pytest.fixture
    def many(self, tmp_path) -> dict[str, Path]:
        return build(tmp_path / "storage", max_embedded=1)

    def test_they_are_read_from_the_file_that_holds_them(self, many):
        assert read_lineage(many["val_split"]).issues.ids is None
        for asset in ("deployed_endpoint", "evaluation_metrics", "val_split"):
            assert dependence(many[asset], "pocket-5").content_hash == VAL["pocket-5"]

    def test_a_pool_whose_file_is_gone_does_not_matter_to_what_was_read(self, many):
        many["historical_issues"].unlink()
        assert dependence(many["lora_checkpoint"], "pocket-0").depends
        assert dependence(many["lora_checkpoint"], "pocket-5").only_in == ()

    def test_they_are_read_from_parquet(self, tmp_path):
        columns = {"instance_id": list(ISSUES), "content_hash": list(ISSUES.values()), "n": [0] * 6}
        pq.write_table(pa.table(columns), tmp_path / "issues.parquet")
        held = issue_set(ISSUES, "issues.parquet", max_embedded=1)
        lineage = write_lineage(tmp_path / "issues.parquet", record("historical_issues", 0, issues=held))
        assert issues_of(tmp_path / "issues.parquet", lineage) == ISSUES

    def test_a_file_that_is_gone_is_named(self, many):
        many["val_split"].unlink()
        with pytest.raises(
            LineageError, match=r"2 issues of val_split.* are listed in .*pocket\.jsonl, which is not there"
        ):
            dependence(many["deployed_endpoint"], "pocket-5")

    def test_a_file_that_has_changed_is_not_believed(self, many):
        table(many["val_split"], {"pocket-5": "other"})
        with pytest.raises(LineageError, match=r"does not hold the 2 issues of val_split.* any more"):
            dependence(many["val_split"], "pocket-5")

    def test_a_file_without_the_columns_is_named(self, many):
        many["val_split"].write_text('{"id": 1}\n')
        with pytest.raises(LineageError, match="has no readable columns instance_id and content_hash"):
            dependence(many["val_split"], "pocket-5")


class TestVerify:
    def findings(self, path: Path) -> list[tuple[str, str]]:
        return [(finding.kind, finding.path.name) for finding in verify(path)]

    def test_nothing_is_found_where_nothing_has_changed(self, made):
        for path in made.values():
            assert self.findings(path) == []

    def test_any_changed_byte_of_any_artefact_is_found_from_the_endpoint(self, made, tmp_path):
        choose = random.Random(0)
        files = [path for path in (tmp_path / "storage").rglob("*") if path.is_file() and path.suffix != ".log"]
        assert len(files) == 15
        for path in files:
            content = path.read_bytes()
            for position in {0, len(content) - 1, *(choose.randrange(len(content)) for _ in range(5))}:
                changed = bytearray(content)
                changed[position] ^= 1
                path.write_bytes(changed)
                try:
                    broken = any(finding.broken for finding in verify(made["deployed_endpoint"]))
                except LineageError:
                    broken = True
                assert broken, f"{path} at {position}"
            path.write_bytes(content)

    def test_a_missing_and_an_added_file_are_found(self, made):
        (made["lora_checkpoint"] / "adapter_config.json").unlink()
        (made["lora_checkpoint"] / "extra" / "code.py").parent.mkdir()
        (made["lora_checkpoint"] / "extra" / "code.py").write_text("")
        assert self.findings(made["lora_checkpoint"]) == [("missing", "adapter_config.json"), ("unexpected", "code.py")]

    def test_files_that_change_in_use_are_not_checked(self, made):
        (made["deployed_endpoint"] / "server.log").write_text("more\n")
        assert self.findings(made["deployed_endpoint"]) == []

    def test_a_copy_is_checked_without_its_inputs(self, made, tmp_path):
        copy = tmp_path / "elsewhere" / "lora"
        shutil.copytree(made["lora_checkpoint"], copy)
        assert [(finding.kind, finding.broken) for finding in verify(copy)] == [("elsewhere", False)]
        (copy / "adapter_model.safetensors").write_bytes(b"other")
        assert [finding.kind for finding in verify(copy) if finding.broken] == ["changed"]

    def test_an_input_that_was_made_again_is_stale_not_broken(self, made):
        write_lineage(made["train_split"], record("train_split", "anew"))
        (finding,) = verify(made["lora_checkpoint"])
        assert (finding.kind, finding.broken) == ("stale", False)
        assert "train_split has been made again since" in finding.message

    def test_an_input_that_was_replaced_by_another_asset_is_not_checked(self, made):
        write_lineage(made["train_split"], record("something_else", 0))
        assert self.findings(made["lora_checkpoint"]) == [("elsewhere", "pocket.jsonl.lineage.json")]

    def test_an_input_with_an_unreadable_lineage_is_found(self, made):
        lineage_path(made["train_split"]).write_text("{")
        assert self.findings(made["lora_checkpoint"]) == [("lineage", "pocket.jsonl.lineage.json")]

    def test_a_rewritten_lineage_with_another_ancestor_is_found(self, made):
        path = lineage_path(made["lora_checkpoint"])
        content = json.loads(path.read_text())
        content["seed"] = 1
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        assert self.findings(made["lora_checkpoint"]) == [("lineage", "lineage.json")]
