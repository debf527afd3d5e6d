"""How an adapter becomes a logged model and a version in MLflow's registry, without its base weights."""

import json
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from rllm_assets.tracking.operations import LogAdapter, SetAlias
from rllm_assets.tracking.server import Session, TrackingRefusedError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

HASH_TAG = "rllm.checkpoint_hash"
MODEL_TAG = "rllm.model_id"
# The tag by which MLflow's pages lead from a logged model to its registered versions.
_VERSIONS_TAG = "mlflow.modelVersions"
_EXISTS = frozenset({"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"})
_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"})


class RegisteredAdapter(BaseModel):
    """One version of a registered adapter."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    name: str = Field(description="Of the registered model.")
    version: int = Field(description="Counted from 1.")
    model_id: str = Field(description="Of the logged model, which metrics are attached to.")
    checkpoint_hash: str = Field(description="Of the adapter's content.")
    location: str = Field(description="Where MLflow keeps the files.")

    @property
    def uri(self) -> str:
        """MLflow's address of the version."""
        return f"models:/{self.name}/{self.version}"


def log_adapter(session: Session, run_id: str, operation: LogAdapter) -> RegisteredAdapter:
    """Log and register an adapter directory, or find the version that holds the same content already."""
    from mlflow.entities import LoggedModelOutput

    adapter = find_version(session, operation.name, operation.checkpoint_hash)
    if adapter is None:
        model_id = _logged_model(session, run_id, operation)
        adapter = _register(session, run_id, model_id, operation)
    session.client.log_outputs(run_id, [LoggedModelOutput(adapter.model_id, operation.step)])
    if operation.alias is not None:
        move_alias(session, operation.name, operation.alias, adapter.version, operation.time)
    return adapter


def set_alias(session: Session, operation: SetAlias) -> RegisteredAdapter:
    """Move an alias to the version that holds some content.

    Raises:
        TrackingRefusedError: where no version does.
    """
    adapter = find_version(session, operation.name, operation.checkpoint_hash)
    if adapter is None:
        raise TrackingRefusedError(
            f"no version of the registered model {operation.name!r} has the checkpoint hash "
            f"{operation.checkpoint_hash}; register the adapter first"
        )
    move_alias(session, operation.name, operation.alias, adapter.version, operation.time)
    return adapter


def find_version(session: Session, name: str, checkpoint_hash: str) -> RegisteredAdapter | None:
    """Return the first version of a registered model that holds some content."""
    found = session.client.search_model_versions(f"name = '{name}' and tag.`{HASH_TAG}` = '{checkpoint_hash}'")
    versions = sorted(
        (version for version in found if version.status == "READY"), key=lambda version: int(version.version)
    )
    return as_adapter(versions[0]) if versions else None


def version_at(session: Session, name: str, alias: str) -> RegisteredAdapter | None:
    """Return the version that an alias points to."""
    from mlflow.exceptions import MlflowException

    try:
        return as_adapter(session.client.get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise


def as_adapter(version: "ModelVersion") -> RegisteredAdapter:
    """Return our record of a version that `log_adapter` made.

    Raises:
        TrackingRefusedError: for a version that something else made.
    """
    tags = version.tags or {}
    if HASH_TAG not in tags or MODEL_TAG not in tags:
        raise TrackingRefusedError(
            f"version {version.version} of {version.name!r} is no adapter that was registered here"
        )
    return RegisteredAdapter(
        name=version.name,
        version=int(version.version),
        model_id=tags[MODEL_TAG],
        checkpoint_hash=tags[HASH_TAG],
        location=version.source or "",
    )


def move_alias(session: Session, name: str, alias: str, version: int, time: int) -> None:
    """Point an alias to a version, unless something asked for later has moved it already.

    What waited in a spool may be applied after what was asked for since.
    """
    tag = f"rllm.alias.{alias}"
    moved = (session.client.get_registered_model(name).tags or {}).get(tag, "0")
    if int(moved) > time:
        return
    session.client.set_registered_model_alias(name, alias, str(version))
    session.client.set_registered_model_tag(name, tag, str(time))


def _logged_model(session: Session, run_id: str, operation: LogAdapter) -> str:
    client = session.client
    known = client.search_logged_models([session.experiment_id], f"tags.`{HASH_TAG}` = '{operation.checkpoint_hash}'")
    ready = [model for model in known if str(model.status) == "READY"]
    if ready:
        return ready[0].model_id
    # One that a killed process left PENDING is filled and finished now.
    pending = [model for model in known if str(model.status) == "PENDING"]
    model = (
        pending[0]
        if pending
        else client.create_logged_model(
            session.experiment_id,
            # MLflow refuses some letters in the names of logged models which it allows in those of registered ones.
            name="".join(letter if letter not in "/:.%\"'" else "_" for letter in operation.name),
            source_run_id=run_id,
            tags={**operation.tags, HASH_TAG: operation.checkpoint_hash},
            params=operation.params,
            model_type="lora-adapter",
        )
    )
    client.log_model_artifacts(model.model_id, str(operation.directory))
    client.finalize_logged_model(model.model_id, "READY")
    return model.model_id


def _register(session: Session, run_id: str, model_id: str, operation: LogAdapter) -> RegisteredAdapter:
    from mlflow.exceptions import MlflowException

    client = session.client
    try:
        client.create_registered_model(operation.name)
    except MlflowException as error:
        if error.error_code not in _EXISTS:
            raise
    # The source is the files' own place: MLflow would look up models:/ID at the process's global tracking URI, which
    # may be another one; it would do so for the run, too, were it not named.
    version = client.create_model_version(
        operation.name,
        source=client.get_logged_model(model_id).artifact_location,
        run_id=run_id,
        tags={**operation.tags, HASH_TAG: operation.checkpoint_hash, MODEL_TAG: model_id},
        model_id=model_id,
    )
    listed = json.loads(client.get_logged_model(model_id).tags.get(_VERSIONS_TAG, "[]"))
    entry = {"name": operation.name, "version": int(version.version)}
    if all(int(item["version"]) != entry["version"] or item["name"] != entry["name"] for item in listed):
        client.set_logged_model_tags(model_id, {_VERSIONS_TAG: json.dumps([*listed, entry])})
    return as_adapter(version)
