"""What ``wsi-tower pairs`` does once its options are read: stores, pairs, pictures."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.errors import (
    DuplicateSlideError,
    NoSlidesError,
    SettingsError,
)
from wsi_tower.geometry import parse_length_um
from wsi_tower.pairs import PairSampler, PairSettings
from wsi_tower.records import write_bytes_aside
from wsi_tower.report import PairsOfSlide, pairs_picture
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from wsi_tower.cli.options import Shared
    from wsi_tower.pairs import PairKind

__all__ = ["DrawnPairs", "PairsOfStore", "PairsRequest", "PairsSummary", "run_pairs"]

KINDS: tuple[PairKind, ...] = ("near", "distant")


@dataclass(frozen=True)
class PairsRequest:
    """Everything a look at pairs was asked for."""

    workspace: Workspace
    """Where stores are, unless they are named."""
    stores: tuple[Path, ...]
    """Stores that were named; empty: every one of the workspace."""
    settings: PairSettings
    """Which tiles may be paired."""
    pairs: int
    """Pairs of each kind to draw a slide."""
    seed: int
    """What the pairs depend on."""
    plot: Path | None
    """Folder of the pictures; None: no pictures."""

    @classmethod
    def parsed(cls, shared: Shared, **values: Any) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value cannot be right.
        """
        workspace = Workspace(shared.workspace)
        return cls(
            workspace=workspace,
            stores=tuple(map(Path, values["stores"])),
            settings=PairSettings(
                near_um=length_um("--near", values["near"]),
                far_um=length_um("--far", values["far"]),
                cross_slide=values["cross_slide"],
            ),
            pairs=values["pairs"],
            seed=values["seed"],
            plot=_plot_folder(values["plot"], workspace),
        )


@dataclass(frozen=True)
class DrawnPairs:
    """Pairs of one kind that were drawn for one slide's anchors."""

    pairs: int
    """How many."""
    other_slides: int
    """How many of them have their partner on another slide; these have no distance."""
    min_um: float | None
    """Least distance; None where there is none."""
    median_um: float | None
    """Median distance."""
    max_um: float | None
    """Largest distance."""


@dataclass(frozen=True)
class PairsOfStore:
    """What one store has and gave."""

    slide_id: str
    """Id of its slide."""
    store: str
    """Its folder."""
    tiles: int
    """Its tiles."""
    with_partner: dict[PairKind, int]
    """Tiles that have a partner of each kind."""
    left_out: int
    """Tiles without a near or without a distant one."""
    drawn: dict[PairKind, DrawnPairs]
    """The pairs that were drawn."""
    picture: Path | None
    """The picture of them."""


@dataclass(frozen=True)
class PairsSummary:
    """What a look at pairs gave."""

    settings: PairSettings
    """Which tiles may be paired."""
    seed: int
    """What the pairs depend on."""
    seconds: float
    """How long it took, start-up of the process not counted."""
    rows: tuple[PairsOfStore, ...]
    """A row a store."""

    @property
    def notes(self) -> Iterator[str]:
        """What a user should know before training on these pairs."""
        limits: dict[PairKind, tuple[str, str]] = {
            "near": (f"within {self.settings.near_um:g} µm", "larger --near"),
            "distant": (f"beyond {self.settings.far_um:g} µm", "smaller --far"),
        }
        for kind, (where, remedy) in limits.items():
            if not any(row.with_partner[kind] for row in self.rows):
                yield (
                    f"no tile has a {kind} partner, since none has another tile of its slide "
                    f"{where}; take a {remedy}"
                )

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return asdict(self.settings) | {
            "seed": self.seed,
            "seconds": self.seconds,
            "slides": [
                asdict(row) | {"picture": row.picture and str(row.picture.absolute())}
                for row in self.rows
            ],
        }


