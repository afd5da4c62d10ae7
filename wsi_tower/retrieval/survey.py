"""The caches that an index is to be made of, looked at before anything is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from wsi_tower.embeddings import open_cache
from wsi_tower.errors import DuplicateSlideError, EncoderError, NoSlidesError
from wsi_tower.retrieval.record import IndexedSlide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from wsi_tower.embeddings import EmbeddingCache

__all__ = ["Survey"]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a set of caches has in common, and their slides."""

    encoder: str
    """Slug of the encoder."""
    encoder_id: str
    """The encoder's full name."""
    encoder_digest: str
    """Digest of the encoder's weights."""
    descriptor: str
    """What describes a tile."""
    length: int
    """D: length of the descriptors."""
    slides: tuple[IndexedSlide, ...]
    """By id, not yet placed in a shard."""

    @property
    def tiles(self) -> int:
        """Tiles of all slides."""
        return sum(slide.tiles for slide in self.slides)

    @classmethod
    def of(
        cls, caches: Sequence[Path], folder: Path, cohort: Mapping[str, Mapping[str, str]]
    ) -> Self:
        """Look at caches.

        Args:
            caches: their files.
            folder: the index to be; caches are named as seen from there.
            cohort: columns by slide id; they come before those that a cache remembers.

        Raises:
            NoSlidesError: no caches.
            DuplicateSlideError: two of one slide.
            EncoderError: of different encoders or descriptors.
            CorruptStoreError: one is damaged.
        """
        if not caches:
            raise NoSlidesError(
                f"nothing to index in {folder}: every slide is left out; leave fewer out"
            )
        slides: dict[str, tuple[IndexedSlide, Path]] = {}
        first: tuple[object, ...] | None = None
        for path in caches:
            cache = open_cache(path)
            first = first or _common(cache)
            _check_same(first, cache)
            other = slides.setdefault(cache.slide_id, (_slide(cache, folder, cohort), path))[1]
            if other is not path:
                raise DuplicateSlideError(
                    f"embedding caches {other} and {path} are both of slide {cache.slide_id}; "
                    f"index one of their workspaces"
                )
        return cls(
            cache.encoder,
            cache.encoder_id,
            cache.header.parents.get("encoder", ""),
            cache.descriptor,
            cache.features.shape[1],
            tuple(slides[slide_id][0] for slide_id in sorted(slides)),
        )


def _common(cache: EmbeddingCache) -> tuple[object, ...]:
    """What caches of one index share: encoder, its weights, descriptor, length."""
    digest = cache.header.parents.get("encoder", "")
    return cache.encoder_id, digest, cache.descriptor, cache.features.shape[1], cache.path


def _check_same(first: tuple[object, ...], cache: EmbeddingCache) -> None:
    names = ("encoder", "encoder's weights", "descriptor", "length of descriptors")
    own = _common(cache)
    for name, one, other in zip(names, first, own, strict=False):
        if one != other:
            raise EncoderError(
                f"embedding caches {first[-1]} and {cache.path} do not belong together: {name} "
                f"{one} and {other}; embed all slides with one encoder (`wsi-tower embed "
                f"--overwrite`)"
            )


def _slide(
    cache: EmbeddingCache, folder: Path, cohort: Mapping[str, Mapping[str, str]]
) -> IndexedSlide:
    slide = cache.slide
    return IndexedSlide(
        slide_id=slide.slide_id,
        tiles=len(cache),
        shard=0,
        first=0,
        cache=os.path.relpath(cache.path.absolute(), folder.absolute()),
        content_digest=cache.content_digest,
        size=slide.size,
        mpp=slide.mpp,
        bounds=slide.bounds,
        footprint_l0=slide.footprint_l0,
        cohort=slide.cohort | dict(cohort.get(slide.slide_id, {})),
    )
