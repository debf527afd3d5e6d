"""What the documentation promises of splits, on collections of issues that have a good deal in common."""

import re
from collections import Counter
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from rllm_assets.config import SplitsConfig
from rllm_assets.data.issues import FunctionTask
from rllm_assets.data.reversal import reversed_diff
from rllm_assets.data.splits import SIDES, assign, own_sides, split_issues
from rllm_assets.data.tables import issues_to_table
from tests.data.split_examples import ANCESTOR, BED, diff, function_issue, repository_issue, text, where

# Issues that have a good deal in common, in few words: places, texts that are alike in a chain, commits, numbers, dates.
WORDS = text(1, 40).split()
PATHS = ("src/a.py", "src/b.py", "src/c.py", "src/d.py")


def some(draw):
    number = draw(st.integers(100, 160))
    fields = {
        "problem_statement": " ".join(WORDS[(at := draw(st.integers(0, 12))) : at + 22])
        if draw(st.booleans())
        else text(number),
        "created_at": draw(
            st.sampled_from(["", "2009-01-01", "2011-05-05", "2011-05-05T10:00:00+09:00", "2020-01-01"])
        ),
        "labels": draw(st.lists(st.sampled_from(["#1", "#2", "#3", "bug"]), max_size=1)),
    }
    if draw(st.booleans()):
        patch = draw(
            st.sampled_from([ANCESTOR, reversed_diff(ANCESTOR), diff(number, "m.py"), diff(number + 1, "m.py")])
        )
        return function_issue(number, draw(st.sampled_from([f"h{n}" for n in range(6)])), patch=patch, **fields)
    files = draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=2, unique=True))
    base = draw(st.sampled_from([f"{number:040x}", "a" * 40]))
    return repository_issue(number, "o/r", tuple(sorted(files)), base_commit=base, **fields)


@st.composite
def collections_of_issues(draw):
    issues = [some(draw) for _ in range(draw(st.integers(1, 12)))]
    return list({i.instance_id: i for i in issues}.values())


CONFIG = SplitsConfig(val_fraction=0.4, test_fraction=0.2)


def in_order(i):
    # A time at nine o'clock in Japan is midnight in London.
    moment = {"2011-05-05T10:00:00+09:00": "2011-05-05T01"}.get(i.created_at, i.created_at)
    return (moment == "", moment, i.instance_id)


@settings(max_examples=40)
@given(collections_of_issues(), st.randoms(use_true_random=False), st.data())
def test_what_is_promised(issues, shuffler, data):
    everything = [*BED, *issues]
    found = where(split_issues(everything, CONFIG))
    assert found.keys() == {i.instance_id for i in everything}

    # A pure function of content: the order in which issues come does not matter.
    shuffled = list(everything)
    shuffler.shuffle(shuffled)
    assert where(split_issues(shuffled, CONFIG)) == found

    # Whichever issues are added, none that is there before and after moves between sides or folds.
    few = [i for i in issues if data.draw(st.booleans())]
    before = where(split_issues([*BED, *few], CONFIG))
    for name, placed in before.items():
        if "quarantined" not in (placed[0], found[name][0]):
            assert placed == found[name]

    # Where those that are added are later than the others, nothing of these changes at all, reasons included.
    earlier = sorted(everything, key=in_order)[: len(everything) - data.draw(st.integers(0, len(issues)))]
    if {i.instance_id for i in BED} <= {i.instance_id for i in earlier}:
        before = where(split_issues(earlier, CONFIG))
        assert before == {name: found[name] for name in before}

    # No two issues on different sides have anything in common.
    kept = [i for i in everything if found[i.instance_id][0] != "quarantined"]
    for one, other in combinations(kept, 2):
        if found[one.instance_id][0] != found[other.instance_id][0]:
            assert not in_common(one, other)


def in_common(one, other):
    """By the words of the documentation, without the code that is tested."""
    found = []
    for i in (one, other):
        is_function = isinstance(i.task, FunctionTask)
        files = re.findall(r"^\+\+\+ b/(.*)$", i.patch, re.MULTILINE)
        found.append(
            {("function", i.group)}
            if is_function
            else {("file", i.repo, file) for file in files}
            | {("statement", i.problem_statement), ("base", i.base_commit)} - {("base", "")}
        )
        found[-1] |= {("number", i.repo, label) for label in i.labels if label.startswith("#")}
        found[-1] |= {("fix", i.patch.partition("@@")[2]), ("fix", reversed_diff(i.patch).partition("@@")[2])}
    grams = [
        {tuple(words[at : at + 5]) for at in range(len(words) - 4)}
        for words in (i.problem_statement.split() for i in (one, other))
    ]
    alike = len(grams[0] & grams[1]) / len(grams[0] | grams[1]) >= 0.7
    return found[0] & found[1] or alike


def test_the_side_is_known_before_anything_is_tried():
    issues = [*BED, function_issue(60, "h1"), repository_issue(61, "o/r", tuple(f"src/{n}.py" for n in range(9)))]
    table = issues_to_table(issues)
    found = assign(table, CONFIG)
    known = own_sides(table, CONFIG)
    assert Counter(known).keys() == {"train", "val", "test", ""}
    for row, side in enumerate(known):
        assert row in found.quarantine or SIDES[found.sides[row]] == side
