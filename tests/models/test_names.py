from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.errors import EncoderError, SettingsError
from wsi_tower.models import build_encoder, checked_encoder_name, load_encoder, slug

# Folders


@pytest.mark.parametrize(
    ("encoder_id", "name"),
    [
        ("hf-hub:a/b", "hf-hub-a-b"),
        ("vit_small_patch16_224.dino", "vit_small_patch16_224.dino"),
        ("hf-hub:Owner/Name@v1.0", "hf-hub-Owner-Name-v1.0"),
        ("my run, second try", "my-run-second-try"),
        ("../../etc/passwd", "etc-passwd"),
        ("Ä b", "b"),
    ],
)
def test_ids_become_names_of_folders(encoder_id: str, name: str) -> None:
    assert slug(encoder_id) == name


@given(st.text(max_size=40))
def test_a_slug_is_a_plain_name_of_itself(text: str) -> None:
    if not any(letter.isascii() and (letter.isalnum() or letter == "_") for letter in text):
        with pytest.raises(SettingsError, match="no letter or digit"):
            slug(text)
        return
    name = slug(text)
    assert slug(name) == name
    assert name.isascii()
    assert name[0] not in ".-"
    assert not set(name) & set("/\\: \0")


def test_names_of_one_s_own_are_plain_and_free() -> None:
    assert checked_encoder_name("tower-r18_v2") == "tower-r18_v2"
    with pytest.raises(SettingsError, match=r"'a b' has other signs .*take 'a-b'"):
        checked_encoder_name("a b")
    for name in ("imagenet", "resnet18", "resnet18.tv_in1k"):
        with pytest.raises(SettingsError, match=f"'{name}' means an encoder of timm already"):
            checked_encoder_name(name)


# What was meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resnet5o", "resnet50"),
        ("imagnet", "imagenet"),
        ("vit_small_patch16_224_dino", r"vit_small_patch16_224\.dino"),
        ("convnext-tiny", "convnext_tiny"),
    ],
)
def test_unknown_names_get_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(
        EncoderError, match=rf"unknown encoder '{name}'; did you mean .*{meant}"
    ) as it:
        build_encoder(name)
    assert len(str(it.value)) < 400


def test_names_like_nothing_get_no_list() -> None:
    with pytest.raises(EncoderError, match="nothing that is known looks like it") as caught:
        build_encoder("§§§")
    assert len(str(caught.value)) < 400


def test_unknown_weights_of_a_known_architecture_are_told() -> None:
    with pytest.raises(EncoderError, match=r"no weights 'tv_in1' of resnet18; .*resnet18\.tv_in1k"):
        build_encoder("resnet18.tv_in1")


def test_a_repository_without_prefix_is_told_both_ways() -> None:
    with pytest.raises(EncoderError, match=r"say hf-hub:owner/name, .*local-dir:owner/name"):
        load_encoder("owner/name")


@pytest.mark.parametrize("name", ["a b/c", "a/b/c", "", "-a/b"])
def test_names_that_no_repository_has_are_refused(name: str) -> None:
    with pytest.raises(EncoderError, match=r"is no repository of the Hugging Face Hub"):
        load_encoder(f"hf-hub:{name}")


def test_imagenet_is_the_baseline_of_the_papers() -> None:
    encoder = build_encoder("imagenet")
    # torchvision's ResNet-50: 2048 features, 224 px, its published mean.
    assert (encoder.architecture, encoder.width) == ("resnet50.tv_in1k", 2048)
    assert encoder.plan.input_px == 224
    assert encoder.plan.mean == (0.485, 0.456, 0.406)


# Without network


def test_a_machine_without_network_is_told_at_once_what_to_fetch() -> None:
    # A process of its own, since the hub's address and cache are read when its client is imported.
    code = (
        "import sys\nfrom wsi_tower.errors import EncoderError\n"
        "from wsi_tower.models import load_encoder\n"
        "import time\nstart = time.monotonic()\n"
        "for name in ('imagenet', 'vit_small_patch16_224.dino', 'hf-hub:owner/name'):\n"
        "    try:\n        load_encoder(name)\n"
        "    except EncoderError as error:\n        print(error)\n"
        "print(time.monotonic() - start)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": "/nonexistent", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    imagenet, dino, hub, seconds = result.stdout.splitlines()
    assert "model.safetensors or pytorch_model.bin of repository timm/resnet50.tv_in1k" in imagenet
    assert "timm/vit_small_patch16_224.dino" in dino
    for message in (imagenet, dino):
        assert "fetch model.safetensors there by hand and give it with --weights FILE" in message
    assert "config.json of repository owner/name" in hub
    assert "fetch config.json and model.safetensors" in hub
    assert float(seconds) < 5


def test_weights_that_lie_elsewhere_are_told() -> None:
    start = time.monotonic()
    with pytest.raises(EncoderError, match=r"they lie at https://\S+/legacy_senet154\S+; fetch"):
        load_encoder("legacy_senet154")
    with pytest.raises(
        EncoderError, match=r"no weights of vit_base_patch32_plus_256 on .*--weights"
    ):
        load_encoder("vit_base_patch32_plus_256")
    assert time.monotonic() - start < 5
