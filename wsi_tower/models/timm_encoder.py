"""`TimmEncoder`: any backbone of timm behind the `Encoder` port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm
import torch

from wsi_tower.errors import EncoderError
from wsi_tower.models.encoder import Encoder
from wsi_tower.models.features import Features

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wsi_tower.models.plan import EncoderPlan

__all__ = ["TimmEncoder"]


class TimmEncoder(Encoder):
    """A backbone of timm, without classifier.

    ``pooled`` is what timm's own head makes of the last features before its classifier, so that
    mean, class token or attention pooling follow the model. ``pyramid`` holds feature maps that
    the same pass computed anyway: the deepest map of each stride, from the stem before its pooling
    where the network has strides of 2 (as U-Nets want it).

    A plain vision transformer has one map, its last, normalised. ViTDet (Li et al. 2022,
    doi 10.1007/978-3-031-20077-9_17) found that all scales may be made from that map; here the
    decoder does so, with weights of its own, and whoever takes ``pooled`` alone pays nothing.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, plan: EncoderPlan) -> None:
        """Random weights. ``plan`` names the architecture.

        Raises:
            EncoderError: timm cannot build it so.
        """
        super().__init__()
        self.plan = plan
        self.architecture = plan.architecture
        self.in_channels = plan.in_channels
        self.model: nn.Module = _bare_model(plan)
        self.width = int(self.model.head_hidden_size)  # type: ignore[arg-type]
        levels = _levels(self.model)
        self.pyramid_strides = tuple(levels)
        self.pyramid_channels = tuple(channels for _, channels in levels.values())
        self._taken = [number for number, _ in levels.values()]
        # Some families (SAM) have more than a norm behind their blocks, of another width.
        self._is_normed = len(levels) == 1 and hasattr(self.model, "norm")
        self._step_px = _step_px(self.model, plan)
        # Not in the state: the plan has them, and weights of timm go in and out as they are.
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(plan.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(plan.std).view(shape), persistent=False)

    @property
    def is_sized(self) -> bool:
        """Whether it was made for pictures of its plan's size, as most transformers are."""
        return self._step_px != 1

    def takes(self, side_px: int) -> bool:
        """Whether it takes square pictures of this side."""
        if self._step_px is None:
            return side_px == self.plan.input_px
        return side_px % self._step_px == 0

    @property
    def patch_projection(self) -> nn.Module | None:
        """The convolution by which timm's transformers begin."""
        embedding = getattr(self.model, "patch_embed", None)
        return getattr(embedding, "proj", None)

    def forward(self, images: Tensor) -> Features:
        """Features of pictures: (B, in_channels, H, W) in [0, 1].

        Raises:
            EncoderError: other channels, or a size that the architecture cannot take.
        """
        self._check(images)
        normalised = (images - self.mean) / self.std
        model: Any = self.model
        if self._taken:
            last, maps = model.forward_intermediates(
                normalised, indices=self._taken, norm=self._is_normed
            )
        else:
            last, maps = model.forward_features(normalised), ()
        return Features(model.forward_head(last, pre_logits=True), tuple(maps))

    def _check(self, images: Tensor) -> None:
        channels, height, width = images.shape[1:]
        if channels != self.in_channels:
            raise EncoderError(
                f"{self.architecture} was built for pictures of {self.in_channels} channels, not "
                f"{channels}; build it with in_channels={channels}"
            )
        if self._step_px is None:
            side = self.plan.input_px
            if (height, width) != (side, side):
                raise EncoderError(
                    f"{self.architecture} takes pictures of {side} × {side} px only, not {width} × "
                    f"{height}; resize or crop them, or take a convolutional network"
                )
        elif height % self._step_px or width % self._step_px:
            raise EncoderError(
                f"{self.architecture} takes pictures whose sides are multiples of {self._step_px} "
                f"px, not {width} × {height}; crop them, or take a convolutional network"
            )


def _bare_model(plan: EncoderPlan) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(
            plan.architecture,
            pretrained=False,
            num_classes=0,
            in_chans=plan.in_channels,
            **plan.model_args,
        )
    except (TypeError, RuntimeError, ValueError, AssertionError) as error:
        raise EncoderError(
            f"timm {timm.__version__} cannot build {plan.architecture} with {plan.in_channels} "
            f"channels and {plan.model_args}: {error}; take the arguments that this architecture "
            f"has, or update timm"
        ) from error
    return model


def _levels(model: Any) -> dict[int, tuple[int, int]]:
    """Number and channels of the deepest feature map of each stride, from fine to coarse."""
    if not hasattr(model, "forward_intermediates"):
        return {}
    maps = enumerate(model.feature_info)
    return {int(one["reduction"]): (number, int(one["num_chs"])) for number, one in maps}


def _step_px(model: Any, plan: EncoderPlan) -> int | None:
    """What the sides of pictures must be multiples of; None where one size alone will do."""
    if not model.pretrained_cfg.get("fixed_input_size", False):
        return 1
    if not plan.model_args.get("dynamic_img_size", False):
        return None
    patch: int = max(model.patch_embed.patch_size)
    return patch
