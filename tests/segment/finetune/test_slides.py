"""Outlines on slides as masks of tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from shapely import MultiPolygon, Polygon, contains_xy
from shapely.geometry import mapping

from tests.cli.studies import tiled_study
from tests.segment.finetune.discs import settings_for
from wsi_tower.errors import AnnotationError, LabelError, NoSlidesError, SettingsError
from wsi_tower.segment.finetune import (
    FinetuneSettings,
    LabelledPicture,
    annotated_tiles,
    finetune_unet,
    split_by_seed,
)
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Tiles of 32 px at 2 µm/px of four slides of 800 × 600 px."""
    return Workspace(tiled_study(tmp_path_factory.mktemp("annotated")))


def ids(study: Workspace) -> list[str]:
    return [path.stem for path in study.tile_stores()]


def outline(folder: Path, slide_id: str, area: BaseGeometry, name: str | None = "Gland") -> None:
    folder.mkdir(exist_ok=True)
    properties = {"classification": {"name": name}} if name else {}
    feature = {"type": "Feature", "geometry": mapping(area), "properties": properties}
    text = json.dumps({"type": "FeatureCollection", "features": [feature]})
    (folder / f"{slide_id}.geojson").write_text(text)


RING = Polygon(
    [(150.3, 120.1), (640.7, 150.9), (600.1, 470.3), (180.9, 430.7)],
    [[(300.3, 250.7), (420.1, 240.3), (380.9, 330.1)]],
)
ISLAND = Polygon([(20.3, 20.7), (120.1, 30.9), (60.7, 100.3)])


def read(
    study: Workspace, folder: Path, most: int = 10_000, name: str = "gland"
) -> tuple[list[LabelledPicture], float, list[str]]:
    warned: list[str] = []
    found, mpp = annotated_tiles(study, folder, name, most, 0, warned.append)
    return found, mpp, warned


def test_a_pixel_is_foreground_where_its_centre_is_outlined(
    study: Workspace, tmp_path: Path
) -> None:
    slide_id, area = ids(study)[0], MultiPolygon([RING, ISLAND])
    outline(tmp_path / "drawn", slide_id, area)
    pictures, mpp, warned = read(study, tmp_path / "drawn")
    assert mpp == pytest.approx(2)
    assert warned == ["3 of 4 slides have no annotations; left out"]
    with TileStore.open(study.tile_store(slide_id)) as store:
        assert len(pictures) == len(store)
        for picture in pictures:
            row = int(picture.name.partition("/")[2])
            x, y = store.xy_l0[row]
            line = (np.arange(32) + 0.5) * store.plan.footprint_l0 / 32
            truth = contains_xy(area, *np.meshgrid(x + line, y + line))
            np.testing.assert_array_equal(picture.mask > 0, truth)
            np.testing.assert_array_equal(picture.rgb, store.pixels[[row]][0])


def test_tiles_are_drawn_half_with_foreground(study: Workspace, tmp_path: Path) -> None:
    outline(tmp_path / "drawn", ids(study)[0], RING)
    pictures, _, _ = read(study, tmp_path / "drawn", most=20)
    assert len({picture.name for picture in pictures}) == 20
    assert sum(not picture.is_empty for picture in pictures) == pytest.approx(10, abs=1)


def test_slides_train_or_validate_as_a_whole(study: Workspace, tmp_path: Path) -> None:
    for slide_id in ids(study):
        outline(tmp_path / "drawn", slide_id, RING)
    pictures, _, warned = read(study, tmp_path / "drawn", most=10)
    assert warned == []
    split = split_by_seed(pictures, 1.0, 0.25, 0, warned.append)
    training = {picture.slide_id for picture in split.training}
    validation = {picture.slide_id for picture in split.validation}
    assert (len(training), len(validation)) == (3, 1)
    assert not training & validation


def test_one_slide_alone_is_cut_from_left_to_right(study: Workspace, tmp_path: Path) -> None:
    outline(tmp_path / "drawn", ids(study)[1], RING)
    pictures, _, warned = read(study, tmp_path / "drawn", most=20)
    split = split_by_seed(pictures, 1.0, 0.2, 0, warned.append)
    assert (len(split.training), len(split.validation)) == (15, 5)
    assert "its right quarter is for validation" in warned[-1]
    with TileStore.open(study.tile_store(ids(study)[1])) as store:
        x = [store.xy_l0[int(picture.name.partition("/")[2]), 0] for picture in pictures]
    assert max(x[:15]) <= min(x[15:])


def test_a_model_comes_of_it(study: Workspace, tmp_path: Path) -> None:
    for slide_id in ids(study)[:2]:
        outline(tmp_path / "drawn", slide_id, RING)
    small = settings_for(tmp_path, steps=2)
    settings = FinetuneSettings(
        annotations=tmp_path / "drawn",
        class_name="Gland",
        tiles_per_slide=8,
        init="random",
        backbone=small.backbone,
        decoder_widths=small.decoder_widths,
        augment=small.augment,
        training=small.training,
    )
    origin = finetune_unet(settings, study).record.origin
    assert origin.mpp == pytest.approx(2)
    assert origin.classes == ("Gland",)


# What cannot be


def test_outlines_of_another_class_or_slide(study: Workspace, tmp_path: Path) -> None:
    outline(tmp_path / "drawn", ids(study)[0], RING, "Stroma")
    with pytest.raises(LabelError, match=r"no tile shows class 'gland' .* classes are Stroma"):
        read(study, tmp_path / "drawn")
    outline(tmp_path / "others", "nobody", RING)
    with pytest.raises(LabelError, match=r"no file in .* is called as a slide"):
        read(study, tmp_path / "others")
    outline(tmp_path / "beyond", ids(study)[0], Polygon([(0, 0), (9000, 0), (0, 50)]))
    with pytest.raises(AnnotationError, match="x 0 to 9000"):
        read(study, tmp_path / "beyond")
    with pytest.raises(AnnotationError, match="are no folder"):
        read(study, tmp_path / "nowhere")
    with pytest.raises(NoSlidesError, match="has no tile stores"):
        read(Workspace(tmp_path / "empty"), tmp_path / "drawn")


def test_annotations_tell_their_resolution() -> None:
    with pytest.raises(SettingsError, match="leave out --mpp"):
        FinetuneSettings(annotations=Path("drawn"), mpp=0.25)
    with pytest.raises(SettingsError, match="leave out --only"):
        FinetuneSettings(annotations=Path("drawn"), only=("one",))
