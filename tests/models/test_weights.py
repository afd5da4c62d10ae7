from __future__ import annotations

import math
import os
import re
from argparse import Namespace
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.models.conftest import SMALL, SMALL_VIT, trained
from wsi_tower.errors import EncoderError
from wsi_tower.models import build_encoder
from wsi_tower.models.weights import read_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

State = dict[str, Tensor]


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def other(state: State) -> State:
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


def loaded(path: Path, **options: Any) -> State:
    return build_encoder(SMALL, weights=path, **options).model.state_dict()


def assert_same(found: State, truth: State) -> None:
    for name, tensor in found.items():
        assert torch.equal(tensor, truth[name]), name


# Forms of files

FORMS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "lightning": lambda state: {
        "state_dict": prefixed(state, "model."),
        "hyper_parameters": {"lr": 0.1},
        "epoch": 3,
    },
    "distributed": lambda state: {"model": prefixed(state, "module.")},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    # facebookresearch/dino: both networks, each with a head of its own.
    "dino": lambda state: {
        "student": prefixed(other(state), "module.backbone.") | {"module.head.w": torch.ones(2)},
        "teacher": prefixed(state, "backbone.") | {"head.w": torch.ones(2)},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1.0}]},
        "args": Namespace(arch="vit_small", lr=0.1),
    },
    # facebookresearch/moco: query and key encoder beside a queue.
    "moco": lambda state: {
        "state_dict": prefixed(state, "module.encoder_q.")
        | prefixed(other(state), "module.encoder_k.")
        | {"module.queue": torch.ones(2)}
    },
    "older than the counter": lambda state: {
        name: tensor for name, tensor in state.items() if "num_batches" not in name
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_of_the_usual_scripts_are_understood(
    form: str, small: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(FORMS[form](small.state_dict()), path)
    assert_same(loaded(path), small.state_dict())


@pytest.mark.parametrize("name", ["model.safetensors", "misnamed.bin"])
def test_safetensors_are_known_by_their_contents(
    name: str, small: nn.Module, tmp_path: Path
) -> None:
    save_file(small.state_dict(), tmp_path / name)
    assert_same(loaded(tmp_path / name), small.state_dict())


def test_the_old_format_of_pytorch_is_read(small: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save(small.state_dict(), path, _use_new_zipfile_serialization=False)
    assert_same(loaded(path), small.state_dict())


def test_grey_pictures_get_the_sum_of_the_colour_filters(small: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(small.state_dict(), path)
    (first, *_) = small.state_dict()
    found = loaded(path, in_channels=1)
    colours = small.state_dict()[first]
    assert colours.shape[1] == 3
    expected = colours[:, :1] + colours[:, 1:2] + colours[:, 2:]
    torch.testing.assert_close(found[first], expected)


def test_positions_of_another_picture_size_are_resampled(tmp_path: Path) -> None:
    # A release trained at 96 px, taken by a model of 160: 6 × 6 positions become 10 × 10.
    foreign = trained(SMALL_VIT, img_size=96)
    path = tmp_path / "weights.safetensors"
    save_file(foreign.state_dict(), path)
    found = build_encoder(SMALL_VIT, weights=path).model.state_dict()
    assert found["pos_embed"].shape != foreign.state_dict()["pos_embed"].shape
    assert torch.equal(
        found["blocks.0.attn.qkv.weight"], foreign.state_dict()["blocks.0.attn.qkv.weight"]
    )


# Files that do not fit


def test_what_is_missing_and_what_has_another_shape_is_named(
    small: nn.Module, tmp_path: Path
) -> None:
    state = small.state_dict()
    wanted = list(build_encoder(SMALL).model.state_dict())
    weights = [name for name in wanted if name.endswith("weight")]
    gone, misshapen = weights[3:5], weights[6]
    state = {name: tensor for name, tensor in state.items() if name not in gone}
    state[misshapen] = torch.ones(7)
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    words = (
        rf"{re.escape(str(path))} do not fit {SMALL}: {len(wanted) - 3} of {len(wanted)} tensors "
        rf"matched, 2 are missing, the first {gone[0]}, 1 are of another shape, the first "
        rf"{misshapen}: \(7,\), not \(.*\); take a file of this architecture"
    )
    with pytest.raises(EncoderError, match=words):
        loaded(path)


def test_weights_of_another_architecture_are_refused(small: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(small.state_dict(), path)
    with pytest.raises(EncoderError, match=r"do not fit test_vit: \d+ of \d+ tensors matched"):
        build_encoder(SMALL_VIT, weights=path)


def test_a_larger_relative_is_not_taken_for_a_smaller_one(tmp_path: Path) -> None:
    # ResNet-34 has every tensor of ResNet-18 in the same shape, and further blocks.
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("resnet34").state_dict(), path)
    with pytest.raises(EncoderError, match=r"120 of 120 .* no place in it, the first layer1\.2\."):
        build_encoder("resnet18", weights=path)


@pytest.mark.parametrize("architecture", ["convnext_atto", "mobilenetv3_small_050"])
def test_classifiers_are_left_out(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model(architecture).state_dict(), path)
    assert build_encoder(architecture, weights=path).architecture == architecture


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], "text", {"list": [torch.ones(1)]}])
def test_files_without_tensors_are_refused(content: object, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(EncoderError, match=r"weights\.pt hold no tensors"):
        loaded(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no.pt", tmp_path):
        with pytest.raises(EncoderError, match=rf"{re.escape(str(path))} cannot be read \("):
            loaded(path)


# Hostile and damaged files


class Bomb:
    """Runs a command in whoever unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def test_a_file_that_holds_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    content: dict[str, Any] = {}
    content["again"] = content
    torch.save(content, path)
    with pytest.raises(EncoderError, match=r"weights\.pt cannot be read: it is damaged"):
        loaded(path)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_file_that_would_run_code_is_refused(is_zip: bool, tmp_path: Path) -> None:
    path, mark = tmp_path / "bomb.pth", tmp_path / "went off"
    content = {"state_dict": {"conv1.weight": torch.ones(1)}, "extra": Bomb(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(EncoderError, match=r"bomb\.pth cannot be read: it holds more than tensors"):
        loaded(path)
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=64),
    start=st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04", b"\x09" + b"\0" * 7 + b"{"]),
)
@example(content=b"", start=b"")
@example(content=b"{}", start=b"\x02" + b"\0" * 7)
def test_no_bytes_end_in_another_error(content: bytes, start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(start + content)
    with suppress(EncoderError):
        assert read_tensors(path) == {}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_cut_and_flipped_files_are_refused_or_differ_in_values_alone(
    form: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights"
    tensors = {"one": torch.arange(6.0), "two": torch.ones(2, 2)}
    if form == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    damaged = [whole[: len(whole) * part // 17] for part in range(17)]
    for place in range(0, len(whole), max(1, math.ceil(len(whole) / 300))):
        flipped = bytearray(whole)
        flipped[place] ^= 0x55
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        with suppress(EncoderError):
            read_tensors(path)
