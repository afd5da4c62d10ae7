"""From what people ask to a `Question`: tiles, regions, pictures, examples, whole slides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from wsi_tower.errors import SettingsError
from wsi_tower.geometry import parse_length_um
from wsi_tower.retrieval.asking import AskedTile, Question, refined, region_rows, slide_cache
from wsi_tower.retrieval.pictures import embedder_like, picture_tiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.embeddings import EmbeddingCache
    from wsi_tower.retrieval.tile_index import TileIndex
    from wsi_tower.workspace import Workspace

__all__ = ["Asking", "Level", "Place", "parsed_example", "parsed_position_um", "question_of"]

Level: TypeAlias = Literal["tile", "slide"]
Place: TypeAlias = "int | tuple[float, float]"
"""A tile of a slide: its row, or a position in micrometres from the slide's origin."""
_MOST_TILES = 64
"""Tiles of a region or picture that are searched for."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked, as it was typed."""

    level: Level = "tile"
    """Whether tiles or slides answer."""
    slide: str | None = None
    """Slide that is asked about."""
    place: Place | None = None
    """Tile of it."""
    region: Path | None = None
    """GeoJSON file with polygons on it."""
    image: Path | None = None
    """Picture of no known slide."""
    image_mpp: float | None = None
    """Its micrometres per pixel; None: as the file says."""
    encoder_file: str = ""
    """``FILE.py:FUNCTION`` that the encoder of the index came from, to embed the picture."""
    like: tuple[tuple[str, Place], ...] = ()
    """Tiles that answers should look like, by slide."""
    unlike: tuple[tuple[str, Place], ...] = ()
    """Tiles that answers should not look like."""

    def __post_init__(self) -> None:
        if self.level not in get_args(Level):
            raise SettingsError(f"level must be tile or slide, not {self.level!r}")
        if self.level == "slide":
            self._check_slide_level()
            return
        asked = [self.place is not None, self.region is not None, self.image is not None]
        if sum(asked) > 1 or (not any(asked) and not self.like):
            raise SettingsError(
                "a query takes one of --slide with --row, --at or --region, --image, or examples "
                "with --like; give one, and --like and --unlike to refine it"
            )
        if (self.slide is None) == (self.place is not None or self.region is not None):
            raise SettingsError(
                "--row, --at and --region are places on a slide, and --slide needs one of them; "
                "give both, or --level slide to ask for similar slides"
            )
        if self.image_mpp is not None and self.image is None:
            raise SettingsError(f"--mpp {self.image_mpp:g} is of an image; give one with --image")

    def _check_slide_level(self) -> None:
        others = (self.place, self.region, self.image, self.image_mpp)
        if self.slide is None or any(one is not None for one in others) or self.like or self.unlike:
            raise SettingsError(
                "--level slide takes --slide and nothing else to ask for; leave the rest out"
            )


def parsed_position_um(text: str) -> tuple[float, float]:
    """A position such as ``12.3mm,4.5mm`` in micrometres from the slide's origin.

    Raises:
        SettingsError: not two lengths.
    """
    x, is_pair, y = text.partition(",")
    if not is_pair:
        raise SettingsError(f"position {text!r} is not X,Y with units, as in 12.3mm,4.5mm")
    return parse_length_um(x), parse_length_um(y)


def parsed_example(text: str) -> tuple[str, Place]:
    """A tile as it is typed: ``SLIDE:ROW`` or ``SLIDE:12.3mm,4.5mm``.

    Raises:
        SettingsError: neither.
    """
    slide, is_pair, place = text.rpartition(":")
    if not is_pair or not slide:
        raise SettingsError(f"example {text!r} is no SLIDE:ROW or SLIDE:12.3mm,4.5mm")
    return slide, int(place) if place.isdecimal() else parsed_position_um(place)


def question_of(asking: Asking, index: TileIndex, workspace: Workspace) -> Question:
    """The question in the descriptors of an index.

    Args:
        asking: what is asked.
        index: to be searched.
        workspace: has caches of slides that are not indexed, and the encoder for pictures.

    Raises:
        InputError: a slide, row or position that is not there, a region without tiles, or a
            picture smaller than a tile.
        EncoderError: the encoder is not there, or is another than the index's by now.
        AnnotationError: the region's file cannot be read.
        SlideError: the picture cannot be read.
        CorruptStoreError: a cache is damaged, or changed after it was indexed.
    """
    return _Reading(asking, index, workspace).question()


