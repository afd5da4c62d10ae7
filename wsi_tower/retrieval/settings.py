"""What an index and a search are asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from wsi_tower.errors import SettingsError

__all__ = ["IndexKind", "IndexSettings", "Reduction", "SearchSettings"]

IndexKind: TypeAlias = Literal["flat", "compressed"]
"""``flat`` compares the query with every descriptor; ``compressed`` looks through the nearest of
many lists by short codes, and compares the best of them exactly."""
Reduction: TypeAlias = Literal["none", "pca", "opq"]
"""How long descriptors are shortened before they are coded: principal components, or a learnt
rotation (Ge et al. 2013, doi 10.1109/CVPR.2013.379)."""

_MAX_LISTS = 1 << 20
_MAX_SHARDS = 1024


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How an index is made; what is ``auto`` or 0 is chosen from the number of tiles."""

    kind: IndexKind | Literal["auto"] = "auto"
    """Flat or compressed; ``auto`` by `exact_below`."""
    exact_below: int = 1_000_000
    """Tiles below which ``auto`` takes a flat index: there an exact answer is quick enough."""
    lists: int = 0
    """Inverted lists; 0 takes the power of two next to √N."""
    code_bytes: int = 32
    """Bytes of a tile's code, one for each part of its descriptor."""
    reduction: Reduction | Literal["auto"] = "auto"
    """How descriptors are shortened for their codes; ``auto`` takes ``pca`` where they are longer
    than `coded_length` or cannot be cut into `code_bytes` equal parts."""
    coded_length: int = 128
    """Length of the longest descriptor that is coded as it is, and of those that are shortened."""
    shards: int = 1
    """Parts, by slide, that can be searched by different machines."""
    seed: int = 0
    """Decides which tiles the lists and codes are learnt from."""

    def __post_init__(self) -> None:
        _check_name("kind", self.kind, ("auto", *get_args(IndexKind)))
        _check_name("reduction", self.reduction, ("auto", *get_args(Reduction)))
        _check_range("exact_below", self.exact_below, 0)
        _check_range("lists", self.lists, 0, _MAX_LISTS)
        _check_range("code_bytes", self.code_bytes, 1)
        _check_range("coded_length", self.coded_length, 1)
        _check_range("shards", self.shards, 1, _MAX_SHARDS)


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How thoroughly a compressed index is searched; a flat one is always exact."""

    probes: int = 64
    """Lists that are looked through. More where a filter leaves few of their tiles."""
    candidates: int = 256
    """Tiles, nearest by their codes, whose descriptors are read and compared exactly. At least
    four times as many as hits are asked for."""
    compare_below: int = 20_000
    """Tiles left by a filter up to which all are compared: as quick as looking through codes."""
    threads: int = 1
    """Threads of FAISS. One query at a time gains nothing from more, and a pool of its own beside
    that of torch would only fight for the cores."""

    def __post_init__(self) -> None:
        _check_range("probes", self.probes, 1)
        _check_range("candidates", self.candidates, 1)
        _check_range("compare_below", self.compare_below, 0)
        _check_range("threads", self.threads, 1)


def _check_name(setting: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{setting} must be one of {', '.join(known)}, not {value!r}")


def _check_range(setting: str, value: int, least: int, most: int | None = None) -> None:
    if value < least or (most is not None and value > most):
        limits = f"{least} or more" if most is None else f"from {least} to {most:,}"
        raise SettingsError(f"{setting} must be {limits}, not {value}")
