"""What candidates do, and the verdict on each."""

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from rllm_assets.data.issues import FunctionTask
from rllm_assets.data.verdicts import Verdict
from rllm_assets.sandbox.jobs import SandboxError
from rllm_assets.verification import Verifier
from tests.verification.candidates import CANDIDATES, FIRST
from tests.verification.ordinary import ORDINARY
from tests.verification.tasks import CLAMP, case, clamp, task


def ended(verdict: Verdict) -> tuple[str, int, int, str]:
    """The parts of a verdict that are always the same."""
    return verdict.status, verdict.tests_passed, verdict.tests_total, verdict.reason


def test_the_fix_resolves(verifier: Verifier) -> None:
    verdict = verifier.verify(clamp(), CLAMP)
    assert ended(verdict) == ("resolved", 3, 3, "")
    assert verdict.resolved
    assert (verdict.sandbox_grade, verdict.in_process) == ("strong", False)
    assert 0 < verdict.seconds < 20
    assert verifier.grade == "strong"


@pytest.mark.parametrize("name", CANDIDATES)
def test_each_ends_in_its_own_verdict(verifier: Verifier, name: str) -> None:
    candidate = CANDIDATES[name]
    verdict = verifier.verify(clamp(), candidate.code)
    assert ended(verdict) == (candidate.status, candidate.passed, 3, candidate.reason)


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("x = '\0'", "invalid_patch", "the code does not parse: "),
        ("x = '\udc80'", "invalid_patch", "the code does not parse: UnicodeEncodeError"),
        ("def clamp(*a): return 10 ** 5000", "failed", f"{FIRST} returned what cannot be judged: Exceeds the limit"),
        ("-" * 100_000 + "1", "invalid_patch", "the code does not parse: "),
    ],
)
def test_what_pythons_say_differently(verifier: Verifier, code: str, status: str, reason: str) -> None:
    verdict = verifier.verify(clamp(), code)
    assert (verdict.status, verdict.tests_passed) == (status, 0)
    assert verdict.reason.startswith(reason)


def test_no_answer_is_no_patch(verifier: Verifier) -> None:
    assert ended(verifier.verify(clamp(), None)) == ("invalid_patch", 0, 3, "no code in the answer")


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "sum(range(10 ** 14))",
        "import time; time.sleep(100)",
        "return list(iter(int, 1))",
        "import threading; threading.Event().wait()",
    ],
)
def test_time_runs_out(verifier: Verifier, body: str) -> None:
    # The endless list may also run out of memory first, on a fast machine.
    verdict = verifier.verify(clamp(0.3), f"def clamp(*a):\n    {body}")
    assert ended(verdict) in [
        ("timeout", 0, 3, "out of time in case 1 of 3: clamp(5, 0, 10)"),
        ("out_of_memory", 0, 3, "out of memory in case 1 of 3: clamp(5, 0, 10)"),
    ]
    assert verdict.status == "timeout" or "iter" in body


def test_time_runs_out_while_loading(verifier: Verifier) -> None:
    assert ended(verifier.verify(clamp(0.2), "while True: pass")) == (
        "timeout",
        0,
        3,
        "out of time while the module was loaded",
    )


def test_the_first_failure_is_told_even_when_time_runs_out_later(verifier: Verifier) -> None:
    code = "def clamp(value, low, high):\n  if value < 0:\n    while True: pass\n  return 7"
    assert ended(verifier.verify(clamp(0.3), code)) == (
        "timeout", 0, 3, f"{FIRST} returned 7, expected 5; then out of time in case 2 of 3: clamp(-5, 0, 10)",
    )  # fmt: skip


def test_threads_left_behind_do_not_count(verifier: Verifier) -> None:
    code = CLAMP + "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
    assert ended(verifier.verify(clamp(), code)) == ("resolved", 3, 3, "")


def test_memory_of_many_processes(verifier: Verifier) -> None:
    code = """
import os
def clamp(*arguments):
    for _ in range(8):
        if os.fork() == 0:
            break
    block = bytearray(b"x" * (200 << 20))
    while True: pass
"""
    assert ended(verifier.verify(clamp(), code)) == (
        "out_of_memory",
        0,
        3,
        "out of memory in case 1 of 3: clamp(5, 0, 10)",
    )


