"""Which slides an index is to hold, where, and what of it is there already."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from wsi_tower.retrieval.choice import chosen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wsi_tower.retrieval.choice import IndexChoice
    from wsi_tower.retrieval.record import IndexedSlide
    from wsi_tower.retrieval.settings import IndexSettings
    from wsi_tower.retrieval.survey import Survey
    from wsi_tower.retrieval.tile_index import TileIndex

__all__ = ["IndexPlan", "tiles_of"]


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What an index is to hold, and what of it is there already."""

    before: TileIndex | None
    """The index that slides are kept from; None: all of it is made."""
    choice: IndexChoice
    """The kind of index."""
    shards: tuple[tuple[IndexedSlide, ...], ...]
    """The slides of every shard in the order of their tiles; those that are kept come first."""
    kept: frozenset[str]
    """Ids of the slides that are kept."""

    @property
    def slides(self) -> tuple[IndexedSlide, ...]:
        """All slides, by id, placed in their shards."""
        slides = (slide for shard in self.shards for slide in shard)
        return tuple(sorted(slides, key=lambda slide: slide.slide_id))

    @property
    def added(self) -> tuple[str, ...]:
        """Slides that go in."""
        return self._others(self.slides)

    @property
    def removed(self) -> tuple[str, ...]:
        """Slides that go out."""
        return self._others(self.before.slides if self.before else ())

    def _others(self, slides: Iterable[IndexedSlide]) -> tuple[str, ...]:
        return tuple(slide.slide_id for slide in slides if slide.slide_id not in self.kept)

    @classmethod
    def of(cls, survey: Survey, settings: IndexSettings, before: TileIndex | None) -> Self:
        """Place the slides: those that are there stay in their shard, others fill the emptiest.

        Raises:
            SettingsError: an index that these tiles cannot have.
        """
        if before is not None and before.record.choice.kind == "compressed":
            choice = before.record.choice  # lists and codes are learnt
        else:
            choice = chosen(settings, survey.tiles, survey.length)
        old = {slide.slide_id: slide for slide in before.slides} if before else {}
        kept = {
            slide.slide_id: old[slide.slide_id]
            for slide in survey.slides
            if slide.slide_id in old and old[slide.slide_id].content_digest == slide.content_digest
        }
        shards: list[list[IndexedSlide]] = [[] for _ in range(settings.shards)]
        found = {slide.slide_id: slide for slide in survey.slides}
        for slide_id, was in sorted(kept.items(), key=lambda item: item[1].first):
            shards[was.shard].append(found.pop(slide_id))
        for slide in found.values():
            min(shards, key=tiles_of).append(slide)
        placed = tuple(_placed(slides, number) for number, slides in enumerate(shards))
        return cls(before, choice, placed, frozenset(kept))


def tiles_of(slides: Iterable[IndexedSlide]) -> int:
    """Tiles of all these slides."""
    return sum(slide.tiles for slide in slides)


def _placed(slides: Sequence[IndexedSlide], shard: int) -> tuple[IndexedSlide, ...]:
    """Slides of a shard, each numbered behind the one before."""
    placed, first = [], 0
    for slide in slides:
        placed.append(replace(slide, shard=shard, first=first))
        first += slide.tiles
    return tuple(placed)
