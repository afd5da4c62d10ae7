"""An encoder's own architecture before any training, put through the same tiles and stain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from wsi_tower.batch import unwatched
from wsi_tower.embeddings import open_cache
from wsi_tower.scores.cohort import Cohort
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsi_tower.embeddings import EmbeddingCache, Recipe
    from wsi_tower.models import NetworkShape

__all__ = ["UNTRAINED", "Told", "untrained_floor"]

Told: TypeAlias = "Callable[[str, str], object]"
"""Hears of a floor and a slide."""

UNTRAINED = "untrained-"
"""How the names of encoders with random weights begin."""

_SEED = 0
"""Of the random weights: a floor is one network, not the luckiest of several."""


def untrained_floor(
    cohort: Cohort, workspaces: Sequence[Workspace], on_slide: Told = unwatched
) -> Cohort | None:
    """The same tiles through the same architecture with random weights.

    The encoder is saved like any other, as ``untrained-<architecture>``, and its caches are kept.

    Args:
        cohort: the encoder that has to beat it.
        workspaces: where the record of an encoder of one's own may lie.
        on_slide: called with the floor and the slide of each cache that is made.

    Returns:
        None where the architecture cannot be told: an encoder of a Python file, or one whose
        record is in none of the workspaces.

    Raises:
        WsiTowerError: see `embed_slide`.
    """
    home = Workspace(cohort.caches[0].workspace)
    shape = _shape_of(cohort.caches[0], workspaces)
    if shape is None:
        return None
    recipe = _recipe(cohort.caches[0], home, _saved(shape, home))
    caches = tuple(_embedded(cache, recipe, on_slide) for cache in cohort.caches)
    return Cohort(recipe.folder, caches, cohort.patients, role="floor")


def _shape_of(cache: EmbeddingCache, workspaces: Sequence[Workspace]) -> NetworkShape | None:
    """What the encoder of a cache is built from, where that can be told."""
    # Torch is loaded only by those who ask for a floor.
    from wsi_tower.models import Network, NetworkShape, build_encoder, encoders_of, slug

    method = cache.header.settings.get("method")
    if method == "pretrained":
        return NetworkShape.of(Network(build_encoder(cache.encoder_id)))
    records = (record for home in workspaces for record in encoders_of(home).records)
    return next((one.shape for one in records if one.name == slug(cache.encoder_id)), None)


def _saved(shape: NetworkShape, home: Workspace) -> str:
    """The name of the encoder with random weights, saved unless it is there."""
    from wsi_tower.models import Origin, save_network, slug, untrained_network

    width = f"-head{shape.descriptor_width}" if shape.descriptor == "head" else ""
    name = f"{UNTRAINED}{slug(shape.plan.architecture)}{width}"
    folder = home.encoders / name
    with home.owned(folder, wait=True):
        if not folder.exists():
            settings = {"seed": _SEED, "architecture": shape.plan.architecture}
            origin = Origin(name, "untrained", shape.plan.input_px, settings=settings)
            save_network(folder, untrained_network(shape, _SEED), origin)
    return name


def _recipe(cache: EmbeddingCache, home: Workspace, encoder: str) -> Recipe:
    """How the encoder was embedded, with the other weights."""
    from wsi_tower.embeddings import (
        EmbedSettings,
        EncoderChoice,
        ForwardSettings,
        Recipe,
        load_tile_encoder,
    )
    from wsi_tower.stain import StainReference

    told: dict[str, Any] = cache.header.settings
    stain = told.get("stain", "none")
    settings = EmbedSettings(stain=stain, input_px=told.get("input_px"), seed=told.get("seed", 0))
    reference = None
    if stain != "none":
        reference = StainReference.read(cache.path.parent / "stain-reference.json")
    choice = EncoderChoice(name=encoder)
    loaded = load_tile_encoder(choice, home)
    return Recipe(
        home,
        choice,
        loaded.digest,
        loaded.folder(stain),
        settings,
        ForwardSettings(),
        reference,
    )


def _embedded(cache: EmbeddingCache, recipe: Recipe, on_slide: Told) -> EmbeddingCache:
    from wsi_tower.embeddings import EmbedJob, embed_slide

    store = (cache.workspace / cache.slide.tile_store).resolve()
    if embed_slide(EmbedJob(store, recipe, cache.slide.cohort)).status == "done":
        on_slide(recipe.folder, cache.slide_id)
    return open_cache(recipe.workspace.embedding_cache(recipe.folder, cache.slide_id))
