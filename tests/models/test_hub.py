"""Against a small server that answers as the Hugging Face Hub does."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import huggingface_hub
import pytest
import torch
from timm.models import save_for_hf
from torch import nn

from tests.models.conformance import pictures
from tests.models.conftest import SMALL, SMALL_VIT, trained
from wsi_tower.errors import EncoderError
from wsi_tower.models import build_encoder, load_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Files of one folder as ``owner/name``; other repositories are gated or not there."""

    folder: ClassVar[Path]
    asked: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        self.answer(is_head=True)

    def do_GET(self) -> None:
        self.answer(is_head=False)

    def answer(self, *, is_head: bool) -> None:
        self.asked.append(self.path)
        owner, _, rest = self.path.strip("/").partition("/")
        if owner == "gated":
            return self.refuse(403, "GatedRepo")
        if owner != "owner" or "/resolve/" not in self.path:
            return self.refuse(401, "RepoNotFound")
        if "/resolve/main/" not in self.path:
            return self.refuse(404, "RevisionNotFound")
        file = self.folder / rest.rpartition("/")[2]
        if not file.is_file():
            return self.refuse(404, "EntryNotFound")
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not is_head:
            self.wfile.write(content)
        return None

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """The server, in place of the hub, with an empty cache."""
    Hub.folder, Hub.asked = tmp_path / "repository", []
    Hub.folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    try:
        yield Hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def publish(model: nn.Module, folder: Path, *, is_safe: bool = True) -> None:
    """Write what timm uploads: config.json and weights."""
    save_for_hf(model, str(folder), safe_serialization=is_safe)


def assert_is(model: nn.Module, name: str, **options: object) -> None:
    """The encoder of that name pools as the model does, normalised by the model's own config."""
    loaded = load_encoder(name, **options)  # type: ignore[arg-type]
    encoder = loaded.network.encoder
    size = loaded.record.shape.plan.input_px
    mean, std = (
        torch.tensor(model.pretrained_cfg[one]).view(-1, 1, 1)  # type: ignore[index]
        for one in ("mean", "std")
    )
    images = pictures(3, (size, size), 2)
    with torch.no_grad():
        features = model.forward_features((images - mean) / std)  # type: ignore[operator]
        expected = model.forward_head(features, pre_logits=True)  # type: ignore[operator]
        torch.testing.assert_close(encoder(images).pooled, expected, atol=1e-5, rtol=1e-5)
    assert loaded.record.origin.encoder_id == name


# From the network


@pytest.mark.parametrize("is_safe", [True, False])
def test_a_repository_is_fetched_once(hub: type[Hub], is_safe: bool) -> None:
    model = trained(SMALL)
    publish(model, hub.folder, is_safe=is_safe)
    assert_is(model, "hf-hub:owner/name")
    hub.asked.clear()
    assert_is(model, "hf-hub:owner/name@main")
    assert hub.asked == []


def test_what_was_fetched_is_there_without_network(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(SMALL)
    publish(model, hub.folder)
    assert_is(model, "hf-hub:owner/name")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert_is(model, "hf-hub:owner/name")


def test_offline_mode_asks_nobody(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"its cache has no copy; fetch config\.json and"):
        load_encoder("hf-hub:owner/name")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gated/name", r"gated/name cannot be fetched: it is gated\. Ask for access .*log in .*Or"),
        ("nobody/name", r"does not exist or is private\. Check the name, or log in"),
        ("owner/name@v9", r"it has no such revision"),
        ("owner/name", r"config\.json of repository owner/name .*it has no such file"),
    ],
)
def test_what_the_hub_refuses_is_told_with_the_way_by_hand(
    hub: type[Hub], name: str, words: str
) -> None:
    start = time.monotonic()
    with pytest.raises(EncoderError, match=rf"{words}.*--weights FILE"):
        load_encoder(f"hf-hub:{name}")
    assert time.monotonic() - start < 5


def test_a_repository_without_weights_is_told(hub: type[Hub]) -> None:
    publish(trained(SMALL), hub.folder)
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(
        EncoderError, match=r"model\.safetensors or pytorch_model\.bin of .*it has no such file"
    ):
        load_encoder("hf-hub:owner/name")
    assert build_encoder("hf-hub:owner/name").architecture == SMALL  # random weights need none


# From folders


def test_a_folder_in_the_hub_s_form_is_read(tmp_path: Path) -> None:
    model = trained(SMALL)
    model.pretrained_cfg |= {"mean": (0.7, 0.5, 0.6), "std": (0.1, 0.2, 0.3)}  # type: ignore[operator]
    publish(model, tmp_path)
    assert_is(model, f"local-dir:{tmp_path}")


def test_a_folder_says_size_pooling_and_arguments(tmp_path: Path) -> None:
    # A pathology transformer as they are published: other size, registers, mean pooling.
    model = trained(SMALL_VIT, img_size=96, reg_tokens=2, global_pool="avg", num_classes=0)
    publish(model, tmp_path)
    assert_is(model, f"local-dir:{tmp_path}")
    encoder = build_encoder(f"local-dir:{tmp_path}", pretrained=True)
    assert encoder.plan.input_px == 96
    assert encoder(pictures(3, (64, 64), 1)).pooled.shape == (1, encoder.width)


def test_weights_by_hand_stand_in_for_the_network(tmp_path: Path) -> None:
    model = trained(SMALL)
    publish(model, tmp_path)
    assert_is(model, "hf-hub:owner/name", weights=tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"config\.json cannot be read \(No such file"),
        ("{", r"config\.json names no architecture of timm"),
        ("[]", r"config\.json names no architecture of timm"),
        # A repository of another library, as many pathology encoders are.
        (json.dumps({"model_type": "vit"}), r"config\.json names no architecture of timm"),
        (json.dumps({"architecture": "resnet18"}), r"has neither model\.safetensors nor"),
        (json.dumps({"architecture": "resnet1818"}), r"unknown encoder 'resnet1818'; did you mean"),
    ],
)
def test_folders_that_cannot_be_read_are_told(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(EncoderError, match=words):
        load_encoder(f"local-dir:{tmp_path}")
