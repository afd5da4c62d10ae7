"""From a slide to its tile store: the one verb of this room."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_tower.batch import Outcome, unwatched
from wsi_tower.errors import (
    EmptySlideError,
    MaskError,
    OtherSettingsError,
)
from wsi_tower.memory import peak_mb
from wsi_tower.records import Header, bytes_digest, folder_aside, plain, remove_folder
from wsi_tower.slides import MASK_SUFFIXES, fingerprint, is_url, open_slide, shown_source
from wsi_tower.tiles.choosing import chosen_columns
from wsi_tower.tiles.native import chosen_pixel_mode, chosen_subsampling, tile_side_px
from wsi_tower.tiles.plan import plan_tiles
from wsi_tower.tiles.settings import TileSettings
from wsi_tower.tiles.store import FORMAT_VERSION, KIND, SlideRecord, TileStore
from wsi_tower.tiles.writer import StoreContents, write_store
from wsi_tower.tissue import METHOD, TissueSettings, find_tissue, given_mask

if TYPE_CHECKING:
    from wsi_tower.batch import Progress
    from wsi_tower.slides import Overview, ReaderName, Slide, SlideEntry
    from wsi_tower.tissue import TissueMask
    from wsi_tower.workspace import Workspace

__all__ = ["TileJob", "slide_tissue", "tile_slide"]

_MAX_MASK_PIXELS = 32_000_000
"""Bounds memory on a tray of glass, or where the pixel size is wrong."""


@dataclass(frozen=True, slots=True)
class TileJob:
    """A slide to tile, and how."""

    entry: SlideEntry
    """The slide."""
    workspace: Workspace
    """Where its store goes."""
    tiles: TileSettings = field(default_factory=TileSettings)
    """Grid, filters and pixels."""
    tissue: TissueSettings = field(default_factory=TissueSettings)
    """How tissue is found."""
    reader: ReaderName = "auto"
    """Who reads the slide."""
    overwrite: bool = False
    """Whether what is there is made again, whatever it is."""
    threads: int = 1
    """Threads that read and encode its tiles."""

    @property
    def slide_id(self) -> str:
        """Its id in the workspace."""
        return self.entry.slide_id

    @property
    def source(self) -> str:
        """Path or URL of the slide as it may be shown: without the secrets of a signed URL."""
        return shown_source(self.entry.source)

    @property
    def settings(self) -> TileSettings:
        """Settings for this slide: the list's target resolution wins."""
        target = self.entry.target_mpp
        return self.tiles if target is None else replace(self.tiles, mpp=target)


def tile_slide(job: TileJob, *, wait: bool = True, progress: Progress = unwatched) -> Outcome:
    """Cut a slide into tiles and write its store; skip it where that is done already.

    Args:
        job: the slide and how.
        wait: whether to wait while another process writes the same store.
        progress: called with slide id, tiles written and tiles in all.

    Raises:
        SlideError: the slide cannot be used; see its subclasses.
        MaskError: its given tissue mask cannot be used.
        EmptySlideError: no tile is left.
        OtherSettingsError: its store was made with other settings, and ``overwrite`` is off.
        StoreBusyError: another process is writing it, and ``wait`` is off.
        StorageError: the disk refused.
    """
    path = job.workspace.tile_store(job.slide_id)
    with (
        job.workspace.owned(path, wait=wait) as alone,
        open_slide(job.entry.source, reader=job.reader, mpp_um=job.entry.mpp_um) as slide,
    ):
        header = _header(job, slide)
        done = None if job.overwrite else _already_done(path, header)
        if done is not None:
            return Outcome("skipped", len(done), _details(done))
        try:
            contents = _contents(job, slide, header)
        except EmptySlideError:
            if job.overwrite:
                remove_folder(path)  # else later stages would go on with the tiles of before
            raise
        with folder_aside(path, alone=alone) as aside:
            write_store(
                aside,
                slide,
                contents,
                lambda tile, total: progress(job.slide_id, tile, total),
                threads=job.threads,
            )
            with TileStore.open(aside) as written:
                written.verify(pixels=False)  # those were, shard by shard
                return Outcome("done", len(written), _details(written))


def _header(job: TileJob, slide: Slide) -> Header:
    parents = {"slide": fingerprint(job.entry.source).digest}
    if job.entry.tissue_mask is not None:
        parents["tissue_mask"] = _mask_digest(Path(job.entry.tissue_mask), slide)
    settings = {
        "tiles": plain(job.settings),
        "tissue": plain(job.tissue) | {"method": METHOD},
        "mpp_l0": [slide.mpp.x, slide.mpp.y],
    }
    return Header(KIND, FORMAT_VERSION, settings, parents)


