"""Questions: places, regions, pictures and examples, and what is wrong with some."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from tests.embeddings.made import SLIDE
from tests.retrieval.cohorts import write_slide
from wsi_tower.embeddings import open_cache
from wsi_tower.errors import (
    CorruptStoreError,
    EncoderError,
    ImpossiblePixelSizeError,
    InputError,
    MissingPixelSizeError,
    SettingsError,
)
from wsi_tower.geometry import Level0Box
from wsi_tower.retrieval import (
    Asking,
    parsed_example,
    parsed_position_um,
    question_of,
    similarity_map,
)
from wsi_tower.retrieval.asking import region_rows, row_at
from wsi_tower.retrieval.pictures import picture_tiles

if TYPE_CHECKING:
    from tests.retrieval.conftest import Cohort
    from wsi_tower.embeddings import EmbeddingCache
    from wsi_tower.retrieval import Question


def asked(cohort: Cohort, **values: Any) -> Question:
    return question_of(Asking(**values), cohort.index, cohort.workspace)


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    """40 tiles of 25 µm in rows of ten on a slide of 250 × 100 µm, whose row 7 is cut out."""
    write_slide(tmp_path, 0, np.zeros((40, 8), np.float32))
    whole = open_cache(tmp_path / "embeddings" / "tower" / "s00.h5")
    kept = [row for row in range(40) if row not in (7, 8, 17, 18)]
    return replace(
        whole,
        features=whole.features[kept],
        coords_l0=whole.coords_l0[kept],
        centre_um=whole.centre_um[kept],
    )


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("1um,1um", 0),
        ("0mm,0mm", 0),
        ("0.1mm,30um", 10),  # x 100 µm is the border of tiles 3 and 4 of the second row
        ("249um,99um", 35),
        ("26µm,51µm", 17),  # row 21, less the four that are cut out
    ],
)
def test_a_position_names_the_tile_over_it(cache: EmbeddingCache, text: str, row: int) -> None:
    found = row_at(cache, parsed_position_um(text))
    if text == "0.1mm,30um":
        assert found in (11, 12)
    else:
        assert found == row


def test_off_tissue_the_nearest_tile_is_named(cache: EmbeddingCache) -> None:
    with pytest.raises(
        InputError, match=r"no tile at 0.19mm,0.02mm; the nearest is row \d+ at .*, \d+ µm away"
    ) as caught:
        row_at(cache, (190.0, 20.0))
    distances = np.hypot(*(cache.centre_um - (190.0, 20.0)).T)
    assert f"--row {distances.argmin()}" in str(caught.value)
    assert f"{distances.min():.0f} µm away" in str(caught.value)


@pytest.mark.parametrize("position", [(250.0, 10.0), (-1.0, 10.0), (10.0, 100.5)])
def test_outside_the_slide_its_size_is_told(
    cache: EmbeddingCache, position: tuple[float, float]
) -> None:
    with pytest.raises(InputError, match=r"outside slide s00, which is 0\.25mm,0\.1mm wide"):
        row_at(cache, position)


def test_rows_end_somewhere(small: Cohort) -> None:
    for row in (-1, 40):
        with pytest.raises(InputError, match=f"no tile of row {row}; rows go from 0 to 39"):
            asked(small, slide="s01", place=row)


def write_region(path: Path, *corners: tuple[float, float]) -> Path:
    ring = [*corners, corners[0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": geometry, "properties": {}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


def test_a_region_is_the_tiles_whose_centres_it_holds(small: Cohort, tmp_path: Path) -> None:
    """Centres stand at 50, 150, … level-0 px: x to 260 holds three columns, y to 160 two rows."""
    path = write_region(tmp_path / "r.geojson", (0, 0), (260, 0), (260, 160), (0, 160))
    question = asked(small, slide="s02", region=path)
    assert question.told["rows"] == [0, 1, 2, 10, 11, 12]
    np.testing.assert_array_equal(question.vectors, small.features[2][[0, 1, 2, 10, 11, 12]])
    assert question.slides.keys() == {"s02"}


def test_a_region_is_drawn_from_the_scanned_part(cache: EmbeddingCache, tmp_path: Path) -> None:
    path = write_region(tmp_path / "r.geojson", (0, 0), (100, 0), (100, 100), (0, 100))
    assert region_rows(cache, path, 64).tolist() == [0]
    moved = replace(cache, slide=replace(cache.slide, bounds=Level0Box(100, 100, 500, 200)))
    assert region_rows(moved, path, 64).tolist() == [9]


def test_of_a_large_region_tiles_are_taken_evenly(cache: EmbeddingCache, tmp_path: Path) -> None:
    path = write_region(tmp_path / "r.geojson", (0, 0), (1000, 0), (1000, 400), (0, 400))
    assert region_rows(cache, path, 64).tolist() == list(range(36))
    assert region_rows(cache, path, 6).tolist() == [0, 7, 14, 21, 28, 35]


def test_a_region_without_tiles_is_an_error(small: Cohort, tmp_path: Path) -> None:
    path = write_region(tmp_path / "r.geojson", (0, 0), (20, 0), (20, 20))
    with pytest.raises(InputError, match="the centre of no tile of slide s02"):
        asked(small, slide="s02", region=path)


def test_a_slide_that_is_not_indexed_may_be_asked_about(small: Cohort) -> None:
    write_slide(small.workspace.root, 9, np.ones((5, 8), np.float32))
    question = asked(small, slide="s09", place=2)
    np.testing.assert_array_equal(question.vectors, np.ones((1, 8)))
    assert question.slides == {"s09": {"patient": "p4", "site": "breast"}}
    parents = {"tiles": "0" * 32, "encoder": "2" * 32}
    write_slide(small.workspace.root, 9, np.ones((5, 8), np.float32), parents=parents)
    with pytest.raises(EncoderError, match="do not belong together"):
        asked(small, slide="s09", place=2)
    small.workspace.embedding_cache("tower", "s09").unlink()
    with pytest.raises(InputError, match=r"slide s09 is neither in index .* such as s0"):
        asked(small, slide="s09", place=2)


def test_a_damaged_cache_is_named(small: Cohort) -> None:
    path = small.workspace.embedding_cache("tower", "s09")
    path.write_bytes(b"no cache")
    with pytest.raises(CorruptStoreError, match=r"s09\.h5 cannot be used"):
        asked(small, slide="s09", place=2)
    path.unlink()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"slide": "s01"},
        {"place": 3},
        {"slide": "s01", "place": 3, "region": Path("r")},
        {"slide": "s01", "place": 3, "image": Path("i")},
        {"slide": "s01", "image": Path("i")},
        {"unlike": (("s01", 3),)},
        {"slide": "s01", "place": 3, "image_mpp": 0.5},
        {"level": "slide"},
        {"level": "slide", "slide": "s01", "place": 3},
        {"level": "slide", "slide": "s01", "like": (("s02", 3),)},
        {"level": "patient", "slide": "s01"},
    ],
)
def test_questions_that_mean_nothing_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Asking(**values)


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ("a:12", ("a", 12)),
        ("a:b:0", ("a:b", 0)),
        ("a:1.5mm,20um", ("a", (1500.0, 20.0))),
    ],
)
def test_examples_name_slide_and_place(text: str, example: tuple[str, Any]) -> None:
    assert parsed_example(text) == example


@pytest.mark.parametrize("text", ["a", ":3", "a:", "a:-1", "a:1,2", "a:1mm", "a:x"])
def test_examples_without_a_place_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parsed_example(text)


LIKE = replace(SLIDE, tile_px=20, tile_mpp=1.0)


def write_picture(path: Path, height: int, width: int) -> Path:
    """Red grows from left to right, green from top to bottom."""
    y, x = np.mgrid[:height, :width]
    blue = np.zeros_like(x)
    rgb = np.stack([x * 255 // width, y * 255 // height, blue], axis=-1).astype(np.uint8)
    cv2.imwrite(str(path), rgb[..., ::-1])
    return path


def test_a_picture_is_brought_to_the_tiles_resolution(tmp_path: Path) -> None:
    """At 0.5 µm/px 90 × 50 px are 45 × 25 µm: two tiles of 20 µm side by side, in the middle."""
    path = write_picture(tmp_path / "crop.png", 50, 90)
    tiles, mpp = picture_tiles(path, 0.5, LIKE, 64)
    assert (tiles.shape, mpp) == ((2, 20, 20, 3), 0.5)
    # 2 µm of 45 are left of the first tile and 3 right of the second; red is 255 over 45 µm.
    middle = tiles.mean(axis=(1, 2))
    np.testing.assert_allclose(middle[:, 0], [255 * 12 / 45, 255 * 32 / 45], atol=2)
    np.testing.assert_allclose(middle[:, 1], [255 * 12 / 25] * 2, atol=4)


def test_a_picture_nearly_as_large_as_a_tile_counts_as_one(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "crop.png", 38, 37)
    assert picture_tiles(path, 0.5, LIKE, 64)[0].shape == (1, 20, 20, 3)
    path = write_picture(tmp_path / "crop.png", 38, 30)
    with pytest.raises(InputError, match=r"15 × 19 µm at 0.5 µm/px is smaller than a tile of 20"):
        picture_tiles(path, 0.5, LIKE, 64)


def test_a_picture_needs_a_pixel_size(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "crop.png", 50, 90)
    with pytest.raises(MissingPixelSizeError, match=r"crop\.png has no pixel size.*--mpp 0\.25"):
        picture_tiles(path, None, LIKE, 64)
    with pytest.raises(ImpossiblePixelSizeError, match="with --mpp"):
        picture_tiles(path, -1.0, LIKE, 64)


def test_of_a_large_picture_tiles_are_taken_evenly(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "crop.png", 100, 200)
    assert len(picture_tiles(path, 1.0, LIKE, 64)[0]) == 50
    assert len(picture_tiles(path, 1.0, LIKE, 6)[0]) == 6


def test_a_map_has_the_distance_of_every_tile(small: Cohort) -> None:
    question = asked(small, slide="s01", place=7)
    cache = small.index.cache(4)
    found = similarity_map(question, cache)
    by_hand = [np.linalg.norm(one - small.features[1][7]) for one in small.features[4]]
    np.testing.assert_allclose(found.distances, by_hand, rtol=1e-6)
    assert found.pixel_um == (25.0, 25.0)
    image, edges = found.classes(10)
    assert image.shape == (4, 10)  # rows of ten
    np.testing.assert_allclose(edges, np.linspace(max(by_hand), min(by_hand), 11))
    for row, distance in enumerate(by_hand):
        step = int(image[row // 10, row % 10])
        assert edges[step] - 1e-6 <= distance <= edges[step - 1] + 1e-6
    assert (image.min(), image.max()) == (1, 10)


def test_a_map_of_several_vectors_takes_the_nearest(small: Cohort, tmp_path: Path) -> None:
    path = write_region(tmp_path / "r.geojson", (0, 0), (260, 0), (260, 60), (0, 60))
    question = asked(small, slide="s02", region=path)
    found = similarity_map(question, small.index.cache(2))
    assert found.distances[:3].tolist() == [0, 0, 0]
    others = small.features[2][:3].astype(np.float64)
    by_hand = min(np.linalg.norm(small.features[2][30] - other) for other in others)
    assert found.distances[30] == pytest.approx(by_hand)


def test_a_map_of_equal_tiles_is_of_one_step() -> None:
    from wsi_tower.retrieval import SimilarityMap

    cells = np.array([[0, 0], [2, 1]])
    image, _ = SimilarityMap(np.ones(2), cells, (1.0, 1.0)).classes(5)
    assert image.tolist() == [[1, 0, 0], [0, 0, 1]]
