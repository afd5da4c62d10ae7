"""Tiles: the grid of a slide, its store on disk, and reading it at random."""

from wsi_tower.tiles.pixels import TilePixels
from wsi_tower.tiles.plan import TilePlan, plan_tiles
from wsi_tower.tiles.settings import PixelMode, TileSettings
from wsi_tower.tiles.shards import ShardFiles
from wsi_tower.tiles.store import SlideRecord, TileStore
from wsi_tower.tiles.tiling import TileJob, slide_tissue, tile_slide

__all__ = [
    "PixelMode",
    "ShardFiles",
    "SlideRecord",
    "TileJob",
    "TilePixels",
    "TilePlan",
    "TileSettings",
    "TileStore",
    "plan_tiles",
    "slide_tissue",
    "tile_slide",
]
