"""Descriptors of a made-up cohort: a seeded mixture of slides and tissue types.

Every tile is a point of a space of 24 dimensions: the centre of its tissue type, the shift of its
slide (stain, scanner), and its own variation, wider along some axes than others. A rotation takes
that space into the longer one of the descriptors, and faint noise fills the rest. Slides differ in
how much they have of each type. Two slides are of one patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.embeddings import CacheContents, CachedSlide, write_cache
from wsi_tower.geometry import Level0Size, Mpp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.workspace import Workspace

__all__ = ["Mixture"]

_CENTRES, _SHIFT, _LEAST_SPREAD, _NOISE = 2.0, 0.5, 0.5, 0.03
"""Standard deviations: of types, of slides, of tiles along their narrowest axes, of the rest."""
_EVENNESS = 0.3
"""Of the Dirichlet distribution of types on a slide: most slides have some ten of them."""
_PITCH_L0, _MPP = 256, 0.5


@dataclass(frozen=True)
class Mixture:
    """A cohort to be made."""

    tiles: int
    """Tiles of all slides."""
    length: int = 128
    """D: length of the descriptors."""
    slides: int = 500
    """Slides."""
    types: int = 60
    """Tissue types."""
    dimensions: int = 24
    """Of the space that tiles vary in."""
    seed: int = 1
    """Decides everything."""

    def write(self, workspace: Workspace, encoder: str) -> None:
        """Write an embedding cache a slide; those that are there stay."""
        rng = np.random.default_rng(self.seed)
        rotation = np.linalg.qr(rng.normal(size=(self.length, self.dimensions)))[0].T
        centres = rng.normal(scale=_CENTRES, size=(self.types, self.dimensions))
        spreads = rng.uniform(_LEAST_SPREAD, 1, size=centres.shape)
        basis = tuple(part.astype(np.float32) for part in (rotation, centres, spreads))
        for slide in range(self.slides):
            path = workspace.embedding_cache(encoder, f"slide-{slide:04}")
            if not path.exists():
                features = self._features(slide, basis)
                write_cache(path, self._contents(slide, features))

    def _features(self, slide: int, basis: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
        rotation, centres, spreads = basis
        rng = np.random.default_rng((self.seed, slide))
        tiles = self.tiles * (slide + 1) // self.slides - self.tiles * slide // self.slides
        shares = rng.dirichlet(np.full(self.types, _EVENNESS))
        kinds = rng.choice(self.types, tiles, p=shares)
        own = rng.standard_normal((tiles, self.dimensions), np.float32) * spreads[kinds]
        shift = rng.normal(scale=_SHIFT, size=self.dimensions).astype(np.float32)
        noise = rng.standard_normal((tiles, self.length), np.float32) * np.float32(_NOISE)
        features: NDArray[np.float32] = (centres[kinds] + shift + own) @ rotation + noise
        return features

    def _contents(self, slide: int, features: NDArray[np.float32]) -> CacheContents:
        across = int(np.ceil(np.sqrt(len(features))))
        cells = np.stack(np.divmod(np.arange(len(features)), across)[::-1], axis=1)
        coords_l0 = cells.astype(np.int64) * _PITCH_L0
        name = f"slide-{slide:04}"
        return CacheContents(
            slide=CachedSlide(
                slide_id=name,
                path=f"{name}.svs",
                tile_store=f"tiles/{name}.zarr",
                size=Level0Size(across * _PITCH_L0, across * _PITCH_L0),
                mpp=Mpp(_MPP, _MPP),
                bounds=None,
                footprint_l0=_PITCH_L0,
                pitch_l0=_PITCH_L0,
                tile_px=_PITCH_L0,
                tile_mpp=_MPP,
                cohort={"patient": f"patient-{slide // 2:03}", "site": f"site-{slide % 10}"},
            ),
            encoder_id="mixture",
            descriptor="pooled",
            features=features,
            coords_l0=coords_l0,
            centre_um=(coords_l0 + _PITCH_L0 / 2).astype(np.float64) * _MPP,
            slide_descriptor=features.mean(axis=0),
            parents={"encoder": f"mixture {self}", "tiles": name},
        )
