"""A leak of each kind, planted, is found as what it is, and as nothing else that it is not."""

from datetime import date

import pytest

from rllm_assets.config import SplitsConfig
from rllm_assets.data.benchmarks import BUNDLED, find_benchmark
from rllm_assets.data.issues import Source
from rllm_assets.data.leaks import LEAKS, Divided, all_leaks, find_leaks
from rllm_assets.data.reversal import reversed_diff
from rllm_assets.data.sources import load_issues
from rllm_assets.data.splits import split_issues
from rllm_assets.data.tables import attempts_to_table, issues_to_table
from rllm_assets.data.trajectories import Attempt
from rllm_assets.data.verdicts import Verdict
from tests.data.split_examples import diff, function_issue, repository_issue, text

TIME = SplitsConfig(mode="time", before=date(2011, 1, 1))
PATCH = diff(900, "m.py")


def attempt(instance_id, said, answer="```python\n```", turns=()):
    return Attempt(
        instance_id=instance_id,
        group="g",
        kind="rollout",
        attempt=0,
        prompt=[{"role": "user", "content": said}],
        response=answer,
        turns=list(turns),
        response_tokens=1,
        finished=True,
        verdict=Verdict(status="failed"),
    )


def divided(train, val, test=None, *, config=None, attempts=(), foreign=None, by_repository=None):
    return Divided(
        issues_to_table(train),
        issues_to_table(val),
        config or SplitsConfig(),
        test=None if test is None else issues_to_table(test),
        trajectories=attempts_to_table(attempts),
        foreign=None if foreign is None else issues_to_table(foreign),
        by_repository=by_repository,
    )


def found(*arguments, **options):
    return {name: lines for name, lines in find_leaks(divided(*arguments, **options)).items() if lines}


def mined(commit):
    return Source(benchmark="b", kind="git", file=commit)


# What one training issue and one held-out issue have in common, and the leaks that this is.
PLANTED = {
    "same id": ({"instance_id": "one"}, {"instance_id": "one"}, set()),
    "same function": ({"function": "f"}, {"function": "f"}, set()),
    "same statement": (
        {"problem_statement": "It  breaks"},
        {"problem_statement": "it breaks"},
        {"near-duplicate statement"},
    ),
    "near-duplicate statement": ({"problem_statement": text(900, 30)}, {"problem_statement": text(900, 32)}, set()),
    "same fix": ({"patch": PATCH}, {"patch": PATCH.replace("@@ -2,7", "@@ -9,7")}, {"near-duplicate fix"}),
    "near-duplicate fix": ({"patch": PATCH}, {"patch": diff(900, "n.py")}, set()),
    "shared fix commit": ({"source": mined("cd" * 20)}, {"source": mined("cd" * 20)}, set()),
    "shared base commit": ({"base_commit": "ab" * 20}, {"base_commit": "ab" * 20}, set()),
    "shared issue number": ({"labels": ["#12"]}, {"labels": ["#12"]}, set()),
    "reversed fix": ({"patch": PATCH}, {"patch": reversed_diff(PATCH)}, set()),
}


def made(number, *, function="", **fields):
    return function_issue(number, function, **fields)


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_leak_is_found(what):
    ours, theirs, besides = PLANTED[what]
    one, other = made(60, **ours), made(61, **theirs)
    train, val = [*map(function_issue, range(20)), one], [other, *map(function_issue, range(20, 30))]
    leaks = found(train, val)
    assert leaks.keys() - {"near-duplicate fix"} == {what, *besides} - {"near-duplicate fix"}
    assert leaks[what] == [f"{one.instance_id} (train) and {other.instance_id} (val)"]
    # The same on one side is nothing to speak of.
    assert found([*train, other], val[1:]) == {}
    # In mode time the function is no place; everything else is found there, too.
    before, after = (
        [i.model_copy(update={"created_at": day}) for i in side]
        for side, day in ((train, "2010-12-31"), (val, "2011-01-01"))
    )
    assert found(before, after, config=TIME).keys() == leaks.keys() - {"same function"}