def test_a_fork_bomb(verifier: Verifier) -> None:
    code = "import os\ndef clamp(*a):\n  while True:\n    try: os.fork()\n    except OSError: pass"
    assert ended(verifier.verify(clamp(0.5), code)) == ("timeout", 0, 3, "out of time in case 1 of 3: clamp(5, 0, 10)")


def test_an_output_flood(verifier: Verifier) -> None:
    code = "def clamp(*a):\n  while True: print('x' * 10_000)"
    verdict = verifier.verify(clamp(), code)
    reason = "printed more than 1 MB, which is not kept, in case 1 of 3: clamp(5, 0, 10)"
    assert ended(verdict) == ("failed", 0, 3, reason)


def test_a_flood_of_results(verifier: Verifier) -> None:
    verdict = verifier.verify(clamp(), "def clamp(*a): return 'x' * (4 << 20)")
    reason = "returned more than 2 MB, which is not kept, in case 1 of 3: clamp(5, 0, 10)"
    assert ended(verdict) == ("failed", 0, 3, reason)


def test_output_that_is_not_text(verifier: Verifier) -> None:
    code = (
        CLAMP
        + r"import os, sys; os.write(1, b'\xff\xfe'); sys.stdout.buffer.write(b'\x80'); sys.stderr.write('\udc80')"
    )
    assert ended(verifier.verify(clamp(), code)) == ("resolved", 3, 3, "")


def test_values_are_compared_by_exact_type(verifier: Verifier) -> None:
    echo = "def echo(name): return {}"
    wanted = [
        True,
        1,
        1.0,
        -0.0,
        (1,),
        {1},
        frozenset({1}),
        b"1",
        {"a": 1},
        {1: 2},
        None,
        "\udc80",
        1j,
        float("inf"),
        [[]],
    ]
    given = ["True", "1", "1.0", "-0.0", "(1,)", "{1}", "frozenset({1})", "b'1'", "{'a': 1}", "{1: 2}", "None"]
    given += [r"'\udc80'", "1j", "float('inf')", "[[]]"]
    jobs = [(task("echo", case("x", returns=value)), echo.format(text)) for value in wanted for text in given]
    verdicts = verifier.verify_many(jobs)
    resolved = [divmod(index, len(given)) for index, verdict in enumerate(verdicts) if verdict.resolved]
    assert resolved == [(index, index) for index in range(len(wanted))]


def test_floats_have_a_stated_tolerance(verifier: Verifier) -> None:
    code = "def third(): return 0.333333"
    assert verifier.verify(task("third", case(returns=1 / 3, tolerance=1e-6)), code).resolved
    assert not verifier.verify(task("third", case(returns=1 / 3, tolerance=1e-7)), code).resolved


def test_not_a_number_equals_itself(verifier: Verifier) -> None:
    assert verifier.verify(task("nan", case(returns=float("nan"))), "def nan(): return float('nan')").resolved


def test_mutated_arguments_matter_where_the_case_says_so(verifier: Verifier) -> None:
    code = "def total(items):\n  items.append(0)\n  return sum(items)"
    careless, careful = case([1, 2], returns=3), case([1, 2], returns=3, args_after=[[1, 2]])
    assert verifier.verify(task("total", careless), code).resolved
    assert ended(verifier.verify(task("total", careful), code)) == (
        "failed", 0, 1, "case 1 of 1: total([1, 2]) left its arguments as [[1, 2, 0]], expected [[1, 2]]",
    )  # fmt: skip
    in_place = task("sort", case([2, 1], returns=None, args_after=[[1, 2]]))
    assert verifier.verify(in_place, "def sort(items): items.sort()").resolved
    assert not verifier.verify(in_place, "def sort(items): return None").resolved


def test_arguments_that_became_strange(verifier: Verifier) -> None:
    watched = task("f", case([1], returns=1, args_after=[[1]]))
    assert ended(verifier.verify(watched, "def f(x):\n  x[0] = object()\n  return 1")) == (
        "failed", 0, 1, "case 1 of 1: f([1]) left its arguments as None, expected [[1]]",
    )  # fmt: skip


