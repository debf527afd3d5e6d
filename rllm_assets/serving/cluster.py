"""InferenceServices on a Kubernetes API server: read one, apply one, and say plainly why that was not possible."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rllm_assets.serving.inference_service import GROUP, PLURAL, VERSION, Manifest
from rllm_assets.serving.records import ServingError

if TYPE_CHECKING:
    from kubernetes.client import ApiException, CustomObjectsApi

# Whose fields these are, in server-side apply: what others set is left alone, and what others claim is not taken.
FIELD_MANAGER = "rllm-assets"

_RESOURCE = f"{PLURAL}.{GROUP}"
_REQUEST_SECONDS = (5, 30)  # To connect, and to be answered.


class ClusterUnreachableError(ServingError):
    """The API server did not answer, which says nothing about what it was asked."""


def connect() -> "CustomObjectsApi":
    """Return a client for the cluster that this process runs in, or else for the kubeconfig's current context.

    Raises ServingError where there is neither.
    """
    from kubernetes import client, config

    try:
        if "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
            settings = client.Configuration()
            config.load_incluster_config(client_configuration=settings)
        else:
            settings = client.Configuration()
            config.load_kube_config(
                # Read here, because the library reads it only once, when it is imported.
                config_file=os.environ.get("KUBECONFIG", str(Path("~/.kube/config").expanduser())),
                client_configuration=settings,
            )
    except config.ConfigException as error:
        raise ServingError(
            f"no Kubernetes cluster to deploy to: {error}; point KUBECONFIG to one, or set serving.target to local"
        ) from error
    # Not tried again in silence: the first failure names the cluster, and who waits for one to come back asks again.
    cast("Any", settings).retries = False
    return client.CustomObjectsApi(client.ApiClient(settings))


def get_service(api: "CustomObjectsApi", namespace: str, name: str) -> Manifest | None:
    """Return an InferenceService as the cluster has it, or None; raise ServingError where that cannot be known."""
    from kubernetes.client import ApiException

    def read() -> Any:
        return api.get_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, name, _request_timeout=_REQUEST_SECONDS
        )

    try:
        return _call(api, read)
    except ApiException as error:
        if error.status == 404 and _status(error).get("details", {}).get("name") == name:
            return None
        raise _explained(error, "get", namespace, name) from error


def apply_service(api: "CustomObjectsApi", manifest: Manifest) -> Manifest:
    """Create or update an InferenceService and return it as stored; raise ServingError if it is refused."""
    from kubernetes.client import ApiException

    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]

    def patch() -> Any:
        response = api.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            name,
            manifest,
            field_manager=FIELD_MANAGER,
            field_validation="Strict",
            _content_type="application/apply-patch+yaml",
            _request_timeout=_REQUEST_SECONDS,
            # The client parses only what comes with status 200, and a service that is new comes with 201.
            _preload_content=False,
        )
        return json.loads(cast("Any", response).data)

    try:
        return _call(api, patch)
    except ApiException as error:
        raise _explained(error, "patch", namespace, name) from error


def _call(api: "CustomObjectsApi", request: Callable[[], Any]) -> Manifest:
    from urllib3.exceptions import HTTPError

    try:
        return cast("Manifest", request())
    except HTTPError as error:
        host = api.api_client.configuration.host
        raise ClusterUnreachableError(f"the Kubernetes cluster at {host} cannot be reached: {error}") from error


def _explained(error: "ApiException", verb: str, namespace: str, name: str) -> ServingError:
    status = _status(error)
    message = str(status.get("message") or _text(error) or error.reason).strip()
    service = f"InferenceService {namespace}/{name}"
    if message.startswith("admission webhook"):
        return ServingError(f"{service} was refused: {message}")
    # An unknown field is a bad request, but in server-side apply it comes as an internal error.
    code = 400 if "field not declared in schema" in message else error.status or 0
    reasons = {
        0: f"the connection to the Kubernetes cluster failed: {error.reason}",
        400: f"the cluster's KServe does not know what {service} asks for, so it may be too old: {message}",
        401: f"the Kubernetes cluster does not accept these credentials: {message}",
        403: f"no permission to {verb} {_RESOURCE} in namespace {namespace} (deploy/kustomize grants it): {message}",
        404: _missing(status, namespace, message),
        409: f"others manage fields of {service}, which they have to give up: {_conflicts(status, message)}",
        422: f"{service} is not valid: {message}",
    }
    return ServingError(
        reasons.get(code, f"the Kubernetes cluster answered {error.status} to {verb} {service}: {message}")
    )


def _missing(status: dict[str, Any], namespace: str, message: str) -> str:
    if status.get("details", {}).get("kind") == "namespaces":
        return f"namespace {namespace} does not exist (serving.namespace): create it, or apply deploy/kustomize/base"
    return f"the cluster has no {_RESOURCE} {VERSION}: install KServe, or set serving.target to local ({message})"


def _conflicts(status: dict[str, Any], message: str) -> str:
    causes = status.get("details", {}).get("causes", [])
    return "; ".join(f"{cause.get('field', '')}: {cause.get('message', '')}" for cause in causes) or message


def _status(error: "ApiException") -> dict[str, Any]:
    """Return the Status object of a refusal; a path that nothing serves is answered with plain text instead."""
    try:
        content = json.loads(_text(error))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _text(error: "ApiException") -> str:
    body: bytes | str = error.body or ""
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else body
