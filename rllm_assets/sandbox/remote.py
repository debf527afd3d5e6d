"""A sandbox that runs elsewhere, such as in a pod of its own under gVisor: the same jobs and outcomes over HTTP."""

import httpx

from rllm_assets.sandbox.jobs import Grade, Job, Outcome, SandboxError, SandboxUnavailableError
from rllm_assets.sandbox.wire import Offer, pack_job, unpack_outcome

# A job may have to wait for those of other verifiers.
_QUEUE_SECONDS = 600.0
_CONNECT_SECONDS = 10.0
_ATTEMPTS = 3


class RemoteSandbox:
    """A `Sandbox` behind an address; `close` it, or use it as a context manager."""

    def __init__(self, url: str, programs: str, allow_unsandboxed: bool = False) -> None:
        """Ask the service what it is.

        Args:
            url: of a service of `rllm_assets.verification.serve`.
            programs: the name of the programs that it shall run.
            allow_unsandboxed: take a weak one, or none.

        Raises:
            SandboxUnavailableError: where it does not answer, or is less than strong and `allow_unsandboxed` is not set.
        """
        self._url = f"{url.rstrip('/')}/{programs}"
        timeout = httpx.Timeout(_QUEUE_SECONDS, connect=_CONNECT_SECONDS)
        self._client = httpx.Client(timeout=timeout, transport=httpx.HTTPTransport(retries=_ATTEMPTS - 1))
        try:
            answer = self._client.get(self._url)
            answer.raise_for_status()
            offer = Offer(**answer.json())
        except (httpx.HTTPError, ValueError, TypeError) as error:
            self._client.close()
            raise SandboxUnavailableError(f"the sandbox service {url} does not answer: {error}") from None
        self.grade: Grade = offer.grade
        self.workers = offer.workers
        if self.grade not in ("strong", "gvisor") and not allow_unsandboxed:
            self._client.close()
            raise SandboxUnavailableError(
                f"the sandbox service {url} is of grade {self.grade}; untrusted code needs a strong one or gVisor, or "
                "set allow_unsandboxed=True to run candidates with what there is, at your own risk"
            )

    def __enter__(self) -> "RemoteSandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: Job) -> Outcome:
        """Run one job there, once more where the service went away under it.

        Raises:
            SandboxError: where that fails too, or the service says that its sandbox failed.
        """
        said = ""
        for _ in range(_ATTEMPTS):
            try:
                answer = self._client.post(self._url, content=pack_job(job))
            except httpx.HTTPError as error:
                said = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code == httpx.codes.OK:
                return unpack_outcome(answer.content)
            raise SandboxError(f"the sandbox service says: {answer.text[:300]}")
        raise SandboxError(f"the sandbox service does not answer: {said}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
