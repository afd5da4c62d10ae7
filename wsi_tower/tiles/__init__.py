"""Tiles: the grid of a slide, its store on disk, and reading it at random."""

from wsi_tower.tiles.pixels import Decode, TilePixels
from wsi_tower.tiles.plan import PixelSource, TilePlan, plan_tiles, source_for_target
from wsi_tower.tiles.settings import PixelMode, TileSettings
from wsi_tower.tiles.shards import ShardFiles
from wsi_tower.tiles.store import SlideRecord, TileStore
from wsi_tower.tiles.tiling import TileJob, slide_tissue, tile_slide

__all__ = [
    "Decode",
    "PixelMode",
    "PixelSource",
    "ShardFiles",
    "SlideRecord",
    "TileJob",
    "TilePixels",
    "TilePlan",
    "TileSettings",
    "TileStore",
    "plan_tiles",
    "slide_tissue",
    "source_for_target",
    "tile_slide",
]
