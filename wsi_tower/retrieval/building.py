"""Make an index, bring it up to date, verify it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from wsi_tower.batch import unwatched
from wsi_tower.errors import OtherSettingsError
from wsi_tower.records import Header, digest, folder_aside, plain
from wsi_tower.retrieval.choice import kind_for
from wsi_tower.retrieval.planning import IndexPlan
from wsi_tower.retrieval.record import FORMAT_VERSION, KIND, IndexRecord, damaged
from wsi_tower.retrieval.settings import IndexSettings
from wsi_tower.retrieval.survey import Survey
from wsi_tower.retrieval.tile_index import TileIndex
from wsi_tower.retrieval.writing import IndexWriter, file_digests, write_record

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from pathlib import Path

    from wsi_tower.retrieval.writing import IndexProgress
    from wsi_tower.workspace import Workspace

__all__ = ["IndexChange", "build_index", "verify_index"]

_OUTGROWN = 4


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What making an index came to."""

    record: IndexRecord
    """The index as it is now."""
    status: Literal["made", "updated", "unchanged"]
    """Whether all of it was made, slides or their columns changed, or nothing was to do."""
    added: tuple[str, ...] = ()
    """Slides that went in."""
    removed: tuple[str, ...] = ()
    """Slides that went out; one whose cache changed goes out and in."""

    @property
    def has_outgrown(self) -> bool:
        """Whether lists and codes were learnt from far fewer tiles than there are by now."""
        learnt_from = self.record.tiles_learnt_from
        return 0 < _OUTGROWN * learnt_from < self.record.tiles


def build_index(
    workspaces: Sequence[Workspace],
    encoder: str,
    settings: IndexSettings | None = None,
    *,
    without: Container[str] = (),
    overwrite: bool = False,
    progress: IndexProgress = unwatched,
) -> IndexChange:
    """Make the index of an encoder's embeddings, or bring the one that is there up to date.

    Slides are added and taken out without learning lists and codes anew. Complete or absent:
    written aside, then renamed.

    Args:
        workspaces: whose embeddings are indexed; the first takes the index.
        encoder: slug of the encoder: the folder of its embeddings.
        settings: how to make it; None: as it suits the number of tiles.
        without: ids of slides to leave out.
        overwrite: whether to make all of it anew.
        progress: told what is being done.

    Raises:
        NoSlidesError: a workspace has no embeddings of the encoder, or every slide is left out.
        DuplicateSlideError: two workspaces have a slide of one id.
        EncoderError: embeddings by different encoders.
        SettingsError: an index that these tiles cannot have.
        OtherSettingsError: the index that is there was made with other settings.
        StoreBusyError: another process is at it.
        CorruptStoreError: a cache, or the index that is there, is damaged.
        StorageError: the disk refused.
    """
    settings = settings or IndexSettings()
    home = workspaces[0]
    folder = home.index(encoder)
    paths = [path for one in workspaces for path in one.embedding_caches(encoder)]
    cohort = {name: row for one in reversed(workspaces) for name, row in one.cohort().items()}
    with home.owned(folder, wait=False) as alone:
        survey = Survey.of([path for path in paths if path.stem not in without], folder, cohort)
        before = None if overwrite else _kept_index(folder, survey, settings)
        plan = IndexPlan.of(survey, settings, before)
        if before is not None and before.slides == plan.slides:
            return IndexChange(before.record, "unchanged")
        with folder_aside(folder, alone=alone) as aside:
            IndexWriter(aside, folder, plan, progress).write(settings.seed)
            record = _record(survey, settings, plan, file_digests(aside))
            write_record(aside, record)
    status: Literal["made", "updated"] = "made" if before is None else "updated"
    return IndexChange(record, status, plan.added, plan.removed)


def verify_index(index: TileIndex, progress: IndexProgress = unwatched) -> None:
    """Read everything that answers come from, and compare it with what was recorded.

    Args:
        index: to verify.
        progress: told what is being done.

    Raises:
        CorruptStoreError: a file or cache is damaged, or a cache changed after it was indexed.
    """
    record = index.record
    found = file_digests(index.path)
    for name in sorted(record.file_digests.keys() | found.keys()):
        if record.file_digests.get(name) != found.get(name):
            raise damaged(index.path, f"its {name} is not what was written")
    if digest(found) != record.header.content_digest:
        raise damaged(index.path, "its content digest is not that of its files")
    for shard in index.shards if record.choice.kind == "compressed" else ():
        numbers = np.sort(shard.codes.numbers())
        if not np.array_equal(numbers, np.arange(shard.starts[-1])):
            raise damaged(index.path, f"{shard.folder.name} does not hold every tile once")
    done = 0
    for number, slide in enumerate(index.slides):
        progress("verifying caches", done, record.tiles)
        index.cache(number).verify()
        done += slide.tiles


def _kept_index(folder: Path, survey: Survey, settings: IndexSettings) -> TileIndex | None:
    """The index that is there, where slides can be added to it; None where it is made anew.

    Lists and codes are of no use to the descriptors of another encoder.
    """
    if not folder.exists():
        return None
    index = TileIndex.open(folder)
    record = index.record
    _check_settings(folder, record, settings)
    kind, _ = kind_for(settings, survey.tiles)
    was = record.header.parents["encoder"], record.descriptor, record.choice.length
    is_same = was == (survey.encoder_digest, survey.descriptor, survey.length)
    return index if is_same and record.choice.kind == kind else None


def _check_settings(folder: Path, record: IndexRecord, settings: IndexSettings) -> None:
    asked = replace(record.header, settings=plain(settings))
    if asked.settings != record.header.settings:
        raise OtherSettingsError(
            f"index {folder} was made with other settings "
            f"({record.header.told_differences(asked)}); give the same ones, or make it anew with "
            f"--overwrite"
        )


def _record(
    survey: Survey, settings: IndexSettings, plan: IndexPlan, digests: dict[str, str]
) -> IndexRecord:
    caches = digest({slide.slide_id: slide.content_digest for slide in plan.slides})
    parents = {"encoder": survey.encoder_digest, "embeddings": caches}
    learnt_from = 0
    if plan.choice.kind == "compressed":
        learnt_from = plan.before.record.tiles_learnt_from if plan.before else survey.tiles
    return IndexRecord(
        header=Header(KIND, FORMAT_VERSION, plain(settings), parents).completed(digest(digests)),
        encoder=survey.encoder,
        encoder_id=survey.encoder_id,
        descriptor=survey.descriptor,
        choice=plan.choice,
        tiles_learnt_from=learnt_from,
        slides=plan.slides,
        file_digests=digests,
    )
