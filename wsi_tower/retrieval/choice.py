"""Which index a cohort gets, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsi_tower.retrieval.settings import IndexKind, IndexSettings, Reduction

__all__ = ["CODE_VALUES", "IndexChoice", "chosen", "kind_for"]

_TILES_PER_LIST = 39
"""Fewer vectors than this a list, and FAISS warns that its k-means has too few to learn from."""
CODE_VALUES = 256
"""Values of a byte: how many means the codes of each part need."""
_ID_BYTES, _POSITION_BYTES = 8, 8


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """The index that settings and number of tiles come to."""

    kind: IndexKind
    """Flat or compressed."""
    length: int
    """D: length of the descriptors."""
    lists: int = 0
    """Inverted lists of a compressed index."""
    code_bytes: int = 0
    """Bytes of a tile's code."""
    reduction: Reduction = "none"
    """How descriptors are shortened for their codes."""
    coded_length: int = 0
    """Length of what is coded."""
    why: tuple[str, ...] = ()
    """The reasons, a sentence each."""

    @property
    def bytes_per_tile(self) -> int:
        """Bytes a tile of code, number and position; slides and lists come on top."""
        codes = _ID_BYTES + self.code_bytes if self.kind == "compressed" else 0
        return codes + _POSITION_BYTES

    @property
    def factory(self) -> str:
        """The compressed index in FAISS's own words: ``PCAR128,IVF4096,PQ32np``.

        Without its polysemous training (``np``), which orders codes for a search that is not used
        here and takes ten times as long as learning them.
        """
        shortened = {
            "none": "",
            "pca": f"PCAR{self.coded_length},",
            "opq": f"OPQ{self.code_bytes}_{self.coded_length},",
        }
        return f"{shortened[self.reduction]}IVF{self.lists},PQ{self.code_bytes}np"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From the index's record."""
        return cls(**{**values, "why": tuple(values["why"])})


def chosen(settings: IndexSettings, tiles: int, length: int) -> IndexChoice:
    """The index for ``tiles`` descriptors of ``length`` values.

    Raises:
        SettingsError: codes that these descriptors cannot have, or more lists than tiles can fill.
    """
    kind, reason = kind_for(settings, tiles)
    if kind == "flat":
        return IndexChoice("flat", length, why=(reason,))
    _check_enough(settings, tiles)
    lists, lists_reason = _lists(settings, tiles)
    reduction, coded, code_bytes, code_reason = _codes(settings, length)
    why = (reason, lists_reason, code_reason)
    return IndexChoice("compressed", length, lists, code_bytes, reduction, coded, why)


def kind_for(settings: IndexSettings, tiles: int) -> tuple[IndexKind, str]:
    """The kind of index for so many tiles, and why."""
    limit = f"{settings.exact_below:,}"
    if settings.kind == "flat" or (settings.kind == "auto" and tiles < settings.exact_below):
        asked = "as asked for" if settings.kind == "flat" else f"fewer than {limit}"
        return "flat", (
            f"flat: {tiles:,} tiles, {asked}; every query is compared with all descriptors, which "
            f"are read from the embedding caches and not copied"
        )
    asked = "as asked for" if settings.kind == "compressed" else f"{limit} or more"
    return "compressed", (
        f"compressed: {tiles:,} tiles, {asked}; a query looks through the nearest lists by codes "
        f"and compares the best tiles exactly, from the embedding caches"
    )


def _check_enough(settings: IndexSettings, tiles: int) -> None:
    needed = max(CODE_VALUES, settings.lists) * _TILES_PER_LIST
    if tiles < needed:
        raise SettingsError(
            f"a compressed index with {settings.lists or 'any number of'} lists is learnt from at "
            f"least {needed:,} tiles, not {tiles:,}; take fewer lists, or a flat index with "
            f"--kind flat"
        )


def _lists(settings: IndexSettings, tiles: int) -> tuple[int, str]:
    if settings.lists:
        return settings.lists, f"{settings.lists:,} lists, as asked for"
    # As many lists to choose from as tiles in each: either takes the time of the other.
    lists = min(2 ** round(math.log2(math.sqrt(tiles))), tiles // _TILES_PER_LIST)
    return lists, f"{lists:,} lists: about as many tiles in each, {tiles // lists:,}"


def _codes(settings: IndexSettings, length: int) -> tuple[Reduction, int, int, str]:
    """How descriptors are shortened, to what length, into how many bytes, and why."""
    parts = min(settings.code_bytes, length, settings.coded_length)
    coded = min(length, settings.coded_length) // parts * parts
    told = f"codes of {parts} bytes"
    if settings.reduction == "none":
        if length % parts:
            raise SettingsError(
                f"descriptors of {length} values cannot be cut into {parts} equal parts; take "
                f"another number of code bytes, or a reduction"
            )
        return "none", length, parts, f"{told} of all {length} values, as asked for"
    if settings.reduction == "auto" and coded == length:
        return "none", length, parts, f"{told}: descriptors of {length} values need no shortening"
    reduction: Reduction = "pca" if settings.reduction == "auto" else settings.reduction
    how = {"pca": "their principal components", "opq": "a learnt rotation"}[reduction]
    return reduction, coded, parts, f"{told}: {length} values are shortened to {coded} by {how}"
