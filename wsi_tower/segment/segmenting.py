"""From a slide to its objects: what the verb ``segment`` does to each."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.batch import Outcome, unwatched, worker_number
from wsi_tower.embeddings import ForwardSettings, stain_of_store
from wsi_tower.errors import EmptySlideError, ModelError, OtherSettingsError
from wsi_tower.memory import peak_mb
from wsi_tower.models import load_segmenter
from wsi_tower.records import Header, content_hasher, plain
from wsi_tower.segment.blending import blended_bands
from wsi_tower.segment.joining import ObjectJoiner
from wsi_tower.segment.raster import SlideRaster
from wsi_tower.segment.record import FORMAT_VERSION, KIND, SegmentationRecord, read_segmentation
from wsi_tower.segment.seeing import Looking, SlideLight, WindowSource, seen_windows
from wsi_tower.segment.settings import SegmentSettings
from wsi_tower.segment.spool import BandSpool
from wsi_tower.segment.windows import WindowGrid
from wsi_tower.segment.writing import FoundObjects, write_segmentation
from wsi_tower.stain import white_level
from wsi_tower.tiles import TileStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.batch import Progress
    from wsi_tower.models import SegmenterOrigin, SegmenterRecord
    from wsi_tower.segment.blending import Band, SeenWindow
    from wsi_tower.segment.joining import ObjectTable
    from wsi_tower.slides import Slide
    from wsi_tower.workspace import Workspace

__all__ = ["SegmentJob", "SegmentRecipe", "segment_slide"]


@dataclass(frozen=True, slots=True)
class SegmentRecipe:
    """How all slides of a run are segmented; travels to workers."""

    workspace: Workspace
    """What has the model and takes the segmentations."""
    model: str
    """Its name, or the path of its folder."""
    folder: str
    """Name of the segmentations' folder."""
    digest: str
    """Content digest of the model: these weights and no others."""
    settings: SegmentSettings = field(default_factory=SegmentSettings)
    """What is made."""
    forward: ForwardSettings = field(default_factory=lambda: ForwardSettings(batch_size=4))
    """Where the network runs."""


@dataclass(frozen=True, slots=True)
class SegmentJob:
    """A slide to segment."""

    store: Path
    """Its tile store, which has its tissue and says where it lies."""
    recipe: SegmentRecipe
    """How."""
    overwrite: bool = False
    """Whether what is there is made again, whatever it is."""

    @property
    def slide_id(self) -> str:
        """Its id in the workspace."""
        return self.store.stem

    @property
    def source(self) -> str:
        """The tile store, as the loop shows it."""
        return str(self.store)

    @property
    def path(self) -> Path:
        """Its label image."""
        return self.recipe.workspace.segmentation(self.recipe.folder, self.slide_id)


def segment_slide(job: SegmentJob, wait: bool = True, progress: Progress = unwatched) -> Outcome:
    """Find a slide's objects by a model and write them; skip it where that is done already.

    Windows that overlap are blended without seams (see `WindowGrid`), only where there is tissue;
    memory is that of a few rows of windows, however large the slide.

    Args:
        job: the slide and how.
        wait: whether to wait while another process writes the same segmentation.
        progress: called with slide id, windows seen and windows in all.

    Raises:
        EmptySlideError: the store's mask has no tissue.
        ModelError: the model cannot be had, is another by now, or gives no finite number.
        OtherResolutionError: the slide has no level of the model's resolution.
        CorruptStoreError: store or model is damaged, or the slide is another file by now.
        SlideError: the slide cannot be read; its stain cannot be told.
        OtherSettingsError: it was segmented with other settings, and ``overwrite`` is off.
        StoreBusyError: another process is writing it, and ``wait`` is off.
        StorageError: the disk refused.
    """
    recipe = job.recipe
    with (
        recipe.workspace.owned(job.path, wait=wait) as alone,
        TileStore.open(job.store) as store,
    ):
        looking, record = looking_for(recipe)
        work = _Work(job, store, record)
        done = None if job.overwrite else work.already_there()
        if done is not None:
            return Outcome("skipped", len(store), _details(done, looking))
        began = time.perf_counter()
        with store.open_slide() as slide:
            done = work.made(slide, looking, progress, alone=alone)
        seconds = max(time.perf_counter() - began, 1e-9)
        seen_px = done.windows * (recipe.settings.window_px - recipe.settings.overlap_px) ** 2
        pace = {"megapixels_per_s": round(seen_px / 1e6 / seconds, 2)}
        return Outcome("done", len(store), _details(done, looking) | pace)


