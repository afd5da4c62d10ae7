"""Light and dye: white and optical density, and bringing slides to one stain."""

from wsi_tower.stain.density import (
    DEFAULT_WHITE,
    White,
    channel_densities,
    mean_density,
    white_level,
)
from wsi_tower.stain.macenko import StainVectors
from wsi_tower.stain.reference import (
    StainMethod,
    StainReference,
    StainStatistics,
    fitted_stain,
    tissue_pixels,
)
from wsi_tower.stain.reinhard import LabStatistics

__all__ = [
    "DEFAULT_WHITE",
    "LabStatistics",
    "StainMethod",
    "StainReference",
    "StainStatistics",
    "StainVectors",
    "White",
    "channel_densities",
    "fitted_stain",
    "mean_density",
    "tissue_pixels",
    "white_level",
]
