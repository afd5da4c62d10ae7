"""Tissue: where it lies on a slide, where pen lies, and what that means for each tile."""

from wsi_tower.tissue.finding import METHOD, find_tissue
from wsi_tower.tissue.given import given_mask
from wsi_tower.tissue.mask import TissueMask
from wsi_tower.tissue.outlines import many_outlines, mask_outlines, tissue_outlines
from wsi_tower.tissue.quality import TileQuality, focus_measure, tile_quality
from wsi_tower.tissue.raster import draw_polygon
from wsi_tower.tissue.settings import TissueSettings

__all__ = [
    "METHOD",
    "TileQuality",
    "TissueMask",
    "TissueSettings",
    "draw_polygon",
    "find_tissue",
    "focus_measure",
    "given_mask",
    "many_outlines",
    "mask_outlines",
    "tile_quality",
    "tissue_outlines",
]
