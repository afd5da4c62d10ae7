"""Pictures of what was asked and found, read from tile stores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_tower.report import QueryPanel, query_picture
from wsi_tower.retrieval import Hit, slide_cache
from wsi_tower.slides import open_slide
from wsi_tower.tiles import TileStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wsi_tower.retrieval import Answer, TileIndex
    from wsi_tower.workspace import Workspace

__all__ = ["query_pictures"]

_PICTURE_PX = 1024


def query_pictures(answer: Answer, index: TileIndex, workspace: Workspace) -> bytes:
    """The query beside its hits, as a PNG file.

    Args:
        answer: what was asked and found.
        index: that was asked.
        workspace: has embeddings of slides that are asked about and not indexed.

    Raises:
        CorruptStoreError: a tile store is missing or damaged.
        SlideError: a store has no pixels and its slide cannot be read.
    """
    pictures = _Pictures(index, workspace)
    query = answer.query
    return query_picture(
        _title(query),
        pictures.asked(query),
        [
            pictures.tile(hit.slide, hit.row, _lines_of(rank, hit))
            if isinstance(hit, Hit)
            else pictures.slide(hit.slide, _lines(rank, hit.slide, hit.distance, (), hit.cohort))
            for rank, hit in enumerate(answer.hits, start=1)
        ],
        like=pictures.tiles(query.get("like", ())),
        unlike=pictures.tiles(query.get("unlike", ())),
    )


@dataclass(frozen=True)
class _Pictures:
    """Reads panels."""

    index: TileIndex
    workspace: Workspace

    def asked(self, query: Mapping[str, Any]) -> list[QueryPanel]:
        """What the query is made of."""
        kind = query["kind"]
        if kind == "image":
            return [self.picture(query)]
        if kind == "slide":
            return [self.slide(query["slide"], (query["slide"],))]
        if kind == "tile":
            return self.tiles([query])
        if kind == "examples":
            return self.tiles(query["like"])
        rows = query["rows"]
        told = (query["slide"], f"region of {len(rows)} tiles")
        return [self.tile(query["slide"], row, told) for row in rows]

    def tiles(self, told: Iterable[Mapping[str, Any]]) -> list[QueryPanel]:
        """Tiles of a question."""
        return [
            self.tile(
                one["slide"],
                one["row"],
                (one["slide"], f"row {one['row']} at {_millimetres(one['centre_um'])}"),
            )
            for one in told
        ]

    def tile(self, slide_id: str, row: int, lines: tuple[str, ...]) -> QueryPanel:
        """A tile."""
        with TileStore.open(self._store(slide_id)) as store:
            side_um = store.plan.footprint_l0 * store.slide.mpp.mean
            return QueryPanel(store.pixels[row], lines, side_um)

    def slide(self, slide_id: str, lines: tuple[str, ...]) -> QueryPanel:
        """A whole slide, whose size is no matter."""
        with TileStore.open(self._store(slide_id)) as store:
            return QueryPanel(store.thumbnail.rgb, lines)

    def picture(self, query: Mapping[str, Any]) -> QueryPanel:
        """A picture of no known slide."""
        with open_slide(query["image"], mpp_um=query["mpp"]) as slide:
            seen, size = slide.thumbnail(_PICTURE_PX), slide.info.size
            lines = (slide.info.name, f"{query['tiles']} tiles at {query['mpp']:g} µm/px")
            return QueryPanel(seen.rgb, lines, max(size.width, size.height) * query["mpp"])

    def _store(self, slide_id: str) -> Path:
        folder = self.workspace.embeddings(self.index.record.encoder)
        cache = slide_cache(self.index, slide_id, folder)
        return cache.workspace / cache.slide.tile_store


def _title(query: Mapping[str, Any]) -> str:
    where = {
        "tile": "a tile of slide {slide}",
        "region": "a region of slide {slide}",
        "image": "image {name}",
        "examples": "some tiles",
        "slide": "slide {slide}",
    }[query["kind"]].format(**query, name=Path(query.get("image", "")).name)
    return f"What looks like {where}"


def _lines_of(rank: int, hit: Hit) -> tuple[str, ...]:
    return _lines(rank, hit.slide, hit.distance, (_millimetres(hit.centre_um),), hit.cohort)


def _lines(
    rank: int,
    slide_id: str,
    distance: float,
    place: tuple[str, ...],
    cohort: Mapping[str, str],
) -> tuple[str, ...]:
    columns = ", ".join(value for value in cohort.values() if value)
    told = " at ".join([f"distance {distance:.3g}", *place])
    return (f"{rank}  {slide_id}", told, columns)


def _millimetres(centre_um: Iterable[float]) -> str:
    return ", ".join(f"{value / 1000:.2f}" for value in centre_um) + " mm"