def looking_for(recipe: SegmentRecipe) -> tuple[Looking, SegmenterRecord]:
    """The recipe's network on this worker's device, and its record; loaded once a process.

    Raises:
        ModelError: it cannot be had, or is another by now.
        SettingsError: there is no such device.
    """
    devices = recipe.forward.devices()
    return _loaded(recipe, worker_number() % len(devices))


@lru_cache(maxsize=1)
def _loaded(recipe: SegmentRecipe, number: int) -> tuple[Looking, SegmenterRecord]:
    import torch

    loaded = load_segmenter(recipe.model, workspace=recipe.workspace)
    if loaded.record.header.content_digest != recipe.digest:
        raise ModelError(
            f"model {recipe.model} was trained again while slides were segmented by it; run the "
            f"same command again, with --overwrite for the slides that are done"
        )
    device = recipe.forward.devices()[number]
    network = loaded.network.to(device).to(memory_format=torch.channels_last)
    return Looking(network, device, recipe.forward, recipe.settings.precision), loaded.record


@dataclass(frozen=True)
class _Work:
    """One slide being segmented."""

    job: SegmentJob
    store: TileStore
    model: SegmenterRecord

    @property
    def origin(self) -> SegmenterOrigin:
        return self.model.origin

    @cached_property
    def mpp(self) -> float:
        """Resolution to segment at."""
        settings = self.job.recipe.settings
        return self.origin.mpp or settings.mpp or self.store.plan.effective_mpp

    @cached_property
    def header(self) -> Header:
        """All that decides the contents, defaults resolved."""
        settings = self.job.recipe.settings
        told = plain(settings) | {
            "model": self.model.name,
            "threshold": settings.threshold or self.origin.threshold,
            "mpp": self.mpp,
            "formats": sorted(settings.formats),
        }
        unused = {"resample"} if settings.split else {"resample", "split_um"}
        parents = {
            "model": self.model.header.content_digest,
            "slide": self.store.slide.digest,
            "tissue": self.store.array_digests["tissue"],
        }
        told = {name: value for name, value in told.items() if name not in unused}
        return Header(KIND, FORMAT_VERSION, told, parents)

    def already_there(self) -> SegmentationRecord | None:
        """What is there, where it is what would be made; None where nothing is."""
        path = self.job.path
        if not path.exists():
            return None
        record = read_segmentation(path)
        if record.header.settings_digest == self.header.settings_digest:
            return record
        raise OtherSettingsError(
            f"segmentation {path} was made with other settings "
            f"({record.header.told_differences(self.header)}); replace it with --overwrite, or "
            f"keep both with --name"
        )

    def made(
        self, slide: Slide, looking: Looking, progress: Progress, *, alone: bool
    ) -> SegmentationRecord:
        """Segment the slide and write what is found."""
        settings = self.job.recipe.settings
        raster = SlideRaster.of(slide, self.mpp, resample=settings.resample)
        grid = WindowGrid(raster.size, settings.window_px, settings.overlap_px)
        tissue = self.store.tissue_labels == 1
        mask_px = self.store.tissue_pitch_l0 / raster.pitch_l0
        chosen = grid.touched(tissue, mask_px)
        if not chosen.any():
            raise EmptySlideError(
                f"slide {self.job.slide_id} has no tissue in its mask; tile it again with another "
                f"--tissue-mask, or leave it out"
            )
        source = WindowSource(slide, raster, grid, self.light)
        windows = self._watched(seen_windows(source, chosen, looking), int(chosen.sum()), progress)
        bands = blended_bands(windows, grid, len(self.origin.classes))
        joiner = self._joiner(raster, tissue, mask_px)
        self.job.path.parent.mkdir(parents=True, exist_ok=True)
        with BandSpool(self.job.path.parent) as spool:
            digest = _numbered(bands, joiner, spool)
            pixel_um2 = raster.pixel_um[0] * raster.pixel_um[1]
            ids, table = joiner.finished(settings.min_area_um2 / pixel_um2)
            digest.update(ids.tobytes())
            header = self.header.completed(digest.hexdigest())
            record = self._record(raster, table, int(chosen.sum()), header)
            found = FoundObjects(raster, spool, ids, table, self.store.slide.bounds)
            write_segmentation(self.job.path, found, record, settings, alone=alone)
        return record

    @cached_property
    def light(self) -> SlideLight:
        """The slide's white, and its stain where the model wants another."""
        reference = self.origin.stain
        white = white_level(self.store.thumbnail.rgb)
        if reference is None:
            return SlideLight(white)
        own, white = stain_of_store(self.store, reference.method)
        return SlideLight(white, reference, own)

    def _joiner(
        self, raster: SlideRaster, tissue: NDArray[np.bool_], mask_px: float
    ) -> ObjectJoiner:
        settings = self.job.recipe.settings
        threshold = settings.threshold or self.origin.threshold
        return ObjectJoiner(
            thresholds=(threshold,) * len(self.origin.classes),
            tissue=tissue,
            mask_px=mask_px,
            split_px=settings.split_um / raster.mpp if settings.split else None,
        )

    def _watched(
        self, windows: Iterable[SeenWindow], total: int, progress: Progress
    ) -> Iterator[SeenWindow]:
        for number, window in enumerate(windows, start=1):
            yield window
            progress(self.job.slide_id, number, total)

    def _record(
        self, raster: SlideRaster, table: ObjectTable, windows: int, header: Header
    ) -> SegmentationRecord:
        classes, store = self.origin.classes, self.store
        counts = np.bincount(table.class_number, minlength=len(classes))
        areas = np.bincount(table.class_number, table.tissue_px, minlength=len(classes))
        pixel_mm2 = raster.pixel_um[0] * raster.pixel_um[1] / 1e6
        mask_mm2 = store.tissue_pitch_l0**2 * store.slide.mpp.x * store.slide.mpp.y / 1e6
        return SegmentationRecord(
            slide_id=self.job.slide_id,
            model=self.model.name,
            classes=classes,
            mpp=raster.mpp,
            pixel_um=raster.pixel_um,
            pitch_l0=raster.pitch_l0,
            windows=windows,
            tissue_mm2=float(np.count_nonzero(store.tissue_labels == 1) * mask_mm2),
            counts=dict(zip(classes, counts.tolist(), strict=True)),
            areas_mm2=dict(zip(classes, (areas * pixel_mm2).tolist(), strict=True)),
            header=header,
        )


def _numbered(bands: Iterable[Band], joiner: ObjectJoiner, spool: BandSpool) -> Any:
    """Put the numbers of all bands aside; the hasher that has seen them."""
    hasher = content_hasher()
    for band in bands:
        numbers = joiner.take(band)
        hasher.update(numbers.tobytes())
        spool.add(numbers)
    return hasher


def _details(record: SegmentationRecord, looking: Looking) -> dict[str, Any]:
    """What a report says of a segmentation."""
    told = {name: value for name, value in record.measures().items() if name != "mpp"}
    return told | {
        "effective_mpp": round(record.mpp, 4),
        "windows": record.windows,
        "device": str(looking.device),
        "peak_mb": peak_mb(),
    }