def _mask_digest(path: Path, slide: Slide) -> str:
    try:
        return bytes_digest([path.read_bytes()])
    except FileNotFoundError as error:
        raise MaskError(
            f"slide {slide.info.name} has no tissue mask {path} (nor one with another suffix: "
            f"{', '.join(MASK_SUFFIXES)}); draw it, or name masks slide by slide in a list's "
            f"mask_path column"
        ) from error
    except OSError as error:
        raise MaskError(
            f"tissue mask {path} of slide {slide.info.name} cannot be read ({error.strerror}); "
            f"check its permission"
        ) from error


def _already_done(path: Path, header: Header) -> TileStore | None:
    """The store at ``path`` where it is what would be made; None where there is none."""
    if not path.exists():
        return None
    store = TileStore.open(path)
    if store.header.settings_digest == header.settings_digest:
        return store
    raise OtherSettingsError(
        f"store {path} was made with other settings "
        f"({store.header.told_differences(header)}); replace it with --overwrite, or choose "
        f"another workspace with -w"
    )


def _contents(job: TileJob, slide: Slide, header: Header) -> StoreContents:
    settings = job.settings
    plan = plan_tiles(slide.info, slide.mpp, tile_side_px(slide, settings), settings)
    overview = _overview(job, slide)
    mask = _tissue(job, slide, overview)
    columns = chosen_columns(slide, plan, mask, settings)
    pixels, reason = chosen_pixel_mode(slide, plan, settings, columns["xy_l0"])
    return StoreContents(
        header=header,
        slide=_slide_record(job, slide, header),
        plan=plan,
        overview=overview,
        mask=mask,
        columns=columns,
        pixels=pixels,
        pixels_reason=reason,
        jpeg_quality=settings.jpeg_quality,
        subsampling=chosen_subsampling(slide, plan),
    )


def slide_tissue(job: TileJob, slide: Slide) -> TissueMask:
    """The tissue of a job's slide: found, or as the user gave it.

    Raises:
        MaskError: the given mask cannot be used.
        UnreadableSlideError: the slide is damaged.
    """
    return _tissue(job, slide, _overview(job, slide))


def _overview(job: TileJob, slide: Slide) -> Overview:
    """The slide at the mask's resolution."""
    pitch_l0 = max(1.0, job.tissue.mask_um / slide.mpp.mean)
    while slide.info.size.width * slide.info.size.height / pitch_l0**2 > _MAX_MASK_PIXELS:
        pitch_l0 *= 2
    return slide.overview(pitch_l0)


def _tissue(job: TileJob, slide: Slide, overview: Overview) -> TissueMask:
    if job.entry.tissue_mask is None:
        return find_tissue(overview, slide.mpp, job.tissue)
    path = Path(job.entry.tissue_mask)
    return given_mask(path, slide.info.size, slide.info.bounds, slide.mpp, overview, job.tissue)


def _slide_record(job: TileJob, slide: Slide, header: Header) -> dict[str, Any]:
    info = slide.info
    assert info.pixel_size is not None
    record = SlideRecord(
        slide_id=job.slide_id,
        path=_recorded_path(job),
        reader=info.reader,
        vendor=info.vendor,
        size=info.size,
        mpp=slide.mpp,
        mpp_origin=info.pixel_size.origin,
        downsamples=tuple(level.downsample for level in info.levels),
        objective_power=info.objective_power,
        bounds=info.bounds,
        file_bytes=fingerprint(job.entry.source).file_bytes,
        digest=header.parents["slide"],
    )
    return plain(record)


def _recorded_path(job: TileJob) -> str:
    """The slide's path from the workspace, so that both can move together."""
    if is_url(job.entry.source):
        return job.source
    return os.path.relpath(Path(job.entry.source).absolute(), job.workspace.root.absolute())


def _details(store: TileStore) -> dict[str, Any]:
    """What a report says of a store."""
    slide, plan = store.slide, store.plan
    labels = store.tissue_labels
    extent_mm2 = slide.size.width * slide.mpp.x * slide.size.height * slide.mpp.y / 1e6
    return {
        "reader": slide.reader,
        "vendor": slide.vendor,
        "size": str(slide.size),
        "mpp": round(slide.mpp.mean, 4),
        "mpp_origin": slide.mpp_origin,
        "effective_mpp": round(plan.effective_mpp, 4),
        "level": plan.level,
        "tile_px": plan.tile_px,
        "pixels": store.pixel_mode,
        "pixels_reason": store.pixel_reason,
        "tissue_mm2": round(float((labels == 1).mean()) * extent_mm2, 2),
        "megabytes": round(store.stored_bytes / 1e6, 2),
        "peak_mb": peak_mb(),
    }
