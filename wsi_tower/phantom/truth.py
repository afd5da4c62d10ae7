"""The truth about a phantom slide: outlines for QuPath, and on request a label image of nuclei."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import shapely

from wsi_tower.annotations import annotation_feature
from wsi_tower.errors import StorageError
from wsi_tower.geometry import Level0Box, LevelSize
from wsi_tower.ngff import write_instance_bands
from wsi_tower.phantom.ordered import in_order
from wsi_tower.phantom.recipe import GENERATOR, KINDS
from wsi_tower.phantom.shapes import longest_um
from wsi_tower.phantom.tumour import Metastasis, kind_of
from wsi_tower.records import folder_aside, remove_folder, write_text_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from shapely.geometry import Polygon

    from wsi_tower.phantom.scene import Scene
    from wsi_tower.phantom.settings import PhantomSettings

    NucleiOf = Callable[[Level0Box], NDArray[np.uint32] | None]

__all__ = ["nuclei_path", "read_metastasis", "truth_path", "write_nuclei", "write_truth"]

KIND_STEP = 8
"""The kind of a nucleus is its id modulo this: index into `recipe.KINDS`."""

_COLOURS = {
    "Tissue": (30, 160, 30),
    "Tumor": (200, 0, 0),
    "Fold": (120, 60, 160),
    "Blur": (90, 90, 90),
    "Pen": (200, 120, 0),
}
"""Colours of the truth's classes in QuPath, whose own spelling they have."""


def truth_path(slide: Path) -> Path:
    """Where the truth of a phantom slide lies: ``truth/<slide_id>.geojson`` beside it."""
    return slide.parent / "truth" / f"{slide.stem}.geojson"


def nuclei_path(slide: Path) -> Path:
    """Where its nuclei lie: ``truth/<slide_id>.nuclei.ome.zarr`` beside it."""
    return slide.parent / "truth" / f"{slide.stem}.nuclei.ome.zarr"


def write_truth(slide: Path, scene: Scene, mpp: float) -> None:
    """Write what a slide shows as QuPath annotations in level-0 pixels, to `truth_path`.

    Each has its area, a pen its colour as ``ink``, and tumour its kind as ``metastasis``.

    Raises:
        StorageError: the disk refused.
    """
    features = [_feature("Tissue", piece, mpp) for piece in scene.tissue_l0]
    features += [_tumour(area, mpp) for area in scene.tumour_l0]
    features += [_feature("Fold", fold.outline_l0, mpp) for fold in scene.damage.folds]
    features += [_feature("Blur", blur.outline_l0, mpp) for blur in scene.damage.blurs]
    if scene.pen is not None:
        features.append(_feature("Pen", scene.pen.outline_l0, mpp, ink=scene.pen.colour))
    truth = {"type": "FeatureCollection", "generator": GENERATOR, "features": features}
    write_text_aside(truth_path(slide), json.dumps(truth) + "\n")


def read_metastasis(slide: Path) -> Metastasis:
    """What tumour a slide has, as its truth tells.

    Raises:
        StorageError: the truth cannot be read.
    """
    path = truth_path(slide)
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"truth {path} of a phantom slide cannot be read ({error}); write the slide again "
            f"with --overwrite"
        ) from error
    kinds = {feature["properties"].get("metastasis") for feature in features} - {None}
    return cast("Metastasis", "both" if len(kinds) > 1 else next(iter(kinds), "none"))


def write_nuclei(
    slide: Path, settings: PhantomSettings, nuclei: NucleiOf, *, threads: int = 1
) -> None:
    """Write every pixel's nucleus as an OME-NGFF label image, to `nuclei_path`.

    It is as large as the slide and complete or absent. An id belongs to one nucleus, 0 to none; the
    kind is the id modulo 8, an index into the list ``kinds`` of the attribute ``wsi-tower``. Where
    the settings ask for none, an outdated one is removed.

    Args:
        slide: the slide that this is the truth of.
        settings: size, pixel size and tile side.
        nuclei: gives the ids of a tile's box, or None where there are none.
        threads: tiles made at once; the bytes are the same for any number.

    Raises:
        StorageError: the disk refused.
    """
    path = nuclei_path(slide)
    if not settings.nuclei:
        remove_folder(path)
        return
    told = {"generator": GENERATOR, "kinds": list(KINDS), "kind of an id": f"id % {KIND_STEP}"}
    with folder_aside(path, alone=True) as aside:
        write_instance_bands(
            aside,
            _bands(settings, nuclei, threads),
            size=LevelSize(settings.size.width, settings.size.height),
            pixel_um=(settings.mpp, settings.mpp),
            name="nuclei",
            more={"wsi-tower": told},
        )


def _bands(
    settings: PhantomSettings, nuclei: NucleiOf, threads: int
) -> Iterator[NDArray[np.uint32]]:
    """Rows of tiles from the top down, cut to the slide."""
    side, size = settings.tile_px, settings.size
    boxes = [
        Level0Box(x, y, side, side)
        for y in range(0, size.height, side)
        for x in range(0, size.width, side)
    ]
    band = np.zeros((side, -(-size.width // side) * side), np.uint32)
    for box, ids in zip(boxes, in_order(nuclei, boxes, threads), strict=True):
        band[:, box.x : box.x + side] = 0 if ids is None else ids
        if box.x + side >= size.width:
            yield band[: size.height - box.y, : size.width]


def _tumour(area_l0: Polygon, mpp: float) -> dict[str, Any]:
    area_um: Polygon = shapely.transform(area_l0, lambda xy: xy * mpp)
    length_um = longest_um(area_um)
    return _feature(
        "Tumor",
        area_l0,
        mpp,
        metastasis=kind_of(length_um),
        longest_um=round(length_um, 1),
    )


def _feature(name: str, outline_l0: Polygon, mpp: float, **measured: Any) -> dict[str, Any]:
    area_mm2 = round(outline_l0.area * mpp * mpp / 1e6, 4)
    return annotation_feature(outline_l0, name, _COLOURS[name], area_mm2=area_mm2, **measured)
