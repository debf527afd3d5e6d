"""Jobs and outcomes as bytes: a length, a JSON header of that length, and what is not text behind it."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from rllm_assets.sandbox.jobs import Grade, Job, Limits, Outcome

# A tree of files and its results are far smaller; whatever claims to be longer is a mistake.
MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class Offer:
    """What a service says of itself."""

    grade: Grade
    workers: int


def pack_job(job: Job) -> bytes:
    """Return a job as bytes."""
    header = {"program": job.program, "timeout_seconds": job.timeout_seconds, "limits": asdict(job.limits)}
    return _packed(header, job.payload)


def unpack_job(data: bytes) -> Job:
    """Return the job that `pack_job` made bytes of.

    Raises:
        ValueError: where they are not that.
    """
    header, payload = _unpacked(data)
    try:
        return Job(str(header["program"]), payload, float(header["timeout_seconds"]), Limits(**header["limits"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a job: {error}") from None


def pack_outcome(outcome: Outcome) -> bytes:
    """Return an outcome as bytes."""
    header = {
        "ended": outcome.ended,
        "code": outcome.code,
        "seconds": outcome.seconds,
        "result": len(outcome.result),
    }
    return _packed(header, outcome.result + outcome.output)


def unpack_outcome(data: bytes) -> Outcome:
    """Return the outcome that `pack_outcome` made bytes of.

    Raises:
        ValueError: where they are not that.
    """
    header, rest = _unpacked(data)
    try:
        size = int(header["result"])
        return Outcome(header["ended"], int(header["code"]), rest[:size], rest[size:], float(header["seconds"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an outcome: {error}") from None


def _packed(header: dict[str, Any], rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, "big") + text + rest


def _unpacked(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(data[:4], "big")
    header = json.loads(data[4 : 4 + size].decode())
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    return header, data[4 + size :]
