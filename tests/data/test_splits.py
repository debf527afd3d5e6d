"""Splits: whole groups, by hash, and every kind of leak is seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.config import SplitsConfig
from rllm_assets.data.benchmarks import BUNDLED, find_benchmark
from rllm_assets.data.issues import Case, FunctionTask, Issue, Source
from rllm_assets.data.sources import load_issues
from rllm_assets.data.splits import SplitError, is_held_out, leaks, split_issues


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


@given(st.integers(0, 1000), st.floats(0.2, 0.8))
def test_groups_never_straddle_and_nothing_is_lost(seed, fraction):
    config = SplitsConfig(val_fraction=fraction, seed=seed)
    held_out = {i.group for i in ISSUES if is_held_out(i.group, config)}
    if not 2 <= len(held_out) < 30:
        with pytest.raises(SplitError, match=f"{len(held_out)} of 30 groups would be held out"):
            split_issues(ISSUES, config)
        return
    found = split_issues(ISSUES, config)
    assert held_out == {i.group for i in found.val}
    assert not {i.group for i in found.train} & {i.group for i in found.val}
    assert sorted(i.instance_id for i in (*found.train, *found.val)) == sorted(i.instance_id for i in ISSUES)
    assert leaks(found.train, found.val) == []
    by_group = {}
    for i, fold in zip(found.train, found.folds, strict=True):
        assert by_group.setdefault(i.group, fold) == fold
        assert 0 <= fold < 6


def test_adding_issues_moves_no_old_one():
    few = split_issues(ISSUES[:45], SplitsConfig())
    many = split_issues(ISSUES, SplitsConfig())
    side = {i.instance_id: ("train", fold) for i, fold in zip(many.train, many.folds, strict=True)}
    side |= {i.instance_id: ("val", None) for i in many.val}
    assert all(side[i.instance_id] == ("train", fold) for i, fold in zip(few.train, few.folds, strict=True))
    assert all(side[i.instance_id] == ("val", None) for i in few.val)


def test_the_share_is_about_what_was_asked_for():
    many = [issue(n, f"f{n}") for n in range(2000)]
    assert len(split_issues(many, SplitsConfig(val_fraction=0.3)).val) == pytest.approx(600, abs=60)


def test_too_few_groups_is_an_error_that_says_what_to_do():
    with pytest.raises(SplitError, match=r"of 1 groups would be held out.*change splits.val_fraction or splits.seed"):
        split_issues(ISSUES[:3], SplitsConfig())


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (issue(500, "f0"), "group 'r/m.f0'"),
        (issue(0, "g"), "instance_id 'i-0'"),
        (issue(501, "g", statement="Statement  0"), "problem_statement 'statement 0'"),
        (issue(502, "g", patch="patch 0"), "patch 'patch 0'"),
    ],
)
def test_a_planted_leak_is_seen(other, what):
    assert any(found.startswith(what) for found in leaks(ISSUES[:1], [other]))


def test_pocket_holds_out_enough_to_mean_something():
    issues, _ = load_issues(find_benchmark("pocket", BUNDLED / "none"))
    found = split_issues(issues, find_benchmark("pocket", BUNDLED / "none").resolve().config.splits)
    assert len({i.group for i in found.val}) >= 16
    assert len(found.val) >= 48
    assert leaks(found.train, found.val) == []
