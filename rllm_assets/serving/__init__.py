"""The endpoint: one LoRA on its base behind OpenAI's protocol, as a local process or on KServe."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rllm_assets.config.schema import ServingConfig
from rllm_assets.serving.kserve import deploy_kserve
from rllm_assets.serving.local import deploy_local, endpoint_status, stop_endpoint
from rllm_assets.serving.records import ChatMessage, Endpoint, EndpointStatus, Servable, ServingError, curl_command

__all__ = [
    "ChatMessage",
    "Endpoint",
    "EndpointStatus",
    "Servable",
    "ServingError",
    "curl_command",
    "deploy",
    "deploy_kserve",
    "deploy_local",
    "endpoint_status",
    "stop_endpoint",
]


def _local(servable: Servable, config: ServingConfig, root: Path, smoke_messages: Sequence[ChatMessage]) -> Endpoint:
    return deploy_local(servable, root, config.name, config.port, config.timeout_seconds, smoke_messages=smoke_messages)


def _kserve(servable: Servable, config: ServingConfig, _root: Path, _smoke_messages: Sequence[ChatMessage]) -> Endpoint:
    return deploy_kserve(servable, config)


_TARGETS: Mapping[str, Callable[[Servable, ServingConfig, Path, Sequence[ChatMessage]], Endpoint]] = {
    "local": _local,
    "kserve": _kserve,
}


def deploy(servable: Servable, config: ServingConfig, root: Path, smoke_messages: Sequence[ChatMessage]) -> Endpoint:
    """Serve `servable` where `config.target` says, in place of what `config.name` served there.

    `root` holds the state of local endpoints; `smoke_messages` is the chat that a new server has to answer. Raises
    ServingError; what served before then still serves.
    """
    return _TARGETS[config.target](servable, config, root, smoke_messages)
