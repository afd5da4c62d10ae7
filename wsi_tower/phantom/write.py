"""Write phantom slides with their truth and a slide list."""

from __future__ import annotations

import csv
import io
import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsi_tower.errors import storage_errors
from wsi_tower.phantom.scene import Scene
from wsi_tower.phantom.truth import read_metastasis, write_nuclei, write_truth
from wsi_tower.phantom.tumour import check_outlines
from wsi_tower.phantom.writer import write_aperio
from wsi_tower.records import write_text_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsi_tower.phantom.settings import PhantomSettings

__all__ = ["phantom_paths", "write_phantom", "write_phantoms", "write_slide_list"]

_COLUMNS = ("sample_id", "image_path", "patient", "site", "label", "metastasis")
_SLIDES_A_PATIENT = 2
_SITES = ("north", "south")


def phantom_paths(folder: Path, settings: PhantomSettings) -> list[Path]:
    """Where the slides of a folder lie: ``phantom-01.svs``, …, by number."""
    return [folder / f"phantom-{index + 1:02d}.svs" for index in range(settings.slides)]


def write_slide_list(folder: Path, slides: list[Path]) -> None:
    """Write ``slides.csv``: the slides, made-up patients and sites, and what tumour is on each.

    Args:
        folder: where the slides lie.
        slides: all of them, by number, with their truth.

    Raises:
        StorageError: the disk refused, or a slide's truth is not there.
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
        AnnotationError: the file of tumour outlines cannot be read; nothing is written.
        SettingsError: it has no usable outline; nothing is written.
        StorageError: the disk refused. Slides finished before are whole; there is no slide list.
    """
    check_outlines(settings)
    slides = phantom_paths(folder, settings)
    for index, slide in enumerate(slides):
        write_phantom(slide, settings, index)
        on_slide(slide)
    write_slide_list(folder, slides)
    return slides


def write_phantom(path: Path, settings: PhantomSettings, index: int, *, threads: int = 1) -> None:
    """Write one slide and its truth, complete or not at all.

    The bytes depend on ``settings`` and ``index`` only, and on the outlines that settings name.

    Args:
        path: the slide; its truth goes to `truth_path`, and its nuclei, where they are asked for,
            to `nuclei_path`. All are replaced.
        settings: what to write.
        index: 0-based number of the slide in its folder.
        threads: tiles made at once.

    Raises:
        AnnotationError: the file of tumour outlines cannot be read.
        SettingsError: it has no usable outline.
        StorageError: the disk refused.
    """
    with storage_errors(path), _aside(path) as aside:
        scene = Scene.drawn(settings, index)
        write_aperio(aside, settings, scene.staining.glass, scene.tile, threads=threads)
        write_nuclei(path, settings, scene.nuclei, threads=threads)
        write_truth(path, scene, settings.mpp)


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


def _slide_list(slides: list[Path]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for index, slide in enumerate(slides):
        patient = index // _SLIDES_A_PATIENT
        site = _SITES[patient % len(_SITES)]
        metastasis = read_metastasis(slide)
        label = "normal" if metastasis == "none" else "tumour"
        identity = (slide.stem, slide.name, f"patient-{patient + 1:02d}", site)
        table.writerow([*identity, label, metastasis])
    return text.getvalue()