def run_pairs(request: PairsRequest) -> PairsSummary:
    """Read the stores, learn which tiles have partners, draw some pairs and their pictures.

    Raises:
        WsiTowerError: no stores, a damaged one, or limits that no pair can keep.
    """
    began = time.perf_counter()
    with ExitStack() as opened:
        stores = [opened.enter_context(TileStore.open(path)) for path in _store_paths(request)]
        _check_different_slides(stores)
        centres_um = [store.centre_um for store in stores]
        sampler = PairSampler(centres_um, request.settings)
        if request.plot == request.workspace.reports / "pairs":
            request.workspace.prepared()
        all_um = np.concatenate(centres_um)
        rows = tuple(
            _row(request, sampler, slide, store, all_um) for slide, store in enumerate(stores)
        )
    seconds = round(time.perf_counter() - began, 3)
    return PairsSummary(request.settings, request.seed, seconds, rows)


def _row(
    request: PairsRequest,
    sampler: PairSampler,
    slide: int,
    store: TileStore,
    centres_um: NDArray[np.float64],
) -> PairsOfStore:
    own = slice(*sampler.slide_firsts[slide : slide + 2])
    has = {kind: sampler.has_partner(kind)[own] for kind in KINDS}
    left_out = int((~(has["near"] & has["distant"])).sum())
    ends, drawn = {}, {}
    for kind in KINDS:
        anchors, partners = _some_pairs(request, sampler, slide, kind)
        distances_um = sampler.distances_um(anchors, partners)
        on_slide = np.isfinite(distances_um)
        ends[kind] = centres_um[np.stack([anchors, partners], axis=1)[on_slide]]
        drawn[kind] = _told(distances_um[on_slide], len(anchors))
    slide_id = store.slide.slide_id
    picture = None if request.plot is None else request.plot / f"{slide_id}.png"
    if picture is not None:
        elsewhere = drawn["distant"].other_slides
        told = PairsOfSlide(slide_id, len(store), left_out, ends, elsewhere)
        image = pairs_picture(store.thumbnail, store.slide.mpp, told, request.settings)
        write_bytes_aside(picture, image)
    with_partner = {kind: int(has[kind].sum()) for kind in KINDS}
    return PairsOfStore(
        slide_id, str(store.path), len(store), with_partner, left_out, drawn, picture
    )


def _some_pairs(
    request: PairsRequest, sampler: PairSampler, slide: int, kind: PairKind
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs whose anchors are drawn from one slide's; none where it has no anchors."""
    first, stop = sampler.slide_firsts[slide : slide + 2]
    own = first + np.flatnonzero(sampler.has_partner(kind)[first:stop])
    draws = Draws(request.seed, slide, np.arange(request.pairs if len(own) else 0))
    anchors = own[draws.below(f"anchors/{kind}", np.full(len(draws), len(own)))]
    return anchors, sampler.partners(kind, anchors, draws)


def _told(distances_um: NDArray[np.float64], pairs: int) -> DrawnPairs:
    least, median, largest = (
        (float(of(distances_um)) for of in (np.min, np.median, np.max))
        if len(distances_um)
        else (None, None, None)
    )
    return DrawnPairs(pairs, pairs - len(distances_um), least, median, largest)


def _store_paths(request: PairsRequest) -> list[Path]:
    for path in request.stores:
        if not path.exists():
            raise NoSlidesError(
                f"store {path} does not exist; name one that `wsi-tower tile` made, as in "
                f"{request.workspace.tile_store('a')}"
            )
    if request.stores:
        return list({path.resolve(): path for path in request.stores}.values())
    return request.workspace.tile_stores()


def _check_different_slides(stores: Sequence[TileStore]) -> None:
    seen: dict[str, TileStore] = {}
    for store in stores:
        other = seen.setdefault(store.slide.slide_id, store)
        if other is not store:
            raise DuplicateSlideError(
                f"stores {other.path} and {store.path} are both of slide {store.slide.slide_id}; "
                f"name one of them"
            )


def length_um(option: str, text: str) -> float:
    try:
        return parse_length_um(text)
    except SettingsError as error:
        raise SettingsError(f"{option}: {error}") from error


def _plot_folder(value: str | None, workspace: Workspace) -> Path | None:
    if value is None:
        return None
    if not value:
        return workspace.reports / "pairs"
    if Path(value, "zarr.json").exists():
        raise SettingsError(
            f"--plot {value} is a store, not a folder for pictures; name stores before --plot, or "
            f"write --plot=FOLDER"
        )
    return Path(value)
