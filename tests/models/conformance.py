"""What every `Encoder` must do; subclasses name the architectures."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

import pytest
import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from wsi_tower.errors import EncoderError
from wsi_tower.models import Encoder, TimmEncoder, build_encoder


@dataclass(frozen=True)
class Case:
    architecture: str
    in_channels: int = 3
    sizes: tuple[tuple[int, int], ...] = ((64, 64), (97, 70))

    def __str__(self) -> str:
        return f"{self.architecture}-{self.in_channels}"


def pictures(channels: int, size: tuple[int, int] = (64, 64), count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, channels, *size, generator=generator)


def data_config(model: nn.Module) -> dict[str, Any]:
    """What timm's own loaders would do to pictures for this model."""
    config: dict[str, Any] = resolve_data_config(model=model)  # type: ignore[no-untyped-call]
    return config


class EncoderConformance:
    """Runs on the fixtures ``case`` and ``encoder``: of random weights, in eval mode."""

    @pytest.fixture
    def encoder(self, case: Case) -> TimmEncoder:
        return self.built(case)

    @staticmethod
    @cache
    def built(case: Case) -> TimmEncoder:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return build_encoder(case.architecture, in_channels=case.in_channels).eval()

    def test_says_what_it_is(self, encoder: Encoder, case: Case) -> None:
        assert isinstance(encoder, Encoder)
        assert encoder.architecture == case.architecture
        assert encoder.in_channels == case.in_channels
        assert len(encoder.pyramid_channels) == len(encoder.pyramid_strides) > 0
        assert list(encoder.pyramid_strides) == sorted(set(encoder.pyramid_strides))

    @torch.no_grad()
    def test_gives_the_shapes_that_it_names(self, encoder: Encoder, case: Case) -> None:
        for size in case.sizes:
            pooled, pyramid = encoder(pictures(case.in_channels, size))
            assert pooled.shape == (3, encoder.width)
            assert pooled.isfinite().all()
            assert tuple(features.shape[1] for features in pyramid) == encoder.pyramid_channels
            for features, stride in zip(pyramid, encoder.pyramid_strides, strict=True):
                for side, found in zip(size, features.shape[-2:], strict=True):
                    # What is left over gets a pixel of its own, or none (ConvNeXt).
                    assert found in (side // stride, math.ceil(side / stride))
            assert all(features.isfinite().all() for features in pyramid)

    @torch.no_grad()
    def test_pools_as_timm_does(self, encoder: TimmEncoder, case: Case) -> None:
        # timm's own way: normalise by its data config, build without classifier, call.
        plan = encoder.plan
        model = timm.create_model(
            case.architecture, num_classes=0, in_chans=case.in_channels, **plan.model_args
        ).eval()
        model.load_state_dict(encoder.model.state_dict())
        config = data_config(model)
        mean, std = (torch.tensor(config[name]) for name in ("mean", "std"))
        if case.in_channels == 1:
            mean, std = mean.mean(), std.mean()
        images = pictures(case.in_channels)
        expected = model((images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1))
        torch.testing.assert_close(encoder(images).pooled, expected, atol=1e-5, rtol=1e-5)

    def test_normalises_as_its_data_config_says(self, encoder: TimmEncoder, case: Case) -> None:
        config = data_config(timm.create_model(case.architecture))
        for name in ("mean", "std"):
            values = config[name] if case.in_channels == 3 else (fmean(config[name]),)
            assert encoder.get_buffer(name).flatten().tolist() == pytest.approx(values)

    def test_gradients_reach_every_weight(self, encoder: Encoder, case: Case) -> None:
        trained = copy.deepcopy(encoder).train()
        pooled, pyramid = trained(pictures(case.in_channels))
        loss = pooled.square().mean() + torch.stack([one.square().mean() for one in pyramid]).sum()
        loss.backward()
        for name, weight in trained.named_parameters():
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name

    @torch.no_grad()
    def test_evaluation_is_the_same_each_time(self, encoder: Encoder, case: Case) -> None:
        images = pictures(case.in_channels)
        one, other = encoder(images), encoder(images)
        assert torch.equal(one.pooled, other.pooled)
        assert all(map(torch.equal, one.pyramid, other.pyramid))

    @torch.no_grad()
    def test_pictures_of_a_batch_do_not_meet(self, encoder: Encoder, case: Case) -> None:
        images = pictures(case.in_channels)
        together = encoder(images).pooled
        order = [2, 0, 1]
        torch.testing.assert_close(encoder(images[order]).pooled, together[order])
        torch.testing.assert_close(encoder(images[1:2]).pooled, together[1:2])

    @torch.no_grad()
    def test_its_state_makes_it_again(self, encoder: TimmEncoder, case: Case) -> None:
        other = TimmEncoder(encoder.plan).eval()
        images = pictures(case.in_channels)
        assert not torch.equal(other(images).pooled, encoder(images).pooled)
        other.load_state_dict(encoder.state_dict())
        assert torch.equal(other(images).pooled, encoder(images).pooled)

    def test_leaves_pictures_as_they_were(self, encoder: Encoder, case: Case) -> None:
        images = pictures(case.in_channels)
        before = images.clone()
        encoder(images)
        assert torch.equal(images, before)

    def test_refuses_other_channels(self, encoder: Encoder, case: Case) -> None:
        other = 4 - case.in_channels
        with pytest.raises(EncoderError, match=f"{case.architecture} .*in_channels={other}"):
            encoder(pictures(other))
