"""Apply a candidate, judge it, validate issues."""

from rllm_assets.verification.verifier import Verifier

__all__ = ["Verifier"]
