"""Statistics against scipy, closed forms and simulated truth."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.evaluation.statistics import bootstrap, compare, mcnemar, pass_at_k


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(case):
    samples, resolved, k = case
    answers = [True] * resolved + [False] * (samples - resolved)
    subsets = list(itertools.combinations(answers, k))
    assert pass_at_k(samples, resolved, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize("k", [0, 9])
def test_pass_at_k_needs_enough_samples(k):
    with pytest.raises(ValueError, match=f"pass@{k} needs at least"):
        pass_at_k(8, 1, k)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_mcnemar_is_the_exact_binomial_test(pairs):
    from scipy.stats import binomtest

    base, other = zip(*pairs, strict=True)
    gained = sum(o and not b for b, o in pairs)
    lost = sum(b and not o for b, o in pairs)
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(base, other) == pytest.approx(expected)


def test_bootstrap_mean_weighs_issues_not_groups():
    assert bootstrap({"a": [1.0, 1.0, 1.0], "b": [0.0]}, 1000, 0).value == 0.75


def test_bootstrap_interval_is_scipys():
    from scipy.stats import bootstrap as scipy_bootstrap

    values = np.random.default_rng(1).random(40)
    ours = bootstrap({str(i): [float(v)] for i, v in enumerate(values)}, 20_000, 0)
    theirs = scipy_bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_comparison_is_paired():
    """A gain of 0.1 on every issue is certain, however much issues differ from one another."""
    base = {str(i): [i / 20] for i in range(15)}
    other = {name: [value[0] + 0.1] for name, value in base.items()}
    found = compare(base, other, 5000, 0)
    assert found.difference.value == pytest.approx(0.1)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.1, 0.1))
    assert found.p_value == pytest.approx(1 / 5001)
    assert (found.groups, found.issues) == (15, 15)


def test_no_difference_has_no_significance():
    same = {str(i): [0.5, 0.25] for i in range(10)}
    assert compare(same, same, 1000, 0).p_value == 1.0


def test_groups_are_resampled_not_issues():
    """Forty issues of two functions are two observations: one that gains, one that loses."""
    base = {"a": [0.0] * 20, "b": [1.0] * 20}
    other = {"a": [1.0] * 20, "b": [0.5] * 20}
    found = compare(base, other, 20_000, 0)
    assert found.difference.value == 0.25
    # Drawn twice, the losing group alone makes a quarter of the resamples.
    assert found.p_value == pytest.approx(0.25, abs=0.01)


def test_policies_must_be_compared_on_the_same_issues():
    with pytest.raises(ValueError, match="same issues"):
        compare({"a": [1.0]}, {"a": [1.0, 0.0]}, 10, 0)


def test_nothing_to_compare_is_said():
    with pytest.raises(ValueError, match="nothing to compare"):
        compare({}, {}, 10, 0)


@pytest.mark.slow
def test_the_gate_lets_few_equal_policies_pass():
    """Under the null the one-sided level of 5% holds to within two points at twenty groups."""
    rng = np.random.default_rng(7)
    passed = 0
    for trial in range(1000):
        skill = rng.beta(1, 2, size=20)
        base, other = (
            {str(g): [float(x) / 8 for x in rng.binomial(8, skill[g], size=3)] for g in range(20)} for _ in range(2)
        )
        passed += compare(base, other, 500, trial).p_value < 0.05
    assert 0.03 <= passed / 1000 <= 0.08