def test_the_same_content_under_another_id():
    one = repository_issue(60, "o/r", ("src/a.py",))
    leaks = found([one], [one.model_copy(update={"instance_id": "other"})])
    assert leaks.keys() == {
        "same content",
        "same file",
        "same statement",
        "near-duplicate statement",
        "same fix",
        "near-duplicate fix",
        "shared base commit",
    }
    assert leaks["same content"] == ["i-0060x (train) and other (val)"]
    assert "same content" not in found(
        [one], [one.model_copy(update={"instance_id": "other", "FAIL_TO_PASS": ["t::b"]})]
    )


class TestPlaces:
    def test_the_same_file(self):
        train = [repository_issue(1, "o/r", ("src/a.py", "src/b.py"))]
        val = [repository_issue(2, "o/r", ("src/b.py",)), repository_issue(3, "o/q", ("src/a.py",))]
        assert found(train, val) == {"same file": ["i-0001x (train) and i-0002x (val)"]}
        before = [i.model_copy(update={"created_at": "2009-01-01"}) for i in train]
        after = [i.model_copy(update={"created_at": "2012-01-01"}) for i in val]
        assert found(before, after, config=TIME) == {}

    def test_the_same_repository_where_there_are_five(self):
        train = [repository_issue(n, f"o/r{n}") for n in range(4)]
        val = [repository_issue(10, "o/r4"), repository_issue(11, "o/r0")]
        assert found(train, val) == {"same repository": ["i-0000x (train) and i-0011x (val)"]}
        assert found(train[:3], val[1:]) == {}
        assert found(train[:3], val[1:], by_repository=True) == {
            "same repository": ["i-0000x (train) and i-0011x (val)"]
        }
        assert found(train, val, by_repository=False) == {}

    def test_functions_have_no_repository_but_in_mode_repo(self):
        train = [function_issue(n, repo=f"lib{n}") for n in range(6)]
        val = [function_issue(10, repo="lib0")]
        assert found(train, val) == {}
        assert found(train, val, config=SplitsConfig(mode="repo")).keys() == {"same repository"}


class TestTime:
    def test_a_training_issue_from_after_the_date(self):
        train = [function_issue(1, created_at="2010-12-31T23:59:59Z"), function_issue(2, created_at="2011-01-01")]
        val = [function_issue(3, created_at="2011-01-01")]
        assert found(train, val, config=TIME) == {"out of its time": ["i-0002x (train)"]}

    def test_a_held_out_issue_from_before_it_and_one_without_a_date(self):
        train = [function_issue(1, created_at="2010-01-01"), function_issue(2, created_at="")]
        val = [function_issue(3, created_at="2010-12-31"), function_issue(4, created_at="2012-01-01")]
        test = [function_issue(5, created_at="2011-12-31"), function_issue(6, created_at="2012-01-01")]
        config = SplitsConfig(mode="time", before=date(2011, 1, 1), test_from=date(2012, 1, 1))
        expected = ["i-0002x (train)", "i-0003x (val)", "i-0004x (val)", "i-0005x (test)"]
        assert found(train, val, test, config=config) == {"out of its time": expected}


def test_the_test_side_is_kept_apart_from_both():
    train, val = [function_issue(1, "f"), function_issue(2, "g")], [function_issue(3, "h")]
    test = [function_issue(4, "g"), function_issue(5, "h"), function_issue(6, "g")]
    assert found(train, val, test) == {
        "same function": ["i-0002x (train) and i-0004x (test)", "i-0003x (val) and i-0005x (test)"]
    }


