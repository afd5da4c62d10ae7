"""The generator is frozen under its name: what it draws today is what it drew when it was named.

After a change that is meant, give the generator a new name in ``recipe.py``, then set the digest
and write the picture anew:

    python -c "from tests.phantom.test_frozen import picture; picture().save('tests/data/NAME.png')"
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openslide
import tifffile
from PIL import Image

from wsi_tower.phantom import PhantomSettings, write_phantom
from wsi_tower.phantom.recipe import GENERATOR, RECIPE
from wsi_tower.records import digest, plain

FROZEN = {"phantom-1": "b5e2c76b3dab2626888c04c2918ca0e3"}
"""Digest of the recipe of each generator."""


def test_the_recipe_is_the_frozen_one() -> None:
    assert digest(plain(RECIPE)) == FROZEN[GENERATOR]


def test_a_slide_looks_as_it_did_when_the_generator_was_frozen() -> None:
    frozen = Image.open(Path(__file__).parents[1] / "data" / f"{GENERATOR}.png")
    difference = np.asarray(picture(), float) - np.asarray(frozen, float)
    # Processors round differently; a cell more or less in 80 µm is all that may come of it.
    assert np.abs(difference).max() < 12
    assert np.abs(difference).mean() < 0.5


def test_the_file_names_its_generator(tmp_path: Path) -> None:
    slide = _written(tmp_path)
    with tifffile.TiffFile(slide) as tiff:
        assert f"wsi-tower {GENERATOR}" in tiff.pages.first.tags["ImageDescription"].value


def picture() -> Image.Image:
    """A slide of 4 × 3 mm with tumour and pen, 80 µm a pixel."""
    with TemporaryDirectory() as folder, openslide.OpenSlide(_written(Path(folder))) as slide:
        whole = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
    return whole.resize((50, 37), Image.Resampling.BOX)


def _written(folder: Path) -> Path:
    settings = PhantomSettings(
        1, width_um=4000, height_um=3000, mpp=4, tile_px=64, seed=11, pen_every=1
    )
    path = folder / "frozen.svs"
    write_phantom(path, settings, 0)
    return path
