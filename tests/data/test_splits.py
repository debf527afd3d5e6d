"""Splits: a side is an issue's own, what straddles is quarantined, and what is added later changes nothing."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllm_assets.config import SplitsConfig
from rllm_assets.data.benchmarks import BUNDLED, find_benchmark
from rllm_assets.data.issues import Case, FunctionTask, Issue, Source
from rllm_assets.data.reversal import reversed_diff
from rllm_assets.data.sources import load_issues
from rllm_assets.data.splits import SplitError, fold_numbers, split_issues
from tests.data.split_examples import (
    ANCESTOR,
    BED,
    diff,
    drawn,
    function_issue,
    mined,
    place_of,
    repository_issue,
    seed_with,
    text,
    where,
)


def issue(number, function, statement=None, patch=None):
    task = FunctionTask(
        module="m", entry_point=function, buggy_code=f"b{number}", fixed_code=f"f{number}", cases=(Case(args=[]),)
    )
    return Issue(
        instance_id=f"i-{number}",
        repo="r",
        problem_statement=statement or f"statement {number}",
        patch=patch or f"patch {number}",
        task=task,
        source=Source(benchmark="b", kind="k", file="f"),
    )


ISSUES = [issue(n, f"f{n // 3}") for n in range(90)]


@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(0.2, 0.8))
def test_groups_never_straddle_and_nothing_is_lost(seed, fraction):
    config = SplitsConfig(val_fraction=fraction, seed=seed)
    held_out = {i.group for i in ISSUES if drawn(seed, "side", i.group) < fraction}
    if not 2 <= len(held_out) < 30:
        with pytest.raises(SplitError, match=f"{len(held_out)} of 30 groups would be held out"):
            split_issues(ISSUES, config)
        return
    found = split_issues(ISSUES, config)
    assert held_out == {i.group for i in found.val}
    assert sorted(i.instance_id for i in (*found.train, *found.val)) == sorted(i.instance_id for i in ISSUES)
    assert found.folds == [int(drawn(seed, "fold", i.group) * 6) for i in found.train]
    assert found.folds == fold_numbers(found.train, config)
    assert (found.test, found.rejected) == ([], [])


def test_the_sides_of_the_bundled_benchmark_are_those_that_its_results_were_measured_on():
    benchmark = find_benchmark("pocket", BUNDLED / "none")
    issues, _ = load_issues(benchmark)
    config = benchmark.resolve().config.splits
    found = split_issues(issues, config)
    assert (len(found.train), len(found.val), len(found.rejected)) == (238, 107, 0)
    assert (len({i.group for i in found.val}), config.seed) == (22, 0)
    expected = {
        i.instance_id: ("val",) if drawn(0, "side", i.group) < 0.3 else ("train", int(drawn(0, "fold", i.group) * 6))
        for i in issues
    }
    assert where(found) == expected


def test_the_share_is_about_what_was_asked_for():
    many = [issue(n, f"f{n}") for n in range(2000)]
    found = split_issues(many, SplitsConfig(val_fraction=0.3, test_fraction=0.2))
    assert len(found.val) == pytest.approx(600, abs=60)
    assert len(found.test) == pytest.approx(400, abs=60)
    assert [i.group for i in found.val] == [i.group for i in split_issues(many, SplitsConfig(val_fraction=0.3)).val]


class TestPlaces:
    def test_functions_of_one_file_are_apart(self):
        found = split_issues([function_issue(n) for n in range(40)], SplitsConfig())
        assert {i.task.module for i in found.train} == {i.task.module for i in found.val} == {"m"}

    def test_up_to_four_repositories_are_divided_by_file(self):
        issues = [repository_issue(n, f"o/r{n % 4}", (f"src/file{n // 8}.py",)) for n in range(160)]
        found = split_issues(issues, SplitsConfig())
        for i in issues:
            path = f"{i.repo}/src/file{int(i.instance_id[2:6]) // 8}.py"
            assert where(found)[i.instance_id][0] == ("val" if drawn(0, "side", path) < 0.3 else "train")

    def test_five_repositories_are_divided_whole(self):
        issues = [repository_issue(n, f"o/r{n % 5}", (f"src/file{n // 8}.py",)) for n in range(160)]
        seed = seed_with(2, [f"o/r{n}" for n in range(5)])
        found = split_issues(issues, SplitsConfig(seed=seed))
        assert {i.repo for i in found.val} == {f"o/r{n}" for n in range(5) if drawn(seed, "side", f"o/r{n}") < 0.3}
        assert len({i.repo for i in found.val}) == 2

    def test_from_how_many_on_can_be_said(self):
        issues = [repository_issue(n, f"o/r{n % 3}", (f"src/file{n // 8}.py",)) for n in range(160)]
        seed = seed_with(1, [f"o/r{n}" for n in range(3)])
        found = split_issues(issues, SplitsConfig(repository_from=3, min_val_groups=1, seed=seed))
        assert (len({i.repo for i in found.train}), len({i.repo for i in found.val})) == (2, 1)

    def test_function_tasks_have_no_repository_to_be_kept_together_by(self):
        issues = [function_issue(n, repo=f"lib{n % 6}") for n in range(60)]
        found = split_issues(issues, SplitsConfig())
        assert {i.repo for i in found.train} & {i.repo for i in found.val}

    def test_mode_repo_divides_by_the_repository_of_any_task(self):
        issues = [function_issue(n, repo=f"lib{n % 12}") for n in range(60)]
        found = split_issues(issues, SplitsConfig(mode="repo"))
        assert {i.repo for i in found.val} == {f"lib{n}" for n in range(12) if drawn(0, "side", f"lib{n}") < 0.3}

    def test_a_fix_over_files_of_two_sides_is_a_bridge_and_the_files_stay_where_they_are(self):
        train, val = (place_of("o/r/src/{}.py", side=side).removeprefix("o/r/") for side in ("train", "val"))
        bed = [repository_issue(n) for n in range(40)]
        both = [repository_issue(50, "o/r", (train,)), repository_issue(51, "o/r", (val,))]
        bridge = repository_issue(45, "o/r", tuple(sorted((train, val))))
        found = where(split_issues([*bed, *both, bridge], SplitsConfig()))
        assert found["i-0045x"] == (
            "quarantined",
            "bridge",
            f"i-0045x: its fix changes files of different sides: o/r/{train} (train) and o/r/{val} (val)",
        )
        assert (found["i-0050x"][0], found["i-0051x"][0]) == ("train", "val")

    def test_change_logs_bridge_nothing(self):
        issues = [repository_issue(n, "o/r", (f"src/file{n}.py", "docs/news.rst", "CHANGES")) for n in range(40)]
        assert split_issues(issues, SplitsConfig()).rejected == []

    def test_the_fold_of_several_files_is_the_first_of_theirs(self):
        files = ("src/a.py", "src/b.py", "src/c.py")
        folds = [int(drawn(0, "fold", f"o/r/{file}") * 6) for file in files]
        assert len(set(folds)) > 1
        assert fold_numbers([repository_issue(1, "o/r", files)], SplitsConfig()) == [min(folds)]


class TestTime:
    CONFIG = SplitsConfig(mode="time", before=date(2012, 1, 1))

    def test_the_day_decides(self):
        issues = [function_issue(n, f"f{n % 7}") for n in range(900)]
        found = split_issues(issues, self.CONFIG)
        assert max(i.created_at for i in found.train) == "2011-12-25"
        assert min(i.created_at for i in found.val) == "2012-01-01"
        assert (len(found.train), len(found.val), len(found.rejected)) == (600, 300, 0)

    def test_a_time_is_taken_in_utc(self):
        bed = [function_issue(n) for n in range(900)]
        times = ["2012-01-01T00:30:00+01:00", "2012-01-01T00:00:00Z", "2011-12-31 23:59:59", "yesterday", ""]
        odd = [function_issue(1000 + n, created_at=time) for n, time in enumerate(times)]
        found = where(split_issues([*bed, *odd], self.CONFIG))
        assert [found[i.instance_id][0] for i in odd] == ["train", "val", "train", "quarantined", "quarantined"]
        assert found["i-1004x"][1:] == ("undated", "i-1004x: it has no date, and splits.mode is time")

    def test_held_out_issues_may_be_divided_again(self):
        issues = [function_issue(n) for n in range(900)]
        config = SplitsConfig(mode="time", before=date(2012, 1, 1), test_from=date(2012, 7, 1))
        found = split_issues(issues, config)
        assert {i.created_at[:4] for i in found.train} == {"2010", "2011"}
        assert {i.created_at[:7] for i in found.val} == {f"2012-0{month}" for month in range(1, 7)}
        assert {i.created_at[:7] for i in found.test} == {
            "2012-07",
            "2012-08",
            "2012-09",
            "2012-10",
            "2012-11",
            "2012-12",
        }

    def test_what_was_in_training_already_is_not_held_out(self):
        issues = [function_issue(n) for n in range(900)]
        again = function_issue(901, problem_statement=issues[3].problem_statement, created_at="2013-01-01")
        assert where(split_issues([*issues, again], self.CONFIG))["i-0901x"] == (
            "quarantined",
            "bridge",
            "i-0901x: it shares its statement with i-0003x, which is in train",
        )


# What an issue may share with one that is on the other side: fields of the earlier and of the later.
SHARED = {
    "statement": ({"problem_statement": "It  breaks"}, {"problem_statement": "it breaks"}),
    "near-duplicate statement": ({"problem_statement": text(777, 30)}, {"problem_statement": text(777, 32)}),
    "fix": ({"patch": ANCESTOR}, {"patch": ANCESTOR.replace("@@ -2,7 +2,7 @@", "@@ -9,7 +9,7 @@ def f():")}),
    "fix, reversed": ({"patch": ANCESTOR}, {"patch": reversed_diff(ANCESTOR)}),
    "near-duplicate fix": ({"patch": ANCESTOR}, {"patch": diff(777, "n.py")}),
    "base commit": ({"base_commit": "AB" * 20}, {"base_commit": "ab" * 20}),
    "fix commit": ({"source": mined("cd" * 20)}, {"source": mined("cd" * 5 + "0" * 30)}),
    "issue number": ({"labels": ["bug", "#12"]}, {"labels": ["#12", "lib/lib#9"]}),
    "issue number, of another repository": ({"labels": ["O/x#12"]}, {"labels": ["o/X#12"]}),
}


@pytest.mark.parametrize("what", SHARED)
@pytest.mark.parametrize(("side", "other_side"), [("train", "val"), ("val", "train")])
def test_of_two_issues_on_different_sides_that_share_something_the_later_goes(what, side, other_side):
    bed = [function_issue(n) for n in range(40)]
    one, other = (
        function_issue(n, place_of("lib/m.h{}", side=where_it_is).removeprefix("lib/m."), **fields)
        for n, where_it_is, fields in zip((60, 61), (side, other_side), SHARED[what], strict=True)
    )
    found = where(split_issues([*bed, other, one], SplitsConfig()))
    assert found["i-0060x"][0] == side
    reason = f"i-0061x: it shares its {what.partition(',')[0]} with i-0060x, which is in {side}"
    assert found["i-0061x"] == ("quarantined", "bridge", reason)
    apart = [function_issue(n, i.task.entry_point) for n, i in ((60, one), (61, other))]
    assert where(split_issues([*bed, *apart], SplitsConfig()))["i-0061x"][0] == other_side


@pytest.mark.parametrize(
    ("instance_id", "labels", "shared"),
    [
        ("o__r-12", [], "issue number"),
        ("O__R-12", [], "issue number"),
        ("x__r-12", [], ""),
        ("z", ["#12"], "issue number"),
        ("z", ["#13"], ""),
        ("z", ["see #12"], ""),
        ("z-" + "cd" * 5, [], "fix commit"),
        ("z-" + "cd" * 20, [], "fix commit"),
        ("z-" + "ce" * 20, [], ""),
        ("z-" + "cd" * 4, [], ""),
    ],
)
def test_ids_and_labels_name_pull_requests_and_commits(instance_id, labels, shared):
    train, val = (place_of("o/r/src/{}.py", side=side).removeprefix("o/r/") for side in ("train", "val"))
    bed = [repository_issue(n) for n in range(40)]
    one = repository_issue(60, "o/r", (train,), labels=["o/r#12"], source=mined("cd" * 20))
    other = repository_issue(61, "o/r", (val,), labels=labels, instance_id=instance_id)
    found = where(split_issues([*bed, one, other], SplitsConfig()))[instance_id]
    if shared:
        reason = f"{instance_id}: it shares its {shared} with i-0060x, which is in train"
        assert found == ("quarantined", "bridge", reason)
    else:
        assert found == ("val",)


def test_the_same_report_with_the_same_fix_is_kept_once():
    function = place_of("lib/m.h{}", side="train").removeprefix("lib/m.")
    bed = [function_issue(n) for n in range(40)]
    first = function_issue(60, function, problem_statement=text(777, 30), patch=ANCESTOR)
    same = function_issue(61, function, problem_statement=text(777, 32), patch=diff(777, "n.py"))
    other_fix = function_issue(62, function, problem_statement=text(777, 32))
    other_report = function_issue(63, function, patch=ANCESTOR)
    found = where(split_issues([*bed, other_report, other_fix, same, first], SplitsConfig()))
    reason = "i-0061x: report and fix are those of i-0060x, or nearly"
    assert found["i-0061x"] == ("quarantined", "duplicate", reason)
    assert {found[name][0] for name in ("i-0060x", "i-0062x", "i-0063x")} == {"train"}
    off = where(split_issues([*bed, same, first], SplitsConfig(near_duplicates=None)))
    assert off["i-0061x"][0] == "train"
    word_for_word = function_issue(64, function, problem_statement=text(777, 30), patch=ANCESTOR)
    off = where(split_issues([*bed, word_for_word, first], SplitsConfig(near_duplicates=None)))
    assert off["i-0064x"][:2] == ("quarantined", "duplicate")


class TestErrors:
    def test_one_function_for_most_of_the_issues(self):
        issues = [function_issue(n, "same") for n in range(21)] + [function_issue(100 + n) for n in range(20)]
        with pytest.raises(SplitError) as caught:
            split_issues(issues, SplitsConfig())
        assert str(caught.value) == (
            "21 of 41 issues hang together, most of them by the same function, and would all be on one side: "
            "divide them by date, with splits.mode: time and splits.before: 2010-05-08"
        )
        assert split_issues(issues[1:], SplitsConfig()).rejected == []

    def test_the_way_out_leads_out(self):
        issues = [repository_issue(n, "o/r", ("src/one.py",)) for n in range(60)]
        with pytest.raises(SplitError, match="60 of 60 issues hang together, most of them by the same file") as caught:
            split_issues(issues, SplitsConfig())
        day = date.fromisoformat(str(caught.value).rpartition(" ")[2])
        found = split_issues(issues, SplitsConfig(mode="time", before=day, min_val_groups=1))
        assert len(found.val) == pytest.approx(18, abs=2)

    def test_there_is_no_way_out_without_dates(self):
        issues = [repository_issue(n, base_commit="a" * 40, created_at="") for n in range(60)]
        with pytest.raises(SplitError) as caught:
            split_issues(issues, SplitsConfig())
        assert str(caught.value) == (
            "60 of 60 issues hang together, most of them by the same base commit, and would all be on one side: "
            "add issues on other functions or repositories; there are too few dates to divide by them (splits.mode: time)"
        )

    def test_a_chain_of_near_duplicates_hangs_together(self):
        words = text(1, 400).split()
        issues = [function_issue(n, problem_statement=" ".join(words[n : n + 40])) for n in range(60)]
        with pytest.raises(SplitError, match="most of them by the same near-duplicate statement"):
            split_issues(issues, SplitsConfig())

    def test_too_few_groups(self):
        with pytest.raises(SplitError) as caught:
            split_issues([function_issue(n) for n in range(3)], SplitsConfig(val_fraction=0.01))
        assert str(caught.value) == (
            "0 of 3 groups would be held out, at least 2 and not all are needed: add issues on more functions or "
            "repositories, or change splits.val_fraction or splits.seed"
        )

    def test_no_issue_for_the_test_split(self):
        issues = [function_issue(n) for n in range(40)]
        with pytest.raises(SplitError, match=r"test_split would be empty: add issues, or change splits\.test_fraction"):
            split_issues(issues, SplitsConfig(test_fraction=0.001))

    def test_nothing_before_the_date(self):
        issues = [function_issue(n) for n in range(40)]
        with pytest.raises(SplitError, match=r"40 of 40 groups would be held out.*or change splits\.before$"):
            split_issues(issues, SplitsConfig(mode="time", before=date(1999, 1, 1)))


def test_an_issue_that_is_left_out_is_found_in_its_file():
    issues = [*BED, function_issue(60, problem_statement=BED[0].problem_statement, patch=BED[0].patch)]
    (row,) = split_issues(issues, SplitsConfig()).rejected
    assert (row.file, row.line) == ("f", 60)
    assert row.reason.startswith("i-0060x: ")


def test_near_duplicates_far_below_the_threshold_are_none():
    issues = [
        *BED,
        function_issue(60, problem_statement=text(777, 30)),
        function_issue(61, problem_statement=text(777, 50)),
    ]
    assert split_issues(issues, SplitsConfig(seed=4)).rejected == []
