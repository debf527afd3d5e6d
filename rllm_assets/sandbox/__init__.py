"""Run an untrusted job and say how it ended."""

from rllm_assets.sandbox.grades import open_sandbox
from rllm_assets.sandbox.jobs import (
    Grade,
    Job,
    Limits,
    Outcome,
    Program,
    Sandbox,
    SandboxError,
    SandboxUnavailableError,
)

__all__ = [
    "Grade",
    "Job",
    "Limits",
    "Outcome",
    "Program",
    "Sandbox",
    "SandboxError",
    "SandboxUnavailableError",
    "open_sandbox",
]
