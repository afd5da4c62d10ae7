from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.models.conformance import pictures
from wsi_tower.errors import EncoderError, SettingsError
from wsi_tower.models import EncoderPlan, build_encoder
from wsi_tower.models.plan import spread


def inputs_of(module: nn.Module) -> list[Tensor]:
    """A list that fills with what the module is given."""
    seen: list[Tensor] = []

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0])

    module.register_forward_pre_hook(note)
    return seen


# Pyramids


def test_a_resnet_has_the_maps_of_a_u_net() -> None:
    encoder = build_encoder("resnet50")
    # Strides and channels of ResNet-50 (He et al. 2016, table 1); the first before max pooling.
    assert encoder.pyramid_strides == (2, 4, 8, 16, 32)
    assert encoder.pyramid_channels == (64, 256, 512, 1024, 2048)
    assert encoder.width == 2048


@torch.no_grad()
def test_one_pass_gives_vector_and_maps() -> None:
    encoder = build_encoder("resnet18").eval()
    seen = inputs_of(encoder.model.get_submodule("conv1"))
    pooled, pyramid = encoder(pictures(3))
    assert len(seen) == 1
    # ResNet pools by the mean of its last map.
    torch.testing.assert_close(pooled, pyramid[-1].mean(dim=(2, 3)))


@torch.no_grad()
def test_the_first_map_of_a_resnet_is_the_stem_s() -> None:
    encoder = build_encoder("resnet18").eval()
    model: nn.Module = encoder.model
    images = pictures(3)
    stem = model.act1(model.bn1(model.conv1((images - encoder.mean) / encoder.std)))  # type: ignore[operator]
    assert torch.equal(encoder(images).pyramid[0], stem)


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("vit_tiny_patch16_224", (192, 3, 16, 16)),
        ("swin_tiny_patch4_window7_224", (96, 3, 4, 4)),
        ("resnet18", None),
        ("convnext_tiny", None),
    ],
)
def test_only_transformers_project_patches(
    architecture: str, shape: tuple[int, ...] | None
) -> None:
    projection = build_encoder(architecture).patch_projection
    weight = None if projection is None else projection.get_parameter("weight")
    assert (None if weight is None else tuple(weight.shape)) == shape


@torch.no_grad()
def test_a_plain_transformer_has_its_last_tokens_as_a_map() -> None:
    encoder = build_encoder("vit_tiny_patch16_224").eval()
    images = pictures(3, (96, 64))
    normalised = (images - encoder.mean) / encoder.std
    tokens: Tensor = encoder.model.forward_features(normalised)  # type: ignore[operator]
    (found,) = encoder(images).pyramid
    assert encoder.pyramid_strides == (16,)
    # Rows of patches, class token first (Dosovitskiy et al. 2021).
    for row in range(6):
        for column in range(4):
            assert torch.equal(found[:, :, row, column], tokens[:, 1 + 4 * row + column])


@torch.no_grad()
def test_colour_and_grey_are_normalised_inside() -> None:
    encoder = build_encoder("resnet18").eval()
    seen = inputs_of(encoder.model.get_submodule("conv1"))
    encoder(torch.full((1, 3, 32, 32), 0.5))
    # ImageNet's mean and standard deviation, as every model zoo has them.
    expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-5)


# Sizes


@pytest.mark.parametrize("size", [(250, 250), (96, 97), (100, 96)])
def test_a_transformer_names_the_sizes_that_it_takes(size: tuple[int, int]) -> None:
    encoder = build_encoder("vit_tiny_patch16_224")
    with pytest.raises(
        EncoderError, match=rf"multiples of 16 px, not {size[1]} × {size[0]}; crop them"
    ):
        encoder(pictures(3, size, 1))


def test_an_architecture_of_one_size_says_so() -> None:
    encoder = build_encoder("convit_tiny")
    with pytest.raises(EncoderError, match=r"convit_tiny takes pictures of 224 × 224 px only"):
        encoder(pictures(3, (96, 96), 1))


# Plans


def test_arguments_that_an_architecture_has_not_are_refused() -> None:
    with pytest.raises(EncoderError, match=r"cannot build resnet18 with 3 .*no_such_thing"):
        build_encoder("resnet18", model_args={"no_such_thing": 1})


def test_arguments_reach_timm() -> None:
    encoder = build_encoder("vit_tiny_patch16_224", model_args={"depth": 2, "reg_tokens": 4})
    assert len(encoder.model.blocks) == 2  # type: ignore[arg-type]
    assert encoder.plan.model_args == {"depth": 2, "reg_tokens": 4, "dynamic_img_size": True}


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.integers(1, 5))
def test_grey_has_the_mean_over_the_colours(values: list[float], channels: int) -> None:
    found = spread(values, channels)
    assert len(found) == channels
    if channels == 3:
        assert list(found) == values
    else:
        assert found[0] == pytest.approx(math.fsum(values) / 3)
        assert set(found) == {found[0]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"in_channels": 0}, "in_channels must be 1"),
        ({"in_channels": 1}, "for each of 1 channels"),
        ({"mean": (0.5,)}, "for each of 3 channels"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be above 0"),
        ({"std": (0.2, float("nan"), 0.2)}, "std must be above 0"),
        ({"input_px": 0}, "input_px must be 1"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes: dict[str, int], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        EncoderPlan("resnet18", **changes)  # type: ignore[arg-type]
