"""What ``wsi-tower embed`` does once its options are read: encoder, batch, report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from wsi_tower.batch import BatchSettings, Outcome, Progress, run_batch, usable_cores
from wsi_tower.cli.batch_run import BatchReport, RunClock
from wsi_tower.cli.progress import watched
from wsi_tower.embeddings import (
    EmbedJob,
    EmbedSettings,
    EncoderChoice,
    ForwardSettings,
    Recipe,
    embed_slide,
    load_tile_encoder,
    open_cache,
    stain_of_store,
)
from wsi_tower.errors import DuplicateSlideError, NoSlidesError, SettingsError
from wsi_tower.models import checked_encoder_name
from wsi_tower.records import plain
from wsi_tower.report import embedding_picture, write_picture
from wsi_tower.stain import StainReference
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from wsi_tower.cli.batch_run import RunSummary
    from wsi_tower.cli.options import Shared
    from wsi_tower.embeddings import TileEncoder

__all__ = ["EmbedRequest", "run_embed"]


@dataclass(frozen=True)
class EmbedRequest:
    """Everything a run of embedding was asked for."""

    workspaces: tuple[Workspace, ...]
    """Whose stores are embedded; the first has the encoder and takes the caches."""
    choice: EncoderChoice
    """The encoder."""
    name: str
    """Of the caches' folder; empty: after the encoder."""
    settings: EmbedSettings
    """What is made."""
    forward: ForwardSettings
    """Where the network runs."""
    batch: BatchSettings
    """Where slides are worked on."""
    stain_reference: str | None
    """A file, or a slide of the workspaces."""
    overwrite: bool
    """Whether caches made with other settings are replaced."""
    report: bool
    """Whether to draw pictures and a page."""
    quiet: bool
    """Whether to say nothing on the way."""

    @classmethod
    def parsed(cls, shared: Shared, **values: Any) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value cannot be right.
            EncoderError: two options name an encoder.
        """
        if values["stain_reference"] is not None and values["stain"] == "none":
            raise SettingsError(
                f"--stain-reference {values['stain_reference']} is for --stain reinhard or "
                f"macenko; say which"
            )
        return cls(
            workspaces=tuple(Workspace(root.absolute()) for root in shared.workspaces),
            choice=EncoderChoice(
                values["encoder"], values["method"], values["encoder_file"], values["weights"]
            ),
            name=values["name"] and checked_encoder_name(values["name"]),
            settings=EmbedSettings(**{name: values[name] for name in _SETTINGS}),
            forward=ForwardSettings(**{name: values[name] for name in _FORWARD}),
            batch=BatchSettings(values["workers"], values["scheduler"]),
            stain_reference=values["stain_reference"],
            overwrite=shared.overwrite,
            report=values["report"],
            quiet=shared.json,
        )


_SETTINGS = EmbedSettings.__dataclass_fields__.keys()
_FORWARD = ForwardSettings.__dataclass_fields__.keys()


def run_embed(request: EmbedRequest) -> tuple[RunSummary, str]:
    """Embed every store of a request and write the report.

    Returns:
        What the run gave, and the name of the caches' folder.

    Raises:
        WsiTowerError: nothing could be begun: no stores, no encoder, wrong settings.
    """
    clock = RunClock()
    stores = _stores(request.workspaces)
    home = request.workspaces[0].prepared()
    recipe = _recipe(request, home, stores)
    jobs = _jobs(request, recipe, stores)
    batch = request.batch
    if batch.workers == 0:
        batch = replace(batch, workers=len(recipe.forward.devices()))
    with watched(len(jobs), quiet=request.quiet) as watcher:
        work = embed_and_draw if request.report else embed_slide
        rows = run_batch(jobs, work, batch, on_row=watcher.row, progress=watcher.beat)
    report = BatchReport(
        verb="embed",
        workspace=home,
        batch=batch,
        settings={"embed": plain(recipe.settings), "forward": plain(recipe.forward)},
        pictures=_picture_path(recipe, "").parent,
    )
    return report.summary(rows, clock, page=request.report), recipe.folder


def embed_and_draw(job: EmbedJob, wait: bool, progress: Progress) -> Outcome:
    """Embed one slide and draw what its features tell apart; runs in workers."""
    outcome = embed_slide(job, wait, progress)
    picture = _picture_path(job.recipe, job.slide_id)
    if outcome.status == "done" or not picture.exists():
        recipe = job.recipe
        cache = open_cache(recipe.workspace.embedding_cache(recipe.folder, job.slide_id))
        with TileStore.open(job.store) as store:
            image = embedding_picture(
                store.thumbnail,
                cache.coords_l0,
                cache.features,
                cache.slide.footprint_l0,
                cache.slide.mpp,
                title=f"{job.slide_id} ({recipe.folder})",
            )
        write_picture(picture, image)
    return outcome


def _picture_path(recipe: Recipe, slide_id: str) -> Path:
    return recipe.workspace.reports / "pictures" / recipe.folder / f"{slide_id}.jpg"


def _stores(workspaces: tuple[Workspace, ...]) -> dict[str, Path]:
    """Every tile store, by slide id.

    Raises:
        NoSlidesError: a workspace has none.
        DuplicateSlideError: two workspaces have a slide of one id.
    """
    stores: dict[str, Path] = {}
    for workspace in workspaces:
        for path in workspace.tile_stores():
            if stores.setdefault(path.stem, path) != path:
                raise DuplicateSlideError(
                    f"{stores[path.stem]} and {path} would share the cache of slide {path.stem}; "
                    f"embed them in workspaces of their own, or tile one under another id (column "
                    f"slide_id of a slide list)"
                )
    return stores


def _recipe(request: EmbedRequest, home: Workspace, stores: dict[str, Path]) -> Recipe:
    choice = request.choice.resolved(home)
    encoder = load_tile_encoder(choice, home, request.settings.descriptor)
    folder = request.name or encoder.folder(request.settings.stain)
    reference = _reference(request, stores)
    if not request.quiet:
        click.echo(_told(encoder, folder), err=True)
    if reference is not None:
        kept = home.embeddings(folder) / "stain-reference.json"
        if request.overwrite or not kept.exists():
            reference.write(kept)
    return Recipe(
        home,
        choice,
        encoder.digest,
        folder,
        request.settings,
        _shared_threads(request.forward, request.batch, len(stores)),
        reference,
    )


def _told(encoder: TileEncoder, folder: str) -> str:
    resolution = "any µm/px" if encoder.mpp is None else f"{encoder.mpp:.4g} µm/px"
    return (
        f"encoder {encoder.encoder_id} ({encoder.method}, {resolution}), described by "
        f"{encoder.descriptor} features, into embeddings/{folder}"
    )


def _shared_threads(forward: ForwardSettings, batch: BatchSettings, slides: int) -> ForwardSettings:
    """Settings whose reading threads share the cores with the other workers."""
    workers = min(batch.workers or len(forward.devices()), slides)
    if forward.threads or workers <= 1:
        return forward
    return replace(forward, threads=max(1, usable_cores() // workers))


def _reference(request: EmbedRequest, stores: dict[str, Path]) -> StainReference | None:
    """What stain is brought to.

    Raises:
        SettingsError: the file is none, or of the other method.
        NoSlidesError: there is neither a file nor a slide of that name.
    """
    method, given = request.settings.stain, request.stain_reference
    if method == "none":
        return None
    if given is None:
        return StainReference.built_in(method)
    if given in stores:
        with TileStore.open(stores[given]) as store:
            own, _ = stain_of_store(store, method, request.settings.seed)
        return StainReference(method, own, f"slide {given}")
    if not Path(given).is_file():
        raise NoSlidesError(
            f"--stain-reference {given} is neither a file nor a slide of the workspace; its slides "
            f"are {', '.join(sorted(stores)[:5])}{', …' if len(stores) > 5 else ''}"
        )
    reference = StainReference.read(Path(given))
    if reference.method != method:
        raise SettingsError(
            f"stain reference {given} is for --stain {reference.method}, not {method}; say so, or "
            f"take another file"
        )
    return reference


def _jobs(request: EmbedRequest, recipe: Recipe, stores: dict[str, Path]) -> list[EmbedJob]:
    cohort: dict[str, dict[str, str]] = {}
    for workspace in request.workspaces:
        cohort |= workspace.cohort()
    if len(request.workspaces) > 1:
        recipe.workspace.merge_cohort({name: cohort[name] for name in stores if name in cohort})
    return [
        EmbedJob(path, recipe, cohort.get(slide_id, {}), request.overwrite)
        for slide_id, path in stores.items()
    ]
