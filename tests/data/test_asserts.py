import pytest

from rllm_assets.data.issues import Case
from rllm_assets.data.sources.asserts import NotConvertibleError, cases_from_asserts


def one(assertion: str) -> Case:
    (case,) = cases_from_asserts(assertion, "f")
    return case


@pytest.mark.parametrize(
    ("assertion", "expected"),
    [
        ("assert f(1, 'a') == [2]", Case(args=[1, "a"], returns=[2], tolerance=0)),
        ("assert [2] == f(1)", Case(args=[1], returns=[2], tolerance=0)),
        ("assert f() == (1, 2), 'message'", Case(args=[], returns={"$tuple": [1, 2]}, tolerance=0)),
        ("assert f(1) is True", Case(args=[1], returns=True, tolerance=0)),
        ("assert f(1) is None", Case(args=[1], returns=None, tolerance=0)),
        ("assert f(1)", Case(args=[1], returns=True, tolerance=0)),
        ("assert not f(1)", Case(args=[1], returns=False, tolerance=0)),
        ("assert f(3 * 19) == 2 ** 3", Case(args=[57], returns=8, tolerance=0)),
        ("assert abs(f(1) - 0.5) < 1e-6", Case(args=[1], returns=0.5, tolerance=1e-6)),
        ("assert abs(0.5 - f(1)) <= 1e-6", Case(args=[1], returns=0.5, tolerance=1e-6)),
        # Absolute in the suite, relative above 1 in a case.
        ("assert abs(f(1) - 4) < 1e-6", Case(args=[1], returns=4.0, tolerance=0.25e-6)),
    ],
)
def test_each_form_of_assertion(assertion: str, expected: Case) -> None:
    assert one(assertion) == expected


def test_a_published_suite() -> None:
    suite = '''
METADATA = {"author": "somebody"}

def check(candidate):
    """Checks."""
    import math
    # simple
    assert candidate([1, 2]) == 3, "adds"
    assert True, "prints if this fails"
    assert candidate([]) == 0 and candidate([5]) == 5
    items = list(range(4))
    total = sum(items)
    assert candidate(items) == total
    for x in range(2):
        assert candidate([x, x + 1]) == 2 * x + 1
    print

check(add)
'''
    cases = cases_from_asserts(suite, "add")
    calls = [([[1, 2]], 3), ([[]], 0), ([[5]], 5), ([[0, 1, 2, 3]], 6), ([[0, 1]], 1), ([[1, 2]], 3)]
    assert [(case.args, case.returns) for case in cases] == calls


@pytest.mark.parametrize(
    ("suite", "reason"),
    [
        ("assert f(1) == f(2)", "the call of f is not a constant"),
        ("assert f(1) != 2", "never holds|not a constant"),
        ("assert f(1) > 2", "not a constant"),
        ("assert f(1) in [2]", "not a constant"),
        ("assert tuple(f(1)) == (2,)", "is not a call of f"),
        ("assert f(1) == 2 == 2", "not a constant"),
        ("assert f(1) or True", "not a constant"),
        ("assert f(1)[0] == 2", "is not a call of f"),
        ("assert f(x=1) == 2", "has keyword arguments"),
        ("assert f(*[1]) == 2", "not a constant"),
        ("assert f(lambda: 1) == 2", "not a constant"),
        ("assert f(g(1)) == 2", "the call of g is not a constant"),
        ("assert f(1) == object", "object is not a constant"),
        ("assert False", "never holds"),
        ("assert True", "no assertion calls the function"),
        ("", "no assertion calls the function"),
        ("def check(candidate):\n  assert candidate(1) == 2", "no assertion calls the function"),
        ("import random\nassert f(random.random()) == 2", "not a constant"),
        ("x = f(1)\nassert x == 2", "the call of f is not a constant"),
        ("x = [2]\nassert f(x) is None\nassert x == [1]", "'x' is not a call of f"),
        ("x = [2]\nassert f(x) == sum(x)", "x is used again after f may have changed it"),
        ("x = ([2],)\ny = x\nassert f(x) == 1\nassert f(y) == 1", "y is used again"),
        ("f = len\nassert f([]) == 0", "len is not a constant|f is assigned"),
        ("f = 5\nassert f(1) == 0", "f is assigned to"),
        ("for f in [1]:\n  assert f(1) == 0", "f is assigned to"),
        ("try:\n  f(1)\nexcept ValueError:\n  pass", "is no assertion about a call"),
        ("with open('x') as y:\n  assert f(y) == 1", "is no assertion about a call"),
        ("while True:\n  assert f(1) == 1", "is no assertion about a call"),
        ("f(1)", "is no assertion about a call"),
        ("assert f(1) == 1; import os; os.system('true')", "is no assertion about a call"),
        ("for x in range(5000):\n  assert f(x) == x", "more than 1000 assertions"),
        ("assert f(1) == ...", "no JSON form"),
        ("assert f(" + "(" * 150 + "1" + ",)" * 150 + ") == 1", "nested"),
    ],
)
def test_what_cases_cannot_say_is_refused_as_a_whole(suite: str, reason: str) -> None:
    with pytest.raises(NotConvertibleError, match=reason):
        cases_from_asserts(f"assert f(0) == 0\n{suite}" if "no assertion" not in reason else suite, "f")


def test_immutable_variables_may_be_used_again() -> None:
    assert len(cases_from_asserts("x = 'a'\nassert f(x) == x\nassert f(x) == x", "f")) == 2


def test_a_suite_that_is_not_python() -> None:
    with pytest.raises(SyntaxError):
        cases_from_asserts("assert f(1 ==", "f")
