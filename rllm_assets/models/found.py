"""Finding a base model, with a hash that names its weights; imports no torch, so that sensors may ask."""

from dataclasses import dataclass
from pathlib import Path

from rllm_assets.data.hashing import combined_hash, unchanged_file_hash
from rllm_assets.models import embedded
from rllm_assets.models.embedded import ModelError


@dataclass(frozen=True)
class BaseModel:
    """A model directory and the hash of what matters in it."""

    name: str
    directory: Path
    content_hash: str


def find_model(name: str) -> BaseModel:
    """Return the base model called `name`: the embedded one, a local directory, or a Hugging Face id.

    Raises:
        ModelError: where there is none, saying what was tried.
    """
    if name == embedded.NAME:
        directory = embedded.embedded_model()
    elif Path(name).expanduser().is_dir():
        directory = Path(name).expanduser().resolve()
    elif name.startswith(("/", "./", "../", "~")):
        raise ModelError(f"model.name {name!r}: there is no such directory")
    else:
        directory = _from_hub(name)
    return BaseModel(name, directory, _model_hash(directory))


def is_here(name: str) -> bool:
    """Tell whether `find_model` would find a base model without downloading or converting anything."""
    if name == embedded.NAME:
        return embedded.is_converted()
    if Path(name).expanduser().is_dir():
        return True
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(name, allow_patterns=_PATTERNS, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return False
    return True


_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_PATTERNS))
    # huggingface_hub raises OSErrors, ValueErrors and HTTP errors of its own for the same thing: it is not to be had.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"model.name {name!r} is not the embedded model ({embedded.NAME}), not a local directory, "
            f"and the Hugging Face hub does not give it: {reason}"
        ) from None


def _model_hash(directory: Path) -> str:
    files = sorted(p for p in directory.iterdir() if p.suffix in (".safetensors", ".json", ".jinja", ".model", ".txt"))
    if not any(p.suffix == ".safetensors" for p in files):
        raise ModelError(f"{directory} holds no *.safetensors: not a model in Hugging Face form")
    # A sensor asks every half minute, and weights are large.
    return combined_hash(f"{p.name} {unchanged_file_hash(p)}" for p in files)
