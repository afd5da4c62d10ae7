"""Projection heads: what stands between a pooled feature and a contrastive loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from torch import nn
from torch.nn import functional

from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Activation", "HeadSettings", "Norm", "ProjectionHead"]

Norm: TypeAlias = Literal["none", "batch"]
"""What follows a linear layer: nothing, or BatchNorm over the batch."""
Activation: TypeAlias = Literal["relu", "gelu"]
"""What bends between two linear layers."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """A perceptron on the pooled feature; as it stands, TOWER's.

    ============================  ============================================================
    head                          settings
    ============================  ============================================================
    TOWER: D-D, ReLU, D-128       ``HeadSettings()``
    SimCLR as Stacke et al. 2022  ``HeadSettings(hidden=512, norm="batch")``
    similarity: D-128             ``HeadSettings(layers=1)``
    MoCo v3 on a ResNet           ``HeadSettings(256, 2, 4096, "batch", "batch")``
    DINO, before its prototypes   ``HeadSettings(256, 3, 2048, "none", "none", True, "gelu")``
    ============================  ============================================================
    """

    out: int = 128
    """E: length of its output."""
    layers: int = 2
    """Linear layers, with ``activation`` between them."""
    hidden: int | None = None
    """Length between layers; None: that of the pooled feature."""
    norm: Norm = "none"
    """After each layer but the last, before its activation."""
    final_norm: Norm = "none"
    """After the last layer, without scale and shift."""
    unit_length: bool = False
    """Whether outputs are brought to length 1."""
    activation: Activation = "relu"
    """Between layers."""

    def __post_init__(self) -> None:
        for name, value in (("out", self.out), ("layers", self.layers), ("hidden", self.hidden)):
            if value is not None and value < 1:
                raise SettingsError(f"a head's {name} must be 1 or more, not {value}")
        for name, norm in (("norm", self.norm), ("final_norm", self.final_norm)):
            if norm not in ("none", "batch"):
                raise SettingsError(f"a head's {name} must be 'none' or 'batch', not {norm!r}")
        if self.activation not in ("relu", "gelu"):
            raise SettingsError(
                f"a head's activation must be 'relu' or 'gelu', not {self.activation!r}"
            )


class ProjectionHead(nn.Module):
    """Maps pooled features (B, D) to (B, E)."""

    def __init__(self, in_width: int, settings: HeadSettings | None = None) -> None:
        """``in_width`` is D, the encoder's ``width``."""
        super().__init__()
        self.in_width = in_width
        self.settings = settings = settings or HeadSettings()
        self.width = settings.out
        """E: length of the output."""
        layers: list[nn.Module] = []
        width = in_width
        for _ in range(settings.layers - 1):
            hidden = settings.hidden or in_width
            bend = nn.GELU() if settings.activation == "gelu" else nn.ReLU(inplace=True)
            layers += [*_linear(width, hidden, settings.norm), bend]
            width = hidden
        layers += _linear(width, settings.out, settings.final_norm, is_last=True)
        self.layers = nn.Sequential(*layers)

    def forward(self, pooled: Tensor) -> Tensor:
        """Outputs (B, E) of pooled features (B, D)."""
        projected: Tensor = self.layers(pooled)
        if self.settings.unit_length:
            # In float32 also under autocast: lengths of bfloat16 differ by half a percent.
            return functional.normalize(projected.float(), dim=1)
        return projected


def _linear(width: int, out: int, norm: Norm, *, is_last: bool = False) -> list[nn.Module]:
    if norm == "none":
        return [nn.Linear(width, out)]
    # BatchNorm takes the mean away, so a bias before it would never be trained.
    return [nn.Linear(width, out, bias=False), nn.BatchNorm1d(out, affine=not is_last)]
