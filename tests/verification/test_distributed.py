"""The same verdicts from workers elsewhere."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from rllm_assets.compute.local import LocalCompute
from rllm_assets.compute.ray_crew import RayCompute
from rllm_assets.config import DistributedConfig
from rllm_assets.data.issues import FunctionTask
from rllm_assets.sandbox.jobs import SandboxUnavailableError
from rllm_assets.verification import Verifier
from rllm_assets.verification.distributed import DistributedVerifier, open_verifier
from tests.compute.local_ray import CPUS, ray_compute, ray_here  # noqa: F401
from tests.verification.candidates import CANDIDATES
from tests.verification.judges import Broken, Echo, Fragile, Nowhere
from tests.verification.tasks import CLAMP, clamp
from tests.verification.test_verifier import ended

# The fixtures are arguments of the same name as their imports.
# ruff: noqa: F811


def jobs_of(*codes: str | None) -> list[tuple[FunctionTask, str | None]]:
    return [(clamp(), code) for code in codes]


class TestHere:
    """The crew of one, for what does not depend on where it is."""

    def test_many_jobs_keep_their_order(self) -> None:
        with DistributedVerifier(LocalCompute(), make=Echo) as spread:
            assert (spread.workers, spread.grade) == (1, "weak")
            codes = [f"code {number}" for number in range(1000)]
            assert [verdict.reason for verdict in spread.verify_many(jobs_of(*codes))] == codes
            assert spread.verify_many([]) == []
            assert spread.verify(clamp(), None).reason == "nothing"

    def test_several_threads_may_ask(self) -> None:
        with DistributedVerifier(LocalCompute(), make=Echo) as spread, ThreadPoolExecutor(4) as threads:
            asked = [[f"{thread} {number}" for number in range(50)] for thread in range(8)]
            answers = threads.map(lambda codes: [v.reason for v in spread.verify_many(jobs_of(*codes))], asked)
            assert list(answers) == asked

    def test_no_sandbox(self) -> None:
        with pytest.raises(SandboxUnavailableError, match="no bubblewrap on node 7"):
            DistributedVerifier(LocalCompute(), make=Nowhere)

    def test_a_fault_is_no_verdict_about_anybody(self) -> None:
        with DistributedVerifier(LocalCompute(), make=Broken) as spread, pytest.raises(KeyError, match="code"):
            spread.verify_many(jobs_of("code"))

    def test_in_this_process_the_verifier_is_the_plain_one(self) -> None:
        with open_verifier(DistributedConfig(), allow_unsandboxed=True) as verifier:
            assert type(verifier) is Verifier
            assert verifier.verify(clamp(), CLAMP).resolved


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
class TestOnRay:
    @pytest.mark.usefixtures("ray_here")
    def test_the_same_verdicts(self, verifier: Verifier) -> None:
        jobs = jobs_of(None, CLAMP, *(candidate.code for candidate in CANDIDATES.values()))
        with open_verifier(DistributedConfig(compute="ray")) as spread:
            assert isinstance(spread, DistributedVerifier)
            assert (spread.workers, spread.grade) == (CPUS, verifier.grade)
            theirs, ours = spread.verify_many(jobs), verifier.verify_many(jobs)
        assert [ended(verdict) for verdict in theirs] == [ended(verdict) for verdict in ours]
        assert [v.sandbox_grade for v in theirs] == [v.sandbox_grade for v in ours]

    def test_a_dead_worker_loses_no_job(self, ray_compute: RayCompute, tmp_path: Path) -> None:
        codes = [f"code {number}" for number in range(100)]
        codes[40] = "sting"
        with DistributedVerifier(ray_compute, at_most=1, make=partial(Fragile, tmp_path / "mark")) as spread:
            verdicts = spread.verify_many(jobs_of(*codes))
            assert [verdict.reason for verdict in verdicts] == codes
            # Two processes were at work, one after the other.
            assert len({verdict.tests_total for verdict in verdicts}) == 2

    def test_a_job_that_kills_every_worker_alone_has_no_verdict(self, ray_compute: RayCompute, tmp_path: Path) -> None:
        codes = [f"code {number}" for number in range(100)]
        codes[40] = "poison"
        with DistributedVerifier(ray_compute, make=partial(Fragile, tmp_path / "mark")) as spread:
            verdicts = spread.verify_many(jobs_of(*codes))
        assert [verdict.reason for verdict in verdicts[:40] + verdicts[41:]] == codes[:40] + codes[41:]
        lost = verdicts[40]
        assert (lost.status, lost.counts, lost.tests_total, lost.sandbox_grade) == ("no_verdict", False, 3, "weak")
        assert lost.reason.startswith("the worker died: ")

    def test_no_sandbox(self, ray_compute: RayCompute) -> None:
        with pytest.raises(SandboxUnavailableError, match="no bubblewrap on node 7"):
            DistributedVerifier(ray_compute, at_most=1, make=Nowhere)
