"""A job of two steps under dagster-mlflow; a program of its own, for it leaves MLflow's global state changed."""

import os
import time
from pathlib import Path

import dagster as dg

from rllm_assets.resources.tracking import MLflow, end_job_mlflow, job_mlflow


@dg.op
def first() -> None:
    with MLflow().tracking().run("first"):
        pass


@dg.op(ins={"before": dg.In(dg.Nothing)})
def second() -> None:
    with MLflow().tracking().run("second"):
        Path("inside").touch()
        while "WAIT" in os.environ:
            time.sleep(0.1)
        if "FAIL" in os.environ:
            raise RuntimeError("as asked for")


@dg.job(name="two_steps", hooks={end_job_mlflow}, resource_defs={"mlflow": job_mlflow})
def two_steps() -> None:
    second(before=first())


def run(executor: str) -> bool:
    """Run the job under an executor."""
    execution = {"config": {executor: {}}}
    with dg.instance_for_test() as instance:
        # Entering the result would open the job's resources again.
        return dg.execute_job(
            dg.reconstructable(two_steps), instance, run_config={"execution": execution}, raise_on_error=False
        ).success
