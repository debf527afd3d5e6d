"""Thousands of hostile candidates in a row: no process, no descriptor, no file and no memory may be left behind.

python -m tests.performance.verdicts_soak [--jobs 10000]
"""

import argparse
import gc
import os
import tempfile
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

from rllm_assets.sandbox.memory import descendants, resident_bytes
from rllm_assets.verification import Verifier
from tests.attacks import resources
from tests.attacks.functions import ATTACKS
from tests.verification.candidates import CANDIDATES
from tests.verification.tasks import clamp

_MB = 1 << 20

HOSTILE = [
    *(candidate.code for candidate in CANDIDATES.values() if candidate.status != "resolved"),
    *(code.replace("find", "clamp") for code in ATTACKS.values()),
    *(greed.code.replace("tell(", "print(") for greed in resources.ATTACKS.values()),
]


def left_behind() -> dict[str, int]:
    """What this process owns on the machine."""
    gc.collect()
    return {
        "processes": len(descendants(os.getpid())),
        "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "files": sum(1 for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith("rllm-")),
        "MB": resident_bytes(os.getpid()) // _MB,
    }


def main() -> None:
    """Run and print; end with an error where something is left behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    options = parser.parse_args()
    task = clamp(timeout_seconds=0.5)
    work = [(task, code) for code in islice(cycle(HOSTILE), options.jobs)]
    before = left_behind()
    began = time.perf_counter()
    statuses: Counter[str] = Counter()
    megabytes = []
    with Verifier() as verifier:
        for start in range(0, len(work), 1000):
            statuses.update(verdict.status for verdict in verifier.verify_many(work[start : start + 1000]))
            megabytes.append(left_behind()["MB"])
            zygotes = [resident_bytes(zygote.pid) // _MB for zygote in verifier._sandbox.zygotes()]
            print(
                f"{min(start + 1000, len(work)):6d} jobs: {megabytes[-1]} MB here, {zygotes} MB in zygotes", flush=True
            )
            assert verifier._sandbox.survivors() == []
    print(f"{len(work) / (time.perf_counter() - began):.0f} hostile jobs a second: {dict(statuses)}")
    after = left_behind()
    print(f"before: {before}\nafter:  {after}")
    for name in ("processes", "descriptors", "files"):
        assert after[name] == before[name], f"{name}: {before[name]} before, {after[name]} after"
    assert megabytes[-1] - megabytes[0] <= 5, f"memory grew from {megabytes[0]} to {megabytes[-1]} MB"
    assert statuses["no_verdict"] == 0, "the sandbox failed"
    assert statuses["resolved"] == 0, "a hostile candidate was believed"


if __name__ == "__main__":
    main()
