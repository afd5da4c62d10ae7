"""What ``wsi-tower evaluate`` does once its options are read: open caches, score, tell."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
import numpy as np

from wsi_tower.annotations import TumourClasses, find_annotations
from wsi_tower.cli.evaluate_told import (
    ADDR_HEADS,
    Evaluation,
    addr_cells,
    addr_notes,
    addr_row,
    check_any_match,
    file_notes,
    floor_notes,
    slides_and_tiles,
    stain_notes,
    tumour_cells,
    tumour_heads,
    tumour_row,
    write_csv,
)
from wsi_tower.cli.options import parsed_columns
from wsi_tower.cli.pairs_run import length_um
from wsi_tower.draws import Draws
from wsi_tower.errors import NoSlidesError
from wsi_tower.pairs import PairSettings
from wsi_tower.records import write_bytes_aside
from wsi_tower.report import EmbeddedTiles, scatter_picture
from wsi_tower.scores import (
    AddrSettings,
    BootstrapSettings,
    Choice,
    LabelRules,
    NeighbourSettings,
    RetrievalSettings,
    TumourSettings,
    check_same_tiles,
    evaluate_addr,
    evaluate_tumour,
    floors_of,
    is_floor,
    open_cohort,
    projected,
    tumour_fractions,
)
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from wsi_tower.cli.options import Shared
    from wsi_tower.scores import Cohort, ProjectionMethod

    Fractions = Mapping[str, NDArray[np.float64]]

__all__ = ["Request", "embedded_encoders", "run_addr", "run_retrieval"]

_SHOWN_TILES = 20_000
"""Tiles in a picture at most, so that single ones can be seen."""


@dataclass(frozen=True)
class Request:
    """What both evaluations are asked for."""

    workspaces: tuple[Workspace, ...]
    """Where embeddings lie; the first takes pictures."""
    encoders: tuple[str, ...]
    """Encoders to score."""
    choice: Choice
    """Slides to score them on."""
    floors: bool
    """Whether to score floors, too."""
    bootstrap: BootstrapSettings
    """How intervals are drawn."""
    csv: Path | None
    """Where the table goes."""
    quiet: bool
    """Whether to say nothing on the way."""

    @classmethod
    def parsed(cls, shared: Shared, values: Mapping[str, Any]) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value cannot be right.
            NoSlidesError: no encoder was named, and none has embeddings.
        """
        workspaces = tuple(map(Workspace, shared.workspaces))
        encoders = tuple(dict.fromkeys(values["encoders"])) or tuple(embedded_encoders(workspaces))
        if not encoders:
            raise NoSlidesError(
                f"workspace {workspaces[0].root} has no embeddings; make them with `wsi-tower "
                f"embed -w {workspaces[0].root}`, or choose another workspace with -w"
            )
        return cls(
            workspaces=workspaces,
            encoders=encoders,
            choice=Choice(parsed_columns(values["where"]), values["patient_column"]),
            floors=values["floors"],
            bootstrap=BootstrapSettings(values["resamples"], seed=values["seed"]),
            csv=values["csv"],
            quiet=shared.json,
        )

    def opened(self) -> list[Cohort]:
        """The encoders, known to have seen the same tiles."""
        cohorts = [open_cohort(self.workspaces, name, self.choice) for name in self.encoders]
        check_same_tiles(cohorts)
        return cohorts

    def with_floors(self, cohorts: list[Cohort]) -> list[Cohort]:
        """The encoders, and then what they have to beat; what is missing is made, for hours."""
        if not self.floors:
            return cohorts
        return cohorts + floors_of(cohorts, self.workspaces, self._made)

    def _made(self, floor: str, slide_id: str) -> None:
        if not self.quiet:
            click.echo(f"made floor {floor} of {slide_id}", err=True)


def run_addr(request: Request, values: Mapping[str, Any]) -> Evaluation:
    """Score distances of distant over near pairs.

    Raises:
        WsiTowerError: no embeddings, damaged ones, or nothing to score.
    """
    began = time.perf_counter()
    near, far = (length_um(f"--{name}", values[name]) for name in ("near", "far"))
    settings = AddrSettings(PairSettings(near, far), values["pairs"], values["seed"])
    cohorts = request.with_floors(request.opened())
    scores = evaluate_addr(cohorts, settings, request.bootstrap)
    rows = tuple(map(addr_row, cohorts, scores))
    write_csv(request.csv, rows)
    return Evaluation(
        score="addr",
        headline=(
            f"{slides_and_tiles(cohorts[0])}; near up to {near / 1000:g} mm, distant beyond "
            f"{far / 1000:g} mm, {scores[0].pairs:,} pairs of each kind"
        ),
        settings=asdict(settings) | {"resamples": request.bootstrap.resamples},
        rows=rows,
        table=(ADDR_HEADS, *map(addr_cells, cohorts, scores)),
        notes=(*addr_notes(scores[0]), *stain_notes(cohorts), *floor_notes(cohorts)),
        written=(),
        seconds=round(time.perf_counter() - began, 3),
    )


