"""Verdicts per second at grade strong, start-up included, against one cold process per candidate, in one run.

    python -m tests.performance.verdicts_per_second [--jobs 10000] [--workers 2]

The candidates are the fixes and the bugs of the bundled benchmark, in turn. Two baselines make the same calls with as many
workers: a fresh Python without any sandbox, which hostile code would own, and a fresh sandbox of the same grade.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

from rllm_assets.data.benchmarks import find_benchmark
from rllm_assets.data.issues import FunctionTask
from rllm_assets.data.sources import load_issues
from rllm_assets.sandbox.jobs import Limits
from rllm_assets.sandbox.pool import Pool
from rllm_assets.verification import Verifier
from rllm_assets.verification.functions import CASES, cases_job, judge_cases

Candidate = tuple[FunctionTask, str]

# As bare as it gets: load the candidate, make the calls, print the results.
_COLD = """
import json, sys
job = json.load(sys.stdin)
namespace = {}
exec(job["code"], namespace)
for arguments in job["calls"]:
    try:
        print(namespace[job["entry_point"]](*arguments))
    except Exception as error:
        print(type(error))
"""


def candidates(number: int) -> list[Candidate]:
    """Fixes and bugs in turn, as often as it takes."""
    issues, _ = load_issues(find_benchmark("pocket"))
    tasks = [issue.task for issue in issues if isinstance(issue.task, FunctionTask)]
    both = [candidate for task in tasks for candidate in ((task, task.fixed_code), (task, task.buggy_code))]
    return list(islice(cycle(both), number))


def in_a_cold_process(candidate: Candidate) -> None:
    """Make a candidate's calls in a fresh Python without a sandbox."""
    task, code = candidate
    calls = [case.args for case in task.cases]
    job = json.dumps({"code": code, "entry_point": task.entry_point, "calls": calls})
    subprocess.run([sys.executable, "-c", _COLD], input=job, text=True, capture_output=True, check=True)


def in_a_cold_sandbox(candidate: Candidate) -> None:
    """Judge a candidate in a sandbox made for it alone."""
    task, code = candidate
    with Pool("strong", (CASES,), 1, Limits()) as pool:
        judge_cases(task, pool.run(cases_job(task, code, Limits())), "strong")


def per_second(act: Callable[[Candidate], None], work: list[Candidate], workers: int) -> float:
    """Return how many candidates a second `act` gets through with so many threads."""
    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(act, work))
    return len(work) / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--cold-jobs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    work = candidates(options.jobs)
    print(f"{options.workers} workers, {os.cpu_count()} cores, load before: {os.getloadavg()[0]:.1f}")
    began = time.perf_counter()
    with Verifier(workers=options.workers) as verifier:
        verdicts = verifier.verify_many(work)
    warm = len(work) / (time.perf_counter() - began)
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(Counter(v.status for v in verdicts).items()))
    print(
        f"verdicts at grade {verdicts[0].sandbox_grade}: {warm:.0f} a second over {len(work)}, start included ({statuses})"
    )
    for name, act in (("a cold process, no sandbox", in_a_cold_process), ("a cold sandbox", in_a_cold_sandbox)):
        cold = per_second(act, work[: options.cold_jobs], options.workers)
        print(f"{name} per candidate: {cold:.1f} a second over {options.cold_jobs}; ratio {warm / cold:.1f}")


if __name__ == "__main__":
    main()
