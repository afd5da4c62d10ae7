"""Synthetic slides with known truth, for the demo, the tests and the benchmarks.

`write_phantom` writes one pyramidal slide in the Aperio layout and its truth; `write_phantoms`
writes a folder of them with a slide list. How a slide comes about: `settings` say what is asked
for, `shapes` and `tumour` draw the outlines, `nuclei`, `cells`, `texture` and `stains` make tissue
after a `recipe`, `ink` and `damage` spoil it, `scene` puts all together tile by tile, `writer`
turns the tiles into a file, and `truth` tells what is on it.
"""

from wsi_tower.phantom.settings import PenColour, PhantomSettings
from wsi_tower.phantom.truth import nuclei_path, truth_path
from wsi_tower.phantom.tumour import Metastasis, check_outlines
from wsi_tower.phantom.write import (
    phantom_paths,
    write_phantom,
    write_phantoms,
    write_slide_list,
)

__all__ = [
    "Metastasis",
    "PenColour",
    "PhantomSettings",
    "check_outlines",
    "nuclei_path",
    "phantom_paths",
    "truth_path",
    "write_phantom",
    "write_phantoms",
    "write_slide_list",
]
