"""Write phantom slides with their truth and a slide list."""

from __future__ import annotations

import csv
import io
import json
import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shapely.geometry import mapping

from wsi_tower.errors import storage_errors
from wsi_tower.phantom.scene import Scene
from wsi_tower.phantom.writer import write_aperio
from wsi_tower.records import write_text_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shapely.geometry import Polygon

    from wsi_tower.phantom.settings import PhantomSettings

__all__ = ["phantom_paths", "truth_path", "write_phantom", "write_phantoms", "write_slide_list"]

_SLIDES_A_PATIENT = 2
_SITES = ("north", "south")
_CLASS_COLOURS = {"Tissue": [30, 160, 30], "Pen": [200, 120, 0]}
"""Colours of the truth's classes in QuPath."""


def truth_path(slide: Path) -> Path:
    """Where the truth of a phantom slide lies: ``truth/<slide_id>.geojson`` beside it."""
    return slide.parent / "truth" / f"{slide.stem}.geojson"


def phantom_paths(folder: Path, settings: PhantomSettings) -> list[Path]:
    """Where the slides of a folder lie: ``phantom-01.svs``, …, by number."""
    return [folder / f"phantom-{index + 1:02d}.svs" for index in range(settings.slides)]


def write_slide_list(folder: Path, slides: list[Path]) -> None:
    """Write ``slides.csv``, which names the slides and gives each a patient and a site.

    Raises:
        StorageError: the disk refused.
    """
    write_text_aside(folder / "slides.csv", _slide_list(slides))


def write_phantoms(
    folder: Path,
    settings: PhantomSettings,
    *,
    on_slide: Callable[[Path], None] = lambda _: None,
) -> list[Path]:
    """Write slides ``phantom-01.svs``, … with their truth, and a slide list ``slides.csv``.

    Args:
        folder: made where it is missing; files of the same names are replaced.
        settings: what to write.
        on_slide: called with each finished slide.

    Returns:
        The slides, in order.

    Raises:
        StorageError: the disk refused. Slides finished before are whole; there is no slide list.
    """
    slides = phantom_paths(folder, settings)
    for index, slide in enumerate(slides):
        write_phantom(slide, settings, index)
        on_slide(slide)
    write_slide_list(folder, slides)
    return slides


def write_phantom(path: Path, settings: PhantomSettings, index: int) -> None:
    """Write one slide and its truth, complete or not at all.

    The bytes depend on ``settings`` and ``index`` only.

    Args:
        path: the slide; its truth goes to `truth_path`. Both are replaced.
        settings: what to write.
        index: 0-based number of the slide in its folder.

    Raises:
        StorageError: the disk refused.
    """
    with storage_errors(path), _aside(path) as aside:
        scene = Scene.drawn(settings, index)
        write_aperio(aside, settings, scene.staining.glass, scene.tile)
        write_text_aside(truth_path(path), _truth(scene))


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A name beside ``path`` for a file that takes its place when the block succeeds.

    Asides that a killed process left behind are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".partial-*-{path.name}"):
        stale.unlink(missing_ok=True)
    aside = path.with_name(f".partial-{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _truth(scene: Scene) -> str:
    """Tissue and pen as a QuPath feature collection in level-0 pixels."""
    features = [_feature(piece, "Tissue") for piece in scene.tissue_l0]
    if scene.pen is not None:
        features.append(_feature(scene.pen.outline_l0, "Pen", ink=scene.pen.colour))
    return json.dumps({"type": "FeatureCollection", "features": features}) + "\n"


def _feature(outline_l0: Polygon, name: str, **measured: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": mapping(outline_l0),
        "properties": {
            "objectType": "annotation",
            "classification": {"name": name, "color": _CLASS_COLOURS[name]},
            **measured,
        },
    }


def _slide_list(slides: list[Path]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["sample_id", "image_path", "patient", "site"])
    for index, slide in enumerate(slides):
        patient = index // _SLIDES_A_PATIENT
        site = _SITES[patient % len(_SITES)]
        table.writerow([slide.stem, slide.name, f"patient-{patient + 1:02d}", site])
    return text.getvalue()