def test_cases_share_one_module(verifier: Verifier) -> None:
    code = "def collect(item, into=[]):\n  into.append(item)\n  return into"
    twice = task("collect", case(1, returns=[1]), case(2, returns=[2]))
    assert ended(verifier.verify(twice, code)) == (
        "failed",
        1,
        2,
        "case 2 of 2: collect(2) returned [1, 2], expected [2]",
    )


def test_every_case_is_judged(verifier: Verifier) -> None:
    even = task("is_even", *(case(n, returns=n % 2 == 0) for n in range(10)))
    verdict = verifier.verify(even, "def is_even(n): return True")
    assert ended(verdict) == ("failed", 5, 10, "case 2 of 10: is_even(1) returned True, expected False")


def test_a_failing_sandbox_is_no_verdict(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: object) -> None:
        raise SandboxError("the sandbox failed twice on the same job: the zygote died")

    monkeypatch.setattr(verifier._sandbox, "run", fail)
    verdict = verifier.verify(clamp(), CLAMP)
    assert ended(verdict) == ("no_verdict", 0, 3, "the sandbox failed twice on the same job: the zygote died")
    assert not verdict.counts


def test_a_task_without_cases_judges_nothing(verifier: Verifier) -> None:
    for code in ("def f(): return 1", None):
        assert ended(verifier.verify(task("f"), code)) == (
            "no_verdict",
            0,
            0,
            "the task f has neither cases nor a suite",
        )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(x): return x + 1", ("resolved", 3, 3, "")),
        ("def f(x): return 2", ("failed", 1, 3, "case 2 of 2: f(2) returned 2, expected 3")),
        ("def f(x): return min(x + 1, 3)", ("failed", 2, 3, "the suite: line 1, assert f(5) == 6: AssertionError")),
    ],
)
def test_cases_and_a_suite_both_count(verifier: Verifier, code: str, expected: tuple) -> None:
    fixed = "def f(x): return x + 1"
    both = task("f", case(1, returns=2), case(2, returns=3), fixed_code=fixed, test_code="assert f(5) == 6")
    assert ended(verifier.verify(both, code)) == expected


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_python_works(verifier: Verifier, name: str) -> None:
    assert ended(verifier.verify(task("f", case(returns=7)), ORDINARY[name])) == ("resolved", 1, 1, "")


def test_many_jobs_keep_their_order(verifier: Verifier) -> None:
    jobs: list[tuple[FunctionTask, str | None]] = []
    for number in range(60):
        answer = number if number % 3 else -1
        jobs.append((task("f", case(returns=number)), None if number % 10 == 9 else f"def f(): return {answer}"))
    verdicts = verifier.verify_many(jobs)
    expected = ["invalid_patch" if n % 10 == 9 else "resolved" if n % 3 else "failed" for n in range(60)]
    assert [verdict.status for verdict in verdicts] == expected


def test_no_jobs(verifier: Verifier) -> None:
    assert verifier.verify_many([]) == []


def test_several_threads_may_ask(verifier: Verifier) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(
                lambda n: verifier.verify(task("f", case(returns=n)), f"def f(): return {n}").resolved, range(24)
            )
        )
    assert answers == [True] * 24


def test_verdicts_repeat(verifier: Verifier) -> None:
    code = "import random\ndef draw(): return [random.random() for _ in range(3)] + list({'a', 'b', 'c', 'd'})"
    random.seed(0)
    first = verifier.verify(task("draw", case(returns=[])), code).reason
    assert [verifier.verify(task("draw", case(returns=[])), code).reason for _ in range(4)] == [first] * 4


def test_a_verifier_is_closed_with_its_block() -> None:
    with Verifier(workers=1, allow_unsandboxed=True) as short:
        assert short.verify(clamp(), CLAMP).resolved
    verdict = short.verify(clamp(), CLAMP)
    assert ended(verdict) == ("no_verdict", 0, 3, "the sandbox is closed")


def test_as_many_workers_as_cores(verifier: Verifier) -> None:
    with Verifier(allow_unsandboxed=True) as wide:
        assert wide.workers == len(os.sched_getaffinity(0))