def run_retrieval(request: Request, values: Mapping[str, Any]) -> Evaluation:
    """Score tumour tiles that find tumour on other patients' slides.

    Raises:
        WsiTowerError: no embeddings, damaged ones, annotations that do not fit, or nothing to find.
    """
    began = time.perf_counter()
    settings = _tumour_settings(values)
    classes = _classes(values)
    cohorts = request.opened()
    files = find_annotations(values["annotations"], [one.slide_id for one in cohorts[0].caches])
    check_any_match(values["annotations"], files, cohorts[0])
    fractions = tumour_fractions(cohorts[0], files, classes)
    cohorts = request.with_floors(cohorts)
    scores = evaluate_tumour(cohorts, fractions, settings, request.bootstrap)
    rows = tuple(map(tumour_row, cohorts, scores))
    pictures = _pictures(request, values, cohorts, fractions)
    write_csv(request.csv, rows)
    found = scores[0].retrieval
    return Evaluation(
        score="retrieval",
        headline=(
            f"{slides_and_tiles(cohorts[0])} of {len(set(cohorts[0].patients))} patients; "
            f"{found.queries:,} queries, {found.tumour_tiles:,} tiles are tumour; first answer is "
            f"tumour by chance: {found.top_1.chance:.1%}"
        ),
        settings=asdict(settings) | {"classes": asdict(classes)},
        rows=rows,
        table=(tumour_heads(settings), *map(tumour_cells, cohorts, scores)),
        notes=(*file_notes(files, cohorts[0]), *stain_notes(cohorts), *floor_notes(cohorts)),
        written=tuple(pictures),
        seconds=round(time.perf_counter() - began, 3),
    )


def embedded_encoders(workspaces: Sequence[Workspace]) -> Iterator[str]:
    """Encoders that have embeddings, floors apart."""
    names = {
        path.parent.name
        for workspace in workspaces
        for path in workspace.embeddings("x").parent.glob("[!.]*/[!.]*.h5")
    }
    yield from (name for name in sorted(names) if not is_floor(name))


def _tumour_settings(values: Mapping[str, Any]) -> TumourSettings:
    rules = LabelRules(values["query_fraction"], values["answer_fraction"])
    return TumourSettings(
        RetrievalSettings(values["top"], rules),
        NeighbourSettings(values["neighbours"], rules=rules, seed=values["seed"]),
    )


def _classes(values: Mapping[str, Any]) -> TumourClasses:
    given = {name: values[name] for name in ("tumour", "cut_out") if values[name]}
    return TumourClasses(**given)


def _pictures(
    request: Request, values: Mapping[str, Any], cohorts: Sequence[Cohort], fractions: Fractions
) -> list[Path]:
    """A picture an encoder, where they were asked for."""
    if values["plot"] is None:
        return []
    home = request.workspaces[0]
    folder = Path(values["plot"]) if values["plot"] else home.reports / "evaluate"
    written = []
    for cohort in cohorts:
        title = f"{cohort.encoder}, {cohort.descriptor}, stain {cohort.stain}"
        tiles = _shown_tiles(cohort, fractions, values["projection"], values["seed"])
        written.append(folder / f"{cohort.encoder}.png")
        write_bytes_aside(written[-1], scatter_picture(tiles, title))
    return written


def _shown_tiles(
    cohort: Cohort, fractions: Fractions, method: ProjectionMethod, seed: int
) -> EmbeddedTiles:
    """Some tiles of all slides, the same for every encoder."""
    luck = Draws(seed, 0, np.arange(cohort.tiles)).uniform("evaluate/shown")
    shown = np.zeros(cohort.tiles, np.bool_)
    shown[np.argsort(luck, kind="stable")[:_SHOWN_TILES]] = True
    parts = np.split(shown, np.cumsum([len(one) for one in cohort.caches])[:-1])
    features = [
        np.asarray(one.features[part], np.float32)
        for one, part in zip(cohort.caches, parts, strict=True)
    ]
    plane = projected(np.concatenate(features), method, seed)
    return EmbeddedTiles(
        points=plane.points,
        axes=plane.axes,
        tumour_fraction=np.concatenate([fractions[one.slide_id] for one in cohort.caches])[shown],
        slides=np.repeat(np.arange(len(parts)), [int(part.sum()) for part in parts]),
        slide_ids=[one.slide_id for one in cohort.caches],
    )
