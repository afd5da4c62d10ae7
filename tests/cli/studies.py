"""A small study: phantom slides, their tiles, embeddings made by a formula, and annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from click.testing import CliRunner
from numpy.typing import NDArray

from wsi_tower.cli.main import cli
from wsi_tower.embeddings import CacheContents, CachedSlide, EmbeddingCache, write_cache
from wsi_tower.phantom import PhantomSettings, write_phantoms
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

Describe = Callable[[TileStore, int], NDArray[np.floating[Any]]]
"""From a slide's store and number to descriptors (N, D)."""

SLIDES = PhantomSettings(4, width_um=1600, height_um=1200, mpp=2, tile_px=64, pen_every=0)
"""Two patients with two slides each."""


def tiled_study(folder: Path) -> Path:
    """A workspace with tiles of 64 µm of four phantoms; ``folder`` takes the slides, too."""
    write_phantoms(folder / "slides", SLIDES)
    arguments = ["--mpp", "2", "--tile-px", "32", "--no-report", "-j", "1"]
    slides = folder / "slides" / "slides.csv"
    result = CliRunner().invoke(
        cli, ["tile", str(slides), "-w", str(folder / "study"), *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return folder / "study"


def embed(workspace: Path, encoder: str, describe: Describe, **more: Any) -> list[EmbeddingCache]:
    """Caches of all slides, as ``wsi-tower embed`` lays them down."""
    home = Workspace(workspace)
    cohort = home.cohort()
    caches = []
    for number, path in enumerate(home.tile_stores()):
        with TileStore.open(path) as store:
            slide_id = store.slide.slide_id
            features = np.asarray(describe(store, number), np.float32)
            values: dict[str, Any] = {
                "slide": CachedSlide.of(
                    store,
                    path=store.slide.path,
                    tile_store=f"tiles/{slide_id}.zarr",
                    cohort=cohort[slide_id],
                ),
                "encoder_id": encoder,
                "descriptor": "pooled",
                "features": features,
                "coords_l0": store.xy_l0,
                "centre_um": store.centre_um,
                "slide_descriptor": features.mean(axis=0),
                "settings": {"stain": "reinhard"},
                "parents": {"tiles": store.header.content_digest, "encoder": encoder},
            }
            target = home.embedding_cache(encoder, slide_id)
            caches.append(write_cache(target, CacheContents(**(values | more))))
    return caches


def place(store: TileStore, _: int) -> NDArray[np.float64]:
    """Where a tile lies, in millimetres."""
    return store.centre_um / 1000


def noise(store: TileStore, number: int) -> NDArray[np.float64]:
    """Nothing about the tile."""
    return np.random.default_rng(number).normal(size=(len(store), 24))


def box_of(store: TileStore, share: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the left ``share`` of a slide's tiles, on the grid."""
    left, top = store.xy_l0.min(axis=0)
    right, bottom = store.xy_l0.max(axis=0) + store.plan.footprint_l0
    pitch = store.plan.pitch_l0
    return left, top, left + max(1, round((right - left) * share / pitch)) * pitch, bottom


def asap_box(box: tuple[int, int, int, int], group: str = "Tumor") -> str:
    """A rectangle as ASAP writes it."""
    left, top, right, bottom = box
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    points = "".join(
        f'<Coordinate Order="{order}" X="{x}" Y="{y}" />' for order, (x, y) in enumerate(corners)
    )
    return (
        f'<ASAP_Annotations><Annotations><Annotation Name="A" Type="Polygon" PartOfGroup="{group}">'
        f"<Coordinates>{points}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )


def annotate(workspace: Path, folder: Path, shares: dict[str, float]) -> Path:
    """ASAP files that call the left ``shares`` of slides tumour."""
    folder.mkdir(parents=True, exist_ok=True)
    for slide_id, share in shares.items():
        with TileStore.open(Workspace(workspace).tile_store(slide_id)) as store:
            (folder / f"{slide_id}.xml").write_text(asap_box(box_of(store, share)))
    return folder
