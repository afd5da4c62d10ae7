"""From a tile store to its embedding cache: the verb of this room."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from wsi_tower.batch import Outcome, unwatched, worker_number
from wsi_tower.embeddings.cache import (
    FORMAT_VERSION,
    KIND,
    CacheContents,
    EmbeddingCache,
    open_cache,
    write_cache,
)
from wsi_tower.embeddings.embedder import Embedder
from wsi_tower.embeddings.encoders import EncoderChoice, load_tile_encoder
from wsi_tower.embeddings.settings import EmbedSettings, ForwardSettings
from wsi_tower.embeddings.slide import CachedSlide
from wsi_tower.embeddings.slide_descriptor import described_slide
from wsi_tower.embeddings.tile_pixels import side_for
from wsi_tower.errors import CorruptStoreError, EncoderError, OtherSettingsError
from wsi_tower.memory import peak_mb
from wsi_tower.records import Header, digest, plain
from wsi_tower.stain import StainReference
from wsi_tower.tiles import TileStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wsi_tower.batch import Progress
    from wsi_tower.workspace import Workspace

__all__ = ["EmbedJob", "Recipe", "embed_slide", "embedder_for", "recipe_of"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How all slides of a run are embedded; travels to workers."""

    workspace: Workspace
    """What has the encoder and takes the caches."""
    choice: EncoderChoice
    """The encoder, by name or file."""
    digest: str
    """`TileEncoder.digest`: this encoder and no other."""
    folder: str
    """Name of the caches' folder: the encoder's, and what sets them apart."""
    settings: EmbedSettings = field(default_factory=EmbedSettings)
    """What is made."""
    forward: ForwardSettings = field(default_factory=ForwardSettings)
    """Where the network runs."""
    reference: StainReference | None = None
    """What stain is brought to."""


@dataclass(frozen=True, slots=True)
class EmbedJob:
    """A slide to embed."""

    store: Path
    """Its tile store."""
    recipe: Recipe
    """How."""
    cohort: Mapping[str, str] = field(default_factory=dict)
    """Its columns in the cohort table."""
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


def embed_slide(job: EmbedJob, wait: bool = True, progress: Progress = unwatched) -> Outcome:
    """Embed the tiles of a store and write their cache; skip it where that is done already.

    Args:
        job: the store and how.
        wait: whether to wait while another process writes the same cache.
        progress: called with slide id, tiles embedded and tiles in all.

    Raises:
        EncoderError: the encoder cannot take these tiles, or gives no finite number for one.
        CorruptStoreError: the store is damaged, or was replaced meanwhile.
        SlideError: the store has no pixels and its slide cannot be read; its stain cannot be told.
        OtherSettingsError: the cache was made with other settings, and ``overwrite`` is off.
        StoreBusyError: another process is writing it, and ``wait`` is off.
        StorageError: the disk refused.
    """
    recipe = job.recipe
    path = recipe.workspace.embedding_cache(recipe.folder, job.slide_id)
    with (
        recipe.workspace.owned(path, wait=wait) as alone,
        TileStore.open(job.store) as store,
    ):
        embedder = embedder_for(recipe)
        contents = _Contents(job, store, embedder)
        done = None if job.overwrite else contents.already_at(path)
        if done is not None:
            if done.slide != contents.slide:
                done = write_cache(path, contents.again(done), alone=alone)
            return Outcome("skipped", len(done), contents.details(done))
        began = time.perf_counter()
        made = contents.made(progress)
        seconds = time.perf_counter() - began
        _check_unchanged(job.store, store)
        cache = write_cache(path, made, alone=alone)
        pace = {"tiles_per_s": round(len(cache) / max(seconds, 1e-9), 1)}
        return Outcome("done", len(cache), contents.details(cache) | pace)


def recipe_of(
    cache: EmbeddingCache,
    workspace: Workspace,
    forward: ForwardSettings | None = None,
    choice: EncoderChoice | None = None,
) -> Recipe:
    """What a cache was made by, so that other pictures can be described alike.

    `embedder_for` makes the embedder of it; its `Embedder.of_pictures` takes pictures of the
    slide's ``tile_px`` at its ``tile_mpp``.

    Args:
        cache: whose features to meet.
        workspace: where encoders of one's own lie.
        forward: where the network runs.
        choice: the encoder, where its name alone does not say: from a file, with other weights.

    Raises:
        EncoderError: the encoder is from a Python file, which ``choice`` must name.
    """
    made = cache.header.settings
    if choice is None:
        if made["method"] == "file":
            raise EncoderError(
                f"embedding cache {cache.path} was made by a Python file ({cache.encoder_id}); "
                f"name it with --encoder-file"
            )
        choice = EncoderChoice(name=cache.encoder_id)
    reference = made.get("stain_reference")
    fields = ("descriptor", "dtype", "precision", "stain", "input_px")
    return Recipe(
        workspace,
        choice,
        digest({name: value for name, value in cache.header.parents.items() if name != "tiles"}),
        cache.encoder,
        EmbedSettings(**{name: made[name] for name in fields}),
        forward or ForwardSettings(),
        StainReference.from_json(reference) if reference else None,
    )


