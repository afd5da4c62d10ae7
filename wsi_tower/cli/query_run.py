"""What ``wsi-tower query`` does once its options are read: ask, answer, draw."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wsi_tower.batch import BatchSettings
from wsi_tower.cli.index_run import only_folder
from wsi_tower.cli.options import parsed_filters
from wsi_tower.cli.query_pictures import query_pictures
from wsi_tower.errors import NoSlidesError, SettingsError
from wsi_tower.records import write_bytes_aside, write_text_aside
from wsi_tower.retrieval import (
    Asking,
    QuerySettings,
    SearchSettings,
    TileIndex,
    answer,
    answer_slides,
    hits_csv,
    hits_geojson,
    parsed_example,
    parsed_position_um,
    question_of,
    search_elsewhere,
)
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from wsi_tower.cli.options import Shared
    from wsi_tower.retrieval import Answer

__all__ = [
    "QueryRequest",
    "QuerySummary",
    "asked_name",
    "opened_index",
    "parsed_asking",
    "run_query",
]


@dataclass(frozen=True)
class QueryRequest:
    """Everything a query was asked for."""

    workspace: Workspace
    """Has index and embeddings."""
    encoder: str
    """Folder of the index; empty: the only one."""
    asking: Asking
    """What is asked."""
    settings: QuerySettings
    """Who may answer."""
    search: SearchSettings
    """How thoroughly a compressed index is searched."""
    batch: BatchSettings
    """Where its shards are searched."""
    out: Path | None
    """Folder of what is written; None: nothing is."""

    @classmethod
    def parsed(cls, shared: Shared, **values: Any) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value cannot be right, or options contradict each other.
        """
        workspace = Workspace(shared.workspace.absolute())
        asking = parsed_asking(values)
        out = values["out"]
        return cls(
            workspace=workspace,
            encoder=values["encoder"],
            asking=asking,
            settings=QuerySettings(
                where=parsed_filters(values["where"]),
                **{name: values[name] for name in _SETTINGS},
            ),
            search=SearchSettings(probes=values["probes"], candidates=values["candidates"]),
            batch=BatchSettings(values["workers"], values["scheduler"]),
            out=None
            if out is None
            else Path(out)
            if out
            else workspace.reports / f"query-{asked_name(asking)}",
        )


@dataclass(frozen=True)
class QuerySummary:
    """What a query gave."""

    answer: Answer
    """The hits."""
    files: tuple[Path, ...]
    """What was written, the picture last."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return self.answer.to_json() | {"files": [str(path.absolute()) for path in self.files]}


_SETTINGS = ("hits", "per_slide", "own_slide", "own_patient", "patient_column")


def run_query(request: QueryRequest) -> QuerySummary:
    """Ask an index, and write the answer where that was asked for.

    Raises:
        WsiTowerError: see `question_of` and `answer`.
    """
    index = opened_index(request.workspace, request.encoder)
    question = question_of(request.asking, index, request.workspace)
    if request.asking.level == "slide":
        found = answer_slides(index, question, request.settings)
    else:
        is_here = request.batch.scheduler is None and request.batch.workers == 1
        search = None if is_here else search_elsewhere(request.batch)
        found = answer(index, question, request.settings, request.search, search)
    if request.out is None:
        return QuerySummary(found, ())
    files = {
        "hits.json": json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n",
        "hits.csv": hits_csv(found),
    }
    for slide_id, text in hits_geojson(found, index).items():
        files[f"geojson/{slide_id}.geojson"] = text
    for name, text in files.items():
        write_text_aside(request.out / name, text)
    picture = query_pictures(found, index, request.workspace)
    write_bytes_aside(request.out / "hits.png", picture)
    return QuerySummary(found, tuple(request.out / name for name in (*files, "hits.png")))


def opened_index(workspace: Workspace, encoder: str) -> TileIndex:
    """The index of an encoder, or the only one of a workspace.

    Raises:
        NoSlidesError: there is none.
        SettingsError: there are several, and no encoder is named.
        CorruptStoreError: it is damaged, or of another format version.
    """
    folder = workspace.index(encoder or only_folder(workspace.root / "index", "wsi-tower index"))
    if not folder.is_dir():
        found = sorted(path.name for path in folder.parent.glob("[!.]*"))
        others = f"only of {', '.join(found)}" if found else "nor of any other"
        raise NoSlidesError(
            f"workspace {workspace.root} has no index of encoder {encoder}, {others}; make it with "
            f"`wsi-tower index --encoder {encoder}`"
        )
    return TileIndex.open(folder)


def parsed_asking(values: dict[str, Any]) -> Asking:
    """What is asked, from the command's options.

    Raises:
        SettingsError: a value cannot be right, or options contradict each other.
    """
    row, at = values["row"], values["at"]
    if row is not None and at is not None:
        raise SettingsError(f"--row {row} and --at {at} both name a tile; give one")
    return Asking(
        level=values.get("level", "tile"),
        slide=values["slide"],
        place=row if at is None else parsed_position_um(at),
        region=values["region"],
        image=values["image"],
        image_mpp=values["mpp"],
        encoder_file=values["encoder_file"],
        like=tuple(map(parsed_example, values["like"])),
        unlike=tuple(map(parsed_example, values["unlike"])),
    )


def asked_name(asking: Asking) -> str:
    """What is asked as part of a folder's name."""
    place = None if asking.place is None else str(asking.place)
    if isinstance(asking.place, tuple):
        place = "-".join(f"{value:.0f}um" for value in asking.place)
    subject = asking.slide or (asking.image.stem if asking.image else "examples")
    region = asking.region.stem if asking.region else None
    level = "slides" if asking.level == "slide" else None
    parts = [part for part in (subject, place, region, level) if part is not None]
    return re.sub(r"[^\w.-]+", "-", "-".join(parts))
