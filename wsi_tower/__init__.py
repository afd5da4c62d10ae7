"""wsi-tower: whole-slide images to tiles, encoders, similar-tile search and masks.

Import from the room that does the work, for example ``from wsi_tower.slides import open_slide`` or
``from wsi_tower.tiles import TileStore``. The root holds the version only, so that importing it
costs nothing.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
