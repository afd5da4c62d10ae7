"""Synthetic slides with known truth, for the demo, the tests and the benchmarks.

`write_phantom` writes one pyramidal slide in the Aperio layout and its truth as GeoJSON;
`write_phantoms` writes a folder of them with a slide list. How a slide comes about: `settings` say
what is asked for, `shapes` draw the outlines, `texture` and `stains` make tissue and ink, `scene`
puts them together tile by tile, and `writer` turns the tiles into a file.
"""

from wsi_tower.phantom.settings import PenColour, PhantomSettings
from wsi_tower.phantom.write import (
    phantom_paths,
    truth_path,
    write_phantom,
    write_phantoms,
    write_slide_list,
)

__all__ = [
    "PenColour",
    "PhantomSettings",
    "phantom_paths",
    "truth_path",
    "write_phantom",
    "write_phantoms",
    "write_slide_list",
]