def embedder_for(recipe: Recipe) -> Embedder:
    """The recipe's encoder on this worker's device; loaded once a process.

    Raises:
        EncoderError: it cannot be had, or is another one by now.
        SettingsError: there is no such device.
    """
    devices = recipe.forward.devices()
    return _loaded(recipe, worker_number() % len(devices))


@lru_cache(maxsize=1)
def _loaded(recipe: Recipe, number: int) -> Embedder:
    encoder = load_tile_encoder(recipe.choice, recipe.workspace, recipe.settings.descriptor)
    if encoder.digest != recipe.digest:
        raise EncoderError(
            f"encoder {encoder.encoder_id} is not the one that embeddings/{recipe.folder} is made "
            f"by: it was trained again, or its file changed; run `wsi-tower embed` again, with "
            f"--overwrite where there are caches, or restore the encoder"
        )
    return Embedder(
        encoder,
        recipe.settings,
        recipe.forward,
        device=recipe.forward.devices()[number],
        reference=recipe.reference,
    )


@dataclass(frozen=True)
class _Contents:
    """What goes into one slide's cache."""

    job: EmbedJob
    store: TileStore
    embedder: Embedder

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that decides the contents, defaults resolved; what plays no part is left out."""
        recipe, encoder, plan = self.job.recipe, self.embedder.encoder, self.store.plan
        asked = recipe.settings
        side_px = side_for(encoder, asked, plan.tile_px, plan.effective_mpp)
        told = plain(asked) | {"descriptor": encoder.descriptor, "input_px": side_px}
        told |= {"encoder": encoder.encoder_id, "method": encoder.method}
        unused = {"resample"}
        if asked.slide_descriptor != "mosaic":
            unused |= {"mosaic_tiles"} if recipe.reference else {"mosaic_tiles", "seed"}
        if recipe.reference is not None:
            told["stain_reference"] = recipe.reference.to_json()
        return {name: value for name, value in told.items() if name not in unused}

    @property
    def parents(self) -> dict[str, str]:
        return {"tiles": self.store.header.content_digest, **self.embedder.encoder.parents}

    def already_at(self, path: Path) -> EmbeddingCache | None:
        """The cache at ``path`` where it is what would be made; None where there is none."""
        if not path.exists():
            return None
        cache = open_cache(path)
        asked = Header(KIND, FORMAT_VERSION, self.settings, self.parents)
        if cache.header.settings_digest == asked.settings_digest:
            return cache
        raise OtherSettingsError(
            f"embedding cache {path} was made with other settings "
            f"({cache.header.told_differences(asked)}); replace it with --overwrite, or keep both "
            f"with --name"
        )

    def made(self, progress: Progress) -> CacheContents:
        """Contents with the features of every tile."""
        store, slide_id = self.store, self.job.slide_id
        # Before the pixels: a store replaced meanwhile is told by its digest, not as damaged.
        coords_l0, centre_um = store.xy_l0, store.centre_um
        features = self.embedder.of_store(
            store, lambda done, total: progress(slide_id, done, total)
        )
        slide = described_slide(features, self.job.recipe.settings)
        return CacheContents(
            slide=self.slide,
            encoder_id=self.embedder.encoder.encoder_id,
            descriptor=self.embedder.encoder.descriptor,
            features=features,
            coords_l0=coords_l0,
            centre_um=centre_um,
            slide_descriptor=slide.vector,
            mosaic=slide.mosaic,
            settings=self.settings,
            parents=self.parents,
        )

    def again(self, cache: EmbeddingCache) -> CacheContents:
        """Contents with the arrays of a cache whose slide has moved, or cohort changed."""
        return CacheContents(
            slide=self.slide,
            encoder_id=cache.encoder_id,
            descriptor=cache.descriptor,
            features=cache.features,
            coords_l0=cache.coords_l0,
            centre_um=cache.centre_um,
            slide_descriptor=cache.slide_descriptor,
            mosaic=cache.mosaic,
            settings=cache.header.settings,
            parents=cache.header.parents,
        )

    @cached_property
    def slide(self) -> CachedSlide:
        """The slide, with its paths as seen from the workspace that takes the cache."""
        home = self.job.recipe.workspace.root.absolute()
        store = self.job.store.absolute()
        path = self.store.slide.path
        if "://" not in path:
            path = os.path.relpath(store.parents[1] / path, home)
        return CachedSlide.of(
            self.store,
            path=path,
            tile_store=os.path.relpath(store, home),
            cohort=self.job.cohort,
        )

    def details(self, cache: EmbeddingCache) -> dict[str, Any]:
        """What a report says of a cache."""
        return {
            "encoder": cache.encoder_id,
            "descriptor": cache.descriptor,
            "features": f"{cache.features.shape[1]} × {cache.features.dtype.name}",
            "effective_mpp": round(cache.slide.tile_mpp, 4),
            "megabytes": round(cache.path.stat().st_size / 1e6, 2),
            "device": str(self.embedder.device),
            "peak_mb": peak_mb(),
        }


def _check_unchanged(path: Path, store: TileStore) -> None:
    """Refuse features of a store that was replaced while its tiles were read."""
    with TileStore.open(path) as now:
        if now.header.content_digest != store.header.content_digest:
            raise CorruptStoreError(
                f"store {path} was replaced while its tiles were embedded; run the same command "
                f"again"
            )
