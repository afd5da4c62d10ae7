"""The tiny network that finds nuclei without labels (Boserup and Selvan 2023, doi 10.7557/18.6798).

It gives each pixel K confidences at full resolution. There is no pooling: dilated convolutions see
167 px around.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from wsi_tower.errors import SettingsError
from wsi_tower.models.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ConfidenceNet", "ConfidenceSegmenter", "FeatureNet", "lifted"]

_WIDTH = 8
_DILATIONS = (1, 2, 3, 5, 10, 20)
_BLACK = 0.05
"""What black becomes, so that a picture times a confidence tells black from left out."""


class _Elu(nn.Module):
    """ELU from clamp and exp: on a CPU much faster than torch's, and within 1e-6 of it."""

    def forward(self, values: Tensor) -> Tensor:
        return values.clamp(min=0) + values.clamp(max=0).exp() - 1


def _convolution(channels: int, dilation: int, *, is_fused: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, _WIDTH, 3, padding=dilation, dilation=dilation, bias=is_fused)
    return [convolution, nn.Identity() if is_fused else nn.BatchNorm2d(_WIDTH), _Elu()]


class _Block(nn.Module):
    """Two convolutions and what came in; nothing after the sum."""

    def __init__(self, dilation: int, *, is_fused: bool) -> None:
        super().__init__()
        first = _convolution(_WIDTH, dilation, is_fused=is_fused)
        self.body = nn.Sequential(*first, *_convolution(_WIDTH, dilation, is_fused=is_fused))

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = self.body(maps)
        return maps + changed


class ConfidenceNet(nn.Module):
    """Pictures to K confidences a pixel: 7 372 parameters for RGB and K = 4.

    A convolution, then six residual blocks of dilations 1, 2, 3, 5, 10 and 20, then one of 1 × 1;
    all of width 8.
    """

    def __init__(self, classes: int = 4, *, in_channels: int = 3, is_fused: bool = False) -> None:
        """``is_fused``: without BatchNorm, its scale and shift in the convolutions; see `fused`."""
        super().__init__()
        if classes < 1 or in_channels < 1:
            raise SettingsError(
                f"classes and in_channels must be 1 or more, not {classes} and {in_channels}"
            )
        self.classes, self.in_channels, self.is_fused = classes, in_channels, is_fused
        self.stem = nn.Sequential(*_convolution(in_channels, 1, is_fused=is_fused))
        self.blocks = nn.Sequential(*(_Block(one, is_fused=is_fused) for one in _DILATIONS))
        self.head = nn.Conv2d(_WIDTH, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the confidences: (B, K, H, W), of pictures (B, 3, H, W) in [0, 1]."""
        logits: Tensor = self.head(self.blocks(self.stem(lifted(images))))
        return logits

    def fused(self) -> ConfidenceNet:
        """A copy for inference, each BatchNorm by its running statistics in its convolution."""
        copy = ConfidenceNet(self.classes, in_channels=self.in_channels, is_fused=True)
        copy.head.load_state_dict(self.head.state_dict())
        for own, other in zip(self._sequences(), copy._sequences(), strict=True):
            for (place, convolution), (_, norm) in pairwise(enumerate(own)):
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    _fuse(convolution, norm, other[place])
        return copy.to(self.head.weight.device).eval()

    def _sequences(self) -> list[nn.Sequential]:
        blocks = [block.body for block in self.blocks if isinstance(block, _Block)]
        return [self.stem, *blocks]


@torch.no_grad()
def _fuse(convolution: nn.Conv2d, norm: nn.BatchNorm2d, into: nn.Module) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert isinstance(into, nn.Conv2d)
    assert into.bias is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    into.weight.copy_(convolution.weight * scale[:, None, None, None])
    into.bias.copy_(norm.bias - norm.running_mean * scale)


def lifted(images: Tensor) -> Tensor:
    """Pictures in [0, 1] with black at 0.05: x becomes 0.95 x + 0.05."""
    return (1 - _BLACK) * images + _BLACK


class FeatureNet(nn.Module):
    """Patches of 50 px to 32 features, for a similarity of features: 3 386 parameters.

    With `ConfidenceNet` that makes the 10 758 of the publication's 10.8k. Only an option there;
    its default compares pixels, and so does this project.
    """

    def __init__(self, in_channels: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), _Elu()),
            *(nn.Conv2d(8, 8, 3, stride=2, dilation=2, bias=False), nn.BatchNorm2d(8), _Elu()),
            *(nn.Conv2d(8, 1, 3, stride=2, dilation=2, bias=False), nn.BatchNorm2d(1), _Elu()),
            *(nn.Flatten(), nn.Linear(81, 32)),
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Features (N, 32) of patches (N, in_channels, 50, 50)."""
        features: Tensor = self.body(patches)
        return features


class ConfidenceSegmenter(Segmenter):
    """One channel of a trained `ConfidenceNet`, fused, as a segmenter of one class."""

    kind: ClassVar[str] = "confidence"

    def __init__(self, net: ConfidenceNet) -> None:
        """``net`` is fused and has one class; see `of_channel`."""
        super().__init__()
        if not net.is_fused:
            raise SettingsError("a ConfidenceSegmenter takes a fused net; see ConfidenceNet.fused")
        self.net, self.classes = net.to(memory_format=torch.channels_last), net.classes

    @classmethod
    def of_channel(cls, net: ConfidenceNet, channel: int) -> Self:
        """The segmenter of one channel of a trained network.

        Raises:
            SettingsError: there is no such channel.
        """
        if not 0 <= channel < net.classes:
            raise SettingsError(f"channel must lie between 0 and {net.classes - 1}, not {channel}")
        whole = net if net.is_fused else net.fused()
        one = ConfidenceNet(1, in_channels=net.in_channels, is_fused=True)
        chosen = {
            name: tensor[channel : channel + 1] if name.startswith("head.") else tensor
            for name, tensor in whole.state_dict().items()
        }
        one.load_state_dict(chosen)
        return cls(one.eval())

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1, H, W) of pictures (B, 3, H, W) in [0, 1]."""
        logits: Tensor = self.net(images.contiguous(memory_format=torch.channels_last))
        return logits

    def shape(self) -> dict[str, Any]:
        """Channels in and out."""
        return {"classes": self.net.classes, "in_channels": self.net.in_channels}

    @classmethod
    def of_shape(cls, values: Mapping[str, Any]) -> Self:
        """A segmenter with random weights, from what `shape` gave."""
        classes, channels = int(values["classes"]), int(values["in_channels"])
        return cls(ConfidenceNet(classes, in_channels=channels, is_fused=True))
