"""What a bundle holds, and which servables are refused before a server is started."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rllm_assets.serving import Servable, ServingError
from rllm_assets.serving.bundle import check_servable, make_bundle

Make = Callable[..., Servable]


def test_a_bundle_links_the_base_and_copies_the_adapter(servable: Make, tmp_path: Path) -> None:
    made = servable("aaaa1111")
    (made.adapter_dir / "README.md").write_text("not for serving")
    bundle = tmp_path / "bundle"

    make_bundle(made, bundle)

    links = {path.name: path.readlink() for path in bundle.iterdir() if path.is_symlink()}
    base = made.base_model_dir.resolve()
    assert links == {name: base / name for name in ("config.json", "model.safetensors", "tokenizer_config.json")}
    files = {path.name for path in bundle.iterdir() if not path.is_symlink()}
    assert files == {"adapter_config.json", "adapter_model.safetensors", "generation_config.json", "lineage.json"}
    assert (bundle / "adapter_model.safetensors").read_bytes() == (
        made.adapter_dir / "adapter_model.safetensors"
    ).read_bytes()
    assert json.loads((bundle / "lineage.json").read_text()) == made.lineage


def test_a_bundle_samples_by_temperature_alone(servable: Make, tmp_path: Path) -> None:
    made = servable("aaaa1111")
    make_bundle(made, tmp_path / "without")
    sampling = {"do_sample": True, "top_k": 0, "top_p": 1.0}
    assert json.loads((tmp_path / "without" / "generation_config.json").read_text()) == {"eos_token_id": 2, **sampling}

    (made.base_model_dir / "generation_config.json").write_text(
        '{"eos_token_id": [2, 3], "top_k": 50, "do_sample": false}'
    )
    make_bundle(made, tmp_path / "with")
    assert json.loads((tmp_path / "with" / "generation_config.json").read_text()) == {
        "eos_token_id": [2, 3],
        **sampling,
    }
    assert not (tmp_path / "with" / "generation_config.json").is_symlink()


@pytest.mark.parametrize(
    ("file", "whose"),
    [
        ("base/config.json", "base model"),
        ("base/tokenizer_config.json", "base model"),
        ("adapter/adapter_config.json", "adapter"),
        ("adapter/adapter_model.safetensors", "adapter"),
    ],
)
def test_a_missing_file_is_named(servable: Make, file: str, whose: str) -> None:
    made = servable("aaaa1111")
    path = made.base_model_dir.parent / file
    path.unlink()
    with pytest.raises(ServingError, match=f"^the {whose} to be served is not complete: {path} is missing$"):
        check_servable(made)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"peft_type": "IA3"}', r"adapter_config\.json: peft_type is 'IA3', and only LORA is served"),
        ('{"peft_type": "LORA", "r": 16}', r"adapter_config\.json: r is 16, and the checkpoint says 2"),
        ("{", r"adapter_config\.json is not JSON"),
        ("[]", r"adapter_config\.json is not a JSON object"),
    ],
)
def test_an_adapter_config_that_cannot_be_is_refused(servable: Make, content: str, message: str) -> None:
    made = servable("aaaa1111")
    (made.adapter_dir / "adapter_config.json").write_text(content)
    with pytest.raises(ServingError, match=message):
        check_servable(made)


def test_an_adapter_of_a_base_with_other_shapes_is_refused(servable: Make) -> None:
    with pytest.raises(
        ServingError, match=r"belongs to another base than tiny: model\.layers\.0\.mlp\.up_proj is 12×8 there"
    ):
        check_servable(servable("aaaa1111", hidden=16))


def test_an_adapter_of_a_base_with_other_layers_is_refused(servable: Make) -> None:
    made = servable("aaaa1111")
    save_file({"wholly.other.weight": np.zeros((2, 2), np.float32)}, made.base_model_dir / "model.safetensors")
    with pytest.raises(ServingError, match=r"belongs to another base than tiny: it adapts none of its layers"):
        check_servable(made)


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_an_adapter_that_was_cut_short_is_refused(servable: Make, keep: int) -> None:
    made = servable("aaaa1111")
    file = made.adapter_dir / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ServingError, match=r"adapter_model\.safetensors is (no safetensors file|damaged)"):
        check_servable(made)