class TestQuotes:
    VAL = function_issue(9)

    @pytest.mark.parametrize("where", ["prompt", "answer", "part of a message", "what a command printed"])
    def test_a_held_out_report_in_a_training_trajectory(self, where):
        quote = f"As somebody said:\n> {self.VAL.problem_statement.upper()}"
        tried = attempt("i-0001x", quote if where == "prompt" else "?", quote if where == "answer" else "!")
        if where == "part of a message":
            tried = tried.model_copy(
                update={"prompt": [{"role": "user", "content": [{"type": "text", "text": quote}]}]}
            )
        if where == "what a command printed":
            tried = attempt("i-0001x", "?", turns=[{"role": "assistant"}, {"role": "tool", "content": quote}])
        others = [attempt("i-0002x", text(2)), attempt("i-0001x", text(1))]
        train = [function_issue(1), function_issue(2)]
        assert found(train, [self.VAL], attempts=[*others, tried]) == {
            "quoted in a trajectory": ["a trajectory of i-0001x quotes i-0009x"]
        }

    def test_what_others_say_is_no_leak(self):
        quote = attempt("i-0009x", self.VAL.problem_statement)
        elsewhere = attempt("i-0077x", self.VAL.problem_statement)
        assert found([function_issue(1)], [self.VAL], attempts=[quote, elsewhere]) == {}

    def test_a_report_of_the_test_side(self):
        quote = attempt("i-0001x", self.VAL.problem_statement)
        assert found([function_issue(1)], [function_issue(2)], [self.VAL], attempts=[quote]).keys() == {
            "quoted in a trajectory"
        }


class TestDecontamination:
    FOREIGN = repository_issue(9, "o/r", ("src/a.py",), labels=["#12"])

    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"instance_id": "i-0009x"}, "id"),
            ({"problem_statement": FOREIGN.problem_statement.upper()}, "statement"),
            ({"problem_statement": text(9, 32)}, "near-duplicate statement"),
            ({"patch": diff(9, "src/b.py")}, "near-duplicate fix"),
            ({"patch": reversed_diff(FOREIGN.patch)}, "fix"),
            ({"labels": ["#12"]}, "issue number"),
        ],
    )
    def test_an_issue_of_a_benchmark_that_is_not_to_be_trained_on(self, fields, kind):
        planted = repository_issue(50, "o/r", **fields)
        leaks = found([function_issue(1), planted], [function_issue(2)], foreign=[self.FOREIGN])
        assert leaks.keys() == {"decontamination"}
        said = f"{planted.instance_id} (train) and i-0009x (not to be trained on) by their {kind}"
        assert said in leaks["decontamination"]
        # It may be evaluated on.
        assert found([function_issue(1)], [planted], foreign=[self.FOREIGN]) == {}

    def test_another_issue_of_its_file_and_its_commit_is_none(self):
        other = repository_issue(50, "o/r", ("src/a.py",), base_commit=self.FOREIGN.base_commit)
        assert found([other], [function_issue(2)], foreign=[self.FOREIGN]) == {}

    def test_a_function_is(self):
        leaks = found([function_issue(1, "f")], [function_issue(2)], foreign=[function_issue(3, "f")])
        assert leaks == {"decontamination": ["i-0001x (train) and i-0003x (not to be trained on) by their function"]}


def test_what_is_not_looked_for_is_not_said():
    train, val = [function_issue(1)], [function_issue(2)]
    assert find_leaks(divided(train, val)).keys() == LEAKS.keys() - {
        "same repository",
        "out of its time",
        "decontamination",
    }
    near = {"near-duplicate statement", "near-duplicate fix"}
    off = find_leaks(divided(train, val, config=SplitsConfig(near_duplicates=None)))
    assert off.keys() == LEAKS.keys() - {"same repository", "out of its time", "decontamination", *near}


def test_all_that_is_found_in_one_list():
    train, val = [function_issue(1, "f"), function_issue(2, labels=["#1"])], [function_issue(3, "f", labels=["#1"])]
    assert all_leaks(divided(train, val)) == [
        "same function: i-0001x (train) and i-0003x (val)",
        "shared issue number: i-0002x (train) and i-0003x (val)",
    ]


def test_nothing_leaks_in_the_bundled_benchmark():
    benchmark = find_benchmark("pocket", BUNDLED / "none")
    issues, _ = load_issues(benchmark)
    config = benchmark.resolve().config.splits
    split = split_issues(issues, config)
    prompts = [
        attempt(i.instance_id, f"{i.problem_statement}\n{i.task.buggy_code}", i.task.fixed_code) for i in split.train
    ]
    assert all_leaks(divided(split.train, split.val, split.test, config=config, attempts=prompts)) == []