class _Tiles(NamedTuple):
    """Tiles of slides, with their descriptors."""

    tiles: tuple[AskedTile, ...]
    caches: tuple[EmbeddingCache, ...]
    vectors: NDArray[np.float32]

    @property
    def slides(self) -> dict[str, dict[str, str]]:
        """Their slides, with the cohort's columns as the caches remember them."""
        return {cache.slide_id: cache.slide.cohort for cache in self.caches}

    def told(self) -> list[dict[str, Any]]:
        """In plain values."""
        return [
            {
                "slide": tile.slide_id,
                "row": tile.row,
                "xy_l0": cache.coords_l0[tile.row].tolist(),
                "centre_um": cache.centre_um[tile.row].tolist(),
            }
            for tile, cache in zip(self.tiles, self.caches, strict=True)
        ]


@dataclass(frozen=True)
class _Reading:
    """Reads the descriptors of a question."""

    asking: Asking
    index: TileIndex
    workspace: Workspace

    def question(self) -> Question:
        asking = self.asking
        if asking.level == "slide":
            return self._of_slide()
        like, unlike = self._examples(asking.like), self._examples(asking.unlike)
        subject, told = self._subject(like)
        told |= {"like": like.told(), "unlike": unlike.told()}
        if subject is like:
            vectors = refined(like.vectors.mean(axis=0, keepdims=True), unlike=unlike.vectors)
        else:
            vectors = refined(subject.vectors, like.vectors, unlike.vectors)
        tiles = dict.fromkeys((*subject.tiles, *like.tiles, *unlike.tiles))
        return Question(vectors, told, tuple(tiles), self._cohort(subject.slides))

    def _subject(self, like: _Tiles) -> tuple[_Tiles, dict[str, Any]]:
        """What answers should resemble first, and in plain values; ``like`` where that is all."""
        asking = self.asking
        if asking.image is not None:
            vectors, mpp = self._of_picture(asking.image)
            told = {"kind": "image", "image": str(asking.image), "mpp": mpp, "tiles": len(vectors)}
            return _Tiles((), (), vectors), told
        if asking.slide is None:
            return like, {"kind": "examples"}
        cache = self._cache(asking.slide)
        if asking.region is not None:
            rows = region_rows(cache, asking.region, _MOST_TILES)
            tiles = [AskedTile(cache.slide_id, row) for row in rows.tolist()]
            subject = self._tiles([(cache, tile) for tile in tiles])
            told = {"kind": "region", "slide": cache.slide_id, "region": str(asking.region)}
            return subject, told | {"rows": rows.tolist()}
        assert asking.place is not None
        subject = self._tiles([(cache, AskedTile.at(cache, asking.place))])
        return subject, {"kind": "tile", **subject.told()[0]}

    def _of_slide(self) -> Question:
        assert self.asking.slide is not None
        cache = self._cache(self.asking.slide)
        told = {"kind": "slide", "slide": cache.slide_id}
        slides = self._cohort({cache.slide_id: cache.slide.cohort})
        return Question(cache.slide_descriptor[None], told, (), slides)

    def _of_picture(self, path: Path) -> tuple[NDArray[np.float32], float]:
        """Descriptors of a picture's tiles, and its micrometres per pixel."""
        like = self.index.cache(0)
        tiles, mpp = picture_tiles(path, self.asking.image_mpp, like.slide, _MOST_TILES)
        embedder = embedder_like(like, self.workspace, self.asking.encoder_file)
        return embedder.of_pictures(tiles, like.slide.tile_mpp), mpp

    def _examples(self, asked: tuple[tuple[str, Place], ...]) -> _Tiles:
        caches = [(self._cache(slide), place) for slide, place in asked]
        return self._tiles([(cache, AskedTile.at(cache, place)) for cache, place in caches])

    def _tiles(self, found: Sequence[tuple[EmbeddingCache, AskedTile]]) -> _Tiles:
        vectors = np.empty((len(found), self.index.record.choice.length), np.float32)
        for place, (cache, tile) in enumerate(found):
            vectors[place] = cache.features[tile.row]
        caches, tiles = zip(*found, strict=True) if found else ((), ())
        return _Tiles(tiles, caches, vectors)

    def _cache(self, slide_id: str) -> EmbeddingCache:
        folder = self.workspace.embeddings(self.index.record.encoder)
        return slide_cache(self.index, slide_id, folder)

    def _cohort(self, slides: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
        """Slides with the columns that the index has of them; else those of their caches."""
        known = {slide.slide_id: slide.cohort for slide in self.index.slides}
        return {slide_id: known.get(slide_id, columns) for slide_id, columns in slides.items()}
