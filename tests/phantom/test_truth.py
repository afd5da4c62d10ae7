"""What a slide's truth says, on scenes made by hand."""

from __future__ import annotations

import json
import threading
import tracemalloc
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import zarr
from shapely.geometry import Polygon, box, shape

from wsi_tower.annotations import read_geojson_polygons
from wsi_tower.phantom import PhantomSettings
from wsi_tower.phantom.ordered import in_order
from wsi_tower.phantom.recipe import KINDS
from wsi_tower.phantom.truth import (
    KIND_STEP,
    nuclei_path,
    read_metastasis,
    truth_path,
    write_nuclei,
    write_truth,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.geometry import Level0Box
    from wsi_tower.phantom.scene import Scene

MPP = 0.5
SETTINGS = PhantomSettings(width_um=700, height_um=450, mpp=MPP, tile_px=256, nuclei=True)
"""1400 × 900 px: six by four tiles, the last ones cut."""


@dataclass
class Drawn:
    outline_l0: Polygon
    colour: str = "green"


@dataclass
class Damaged:
    folds: tuple[Drawn, ...] = ()
    blurs: tuple[Drawn, ...] = ()


@dataclass
class Shown:
    """As much of a scene as its truth needs."""

    tissue_l0: list[Polygon]
    tumour_l0: list[Polygon] = field(default_factory=list)
    pen: Drawn | None = None
    damage: Damaged = field(default_factory=Damaged)


TISSUE = Polygon(box(0, 0, 20_000, 10_000).exterior, [box(50, 50, 90, 90).exterior])
MICRO, MACRO = box(100, 100, 700, 100 + 800), box(5_000, 0, 8_200, 2_400)
"""Diagonals of 1000 and 4000 px, which are 0.5 and 2 mm: both still micro."""


def written(path: Path, **shown: Any) -> dict[str, Any]:
    write_truth(path, cast("Scene", Shown([TISSUE], **shown)), MPP)
    truth: dict[str, Any] = json.loads(truth_path(path).read_text())
    return truth


class TestOutlines:
    def test_classes_are_those_of_qupath_each_with_a_colour(self, tmp_path: Path) -> None:
        truth = written(
            tmp_path / "a.svs",
            tumour_l0=[MICRO],
            pen=Drawn(box(0, 0, 9, 9), "red"),
            damage=Damaged((Drawn(box(0, 0, 8, 8)),), (Drawn(box(0, 0, 7, 7)),)),
        )
        assert truth["type"] == "FeatureCollection"
        assert truth["generator"] == "phantom-1"
        properties = [feature["properties"] for feature in truth["features"]]
        assert all(one["objectType"] == "annotation" for one in properties)
        classes = [one["classification"] for one in properties]
        assert [one["name"] for one in classes] == ["Tissue", "Tumor", "Fold", "Blur", "Pen"]
        assert len({tuple(one["color"]) for one in classes}) == 5
        assert properties[-1]["ink"] == "red"

    def test_outlines_keep_their_pixels_holes_and_areas(self, tmp_path: Path) -> None:
        (feature,) = written(tmp_path / "a.svs")["features"]
        assert shape(feature["geometry"]).equals(TISSUE)
        # (20 000 × 10 000 − 40 × 40) px at 0.5 µm/px
        assert feature["properties"]["area_mm2"] == pytest.approx(49.9996)
        ((name, area),) = read_geojson_polygons(truth_path(tmp_path / "a.svs"))
        assert (name, area.equals(TISSUE)) == ("Tissue", True)

    def test_tumour_has_its_kind_and_length_by_micrometres(self, tmp_path: Path) -> None:
        larger = box(5_000, 0, 8_200, 2_401)
        truth = written(tmp_path / "a.svs", tumour_l0=[MICRO, MACRO, larger])
        told = [feature["properties"] for feature in truth["features"][1:]]
        assert [one["metastasis"] for one in told] == ["micro", "micro", "macro"]
        assert [one["longest_um"] for one in told] == [500, 2000, 2000.3]

    @pytest.mark.parametrize(
        ("tumour", "metastasis"),
        [
            ([], "none"),
            ([MICRO, MACRO], "micro"),
            ([box(0, 0, 9_000, 9)], "macro"),
            ([MICRO, box(0, 0, 9_000, 9)], "both"),
        ],
    )
    def test_what_a_slide_has_is_read_from_its_truth(
        self, tmp_path: Path, tumour: list[Polygon], metastasis: str
    ) -> None:
        written(tmp_path / "a.svs", tumour_l0=tumour)
        assert read_metastasis(tmp_path / "a.svs") == metastasis


def nuclei(frame: Level0Box) -> NDArray[np.uint32] | None:
    """Squares of 16 px, each an instance of kind 3; the second row of tiles is empty."""
    if frame.y == 256:
        return None
    x = (frame.x + np.arange(frame.width)) // 16
    y = (frame.y + np.arange(frame.height)) // 16
    return (8 * (1 + x[None, :] + 1000 * y[:, None]) + 3).astype(np.uint32)


class TestNuclei:
    def test_the_store_is_as_large_as_the_slide_with_its_pyramid(self, tmp_path: Path) -> None:
        write_nuclei(tmp_path / "a.svs", SETTINGS, nuclei)
        group = zarr.open_group(nuclei_path(tmp_path / "a.svs"), mode="r")
        finest = np.asarray(cast("zarr.Array[Any]", group["0"])[:])
        assert finest.shape == (900, 1400)
        y, x = 899, 1399
        assert finest[y, x] == 8 * (1 + x // 16 + 1000 * (y // 16)) + 3
        assert not finest[256:512].any()
        assert finest[512:].all()
        for level in (1, 2, 3):
            coarser = np.asarray(cast("zarr.Array[Any]", group[str(level)])[:])
            assert np.array_equal(coarser, finest[:: 2**level, :: 2**level])

    def test_the_kind_can_be_told_from_an_id(self, tmp_path: Path) -> None:
        write_nuclei(tmp_path / "a.svs", SETTINGS, nuclei)
        group = zarr.open_group(nuclei_path(tmp_path / "a.svs"), mode="r")
        told = cast("dict[str, Any]", group.attrs["wsi-tower"])
        assert told["kind of an id"] == "id % 8"
        assert told["kinds"] == list(KINDS)
        assert len(KINDS) <= KIND_STEP
        finest = np.asarray(cast("zarr.Array[Any]", group["0"])[:])
        assert set(np.unique(finest[finest > 0] % 8)) == {3}

    def test_an_old_store_is_replaced_and_removed_where_none_is_asked_for(
        self, tmp_path: Path
    ) -> None:
        slide = tmp_path / "a.svs"
        write_nuclei(slide, SETTINGS, nuclei)
        write_nuclei(slide, SETTINGS, lambda _: None)
        group = zarr.open_group(nuclei_path(slide), mode="r")
        assert not np.asarray(cast("zarr.Array[Any]", group["0"])[:]).any()
        write_nuclei(slide, replace(SETTINGS, nuclei=False), nuclei)
        assert list((tmp_path / "truth").iterdir()) == []

    def test_a_failure_leaves_what_was_there(self, tmp_path: Path) -> None:
        slide = tmp_path / "a.svs"
        write_nuclei(slide, SETTINGS, nuclei)
        before = set(tmp_path.rglob("*"))

        def failing(frame: Level0Box) -> NDArray[np.uint32] | None:
            if frame.y:
                raise MemoryError
            return nuclei(frame)

        with pytest.raises(MemoryError):
            write_nuclei(slide, SETTINGS, failing, threads=2)
        assert set(tmp_path.rglob("*")) == before

    def test_memory_does_not_grow_with_the_slide(self, tmp_path: Path) -> None:
        large = replace(SETTINGS, width_um=1_024, height_um=8_192)
        tracemalloc.start()
        try:
            write_nuclei(tmp_path / "a.svs", large, nuclei)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # 2048 × 16 384 px are 134 MB; 512 rows are 4.2 MB, with those of all levels 8.4 MB.
        assert peak < 40e6


class TestInOrder:
    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_results_come_in_order(self, threads: int) -> None:
        assert list(in_order(lambda n: n * n, range(500), threads)) == [n * n for n in range(500)]

    def test_few_are_made_ahead(self) -> None:
        asked = 0

        def asking() -> Iterator[int]:
            nonlocal asked
            for number in range(10_000):
                asked += 1
                yield number

        made = in_order(lambda n: n, asking(), 2)
        for _ in range(10):
            next(made)
        assert asked <= 10 + 64
        made.close()  # type: ignore[attr-defined]

    def test_several_threads_work_at_once(self) -> None:
        meeting = threading.Barrier(3, timeout=10)
        list(in_order(lambda _: meeting.wait(), range(6), 3))

    @pytest.mark.parametrize("threads", [1, 3])
    def test_an_error_comes_at_its_turn_and_ends_it(self, threads: int) -> None:
        def inverse(number: int) -> float:
            return 1 / (5 - number)

        made = in_order(inverse, range(100_000), threads)
        assert [next(made) for _ in range(5)] == [1 / 5, 1 / 4, 1 / 3, 1 / 2, 1]
        with pytest.raises(ZeroDivisionError):
            next(made)
