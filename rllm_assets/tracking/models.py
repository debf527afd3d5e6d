"""Adapters in MLflow: logged without their base weights, registered once for the same content, fetched back."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllm_assets.data.files import atomic_directory
from rllm_assets.data.hashing import directory_hash
from rllm_assets.tracking.adapters import RegisteredAdapter, as_adapter, find_version, version_at
from rllm_assets.tracking.lineage import LINEAGE_FILE
from rllm_assets.tracking.names import parameters
from rllm_assets.tracking.operations import LogAdapter, SetAlias
from rllm_assets.tracking.runs import Run, Tracking
from rllm_assets.tracking.server import Session

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_BASE_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "pytorch_model*.bin", "*.gguf", "*.h5", "*.msgpack")
_FILES_TAG = "rllm.files_hash"
_REFUSED_LETTERS = frozenset("/:%\"'\\`")


def adapter_hash(directory: Path) -> str:
    """Return the hash of an adapter's files, less its lineage, which tells when and where rather than what."""
    return directory_hash(directory, exclude=frozenset({LINEAGE_FILE}))


def register_adapter(
    run: Run,
    directory: Path,
    name: str,
    *,
    checkpoint_hash: str | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    alias: str | None = "challenger",
    step: int = 0,
) -> RegisteredAdapter | None:
    """Log an adapter directory as a model of `run`, register it as a version of `name`, and point `alias` to it.

    The same `checkpoint_hash` (default: `adapter_hash`) is registered once; asked for again, its version is returned.
    None is returned while MLflow is away: the adapter is kept, and registered when MLflow answers again.

    Raises:
        ValueError: for a directory that is no adapter or holds base weights, and for a name that MLflow refuses.
    """
    _check_adapter(directory)
    _check_name(name)
    files = adapter_hash(directory)
    return run.perform(
        LogAdapter(
            directory=directory.absolute(),
            name=name,
            checkpoint_hash=checkpoint_hash or files,
            params=parameters(params or {}),
            tags={**(tags or {}), _FILES_TAG: files},
            alias=alias,
            step=step,
        )
    )


def promote_adapter(run: Run, name: str, checkpoint_hash: str, alias: str = "champion") -> RegisteredAdapter | None:
    """Point `alias` to the version of `name` that holds `checkpoint_hash`; None where none does or MLflow is away."""
    _check_name(name)
    return run.perform(SetAlias(name=name, alias=alias, checkpoint_hash=checkpoint_hash))


def find_adapter(
    tracking: Tracking, name: str, *, checkpoint_hash: str | None = None, alias: str | None = None
) -> RegisteredAdapter | None:
    """Return the registered version with some content, or the one at an alias; None where there is none.

    Raises:
        TrackingUnavailableError: where MLflow does not answer.
    """
    _check_name(name)

    def find(session: Session) -> RegisteredAdapter | None:
        if checkpoint_hash is not None:
            return find_version(session, name, checkpoint_hash)
        return version_at(session, name, alias or "champion")

    return tracking.server.call(find)


def download_adapter(tracking: Tracking, reference: str, directory: Path) -> RegisteredAdapter:
    """Fetch a registered adapter, ``name@alias`` or ``name/version``, into `directory`, which is replaced as a whole.

    Raises:
        ValueError: for another form of reference, for one that leads nowhere, and for files that have changed.
        TrackingUnavailableError: where MLflow does not answer.
    """

    def fetch(session: Session) -> RegisteredAdapter:
        import mlflow.artifacts

        adapter, files_hash = _resolve(session, reference)
        with atomic_directory(directory) as temporary:
            with_folder = temporary / "download"
            # Without a target MLflow returns the store's own files, where a change would change the store.
            found = Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=adapter.location,
                    dst_path=str(with_folder),
                    tracking_uri=tracking.uri,
                    registry_uri=tracking.uri,
                )
            )
            for item in list(found.iterdir()):
                item.rename(temporary / item.name)
            shutil.rmtree(with_folder)
            if adapter_hash(temporary) != files_hash:
                raise ValueError(
                    f"{reference} in MLflow at {adapter.location} is not what was registered: its files have changed"
                )
        return adapter

    return tracking.server.call(fetch)


def _resolve(session: Session, reference: str) -> tuple[RegisteredAdapter, str]:
    name, _, alias = reference.partition("@")
    name, _, version = name.partition("/")
    _check_name(name)
    if bool(alias) == bool(version):
        raise ValueError(f"{reference!r} is no registered adapter; write NAME@ALIAS or NAME/VERSION")
    client = session.client
    found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
    return as_adapter(found), found.tags.get(_FILES_TAG, "")


def _check_adapter(directory: Path) -> None:
    missing = [name for name in _ADAPTER_FILES if not (directory / name).is_file()]
    if missing:
        raise ValueError(f"{directory} is no adapter directory: {' and '.join(missing)} missing")
    base = sorted({path.name for pattern in _BASE_WEIGHTS for path in directory.rglob(pattern)})
    if base:
        raise ValueError(f"{directory} holds base weights ({', '.join(base)}); register the adapter's own directory")


def _check_name(name: str) -> None:
    if not name.strip() or _REFUSED_LETTERS & set(name):
        raise ValueError(f"{name!r} is no name for a registered model; use letters, digits, and - _ .")
