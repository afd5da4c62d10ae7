"""A picture of no known slide, such as a crop from a paper, as tiles that an encoder takes."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.errors import (
    EncoderError,
    ImpossiblePixelSizeError,
    InputError,
    MissingPixelSizeError,
)
from wsi_tower.geometry import MAX_MPP, MIN_MPP, LevelBox, LevelSize
from wsi_tower.slides import open_slide, resampled
from wsi_tower.stain import StainReference

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.embeddings import CachedSlide, Embedder, EmbeddingCache
    from wsi_tower.slides import Rgb
    from wsi_tower.workspace import Workspace

__all__ = ["embedder_like", "picture_tiles"]

_MOST_PIXELS = 100_000_000
_ALMOST = 0.9
"""Part of a tile's side from which a picture counts as a tile: people crop by eye."""


def picture_tiles(
    path: Path, mpp_um: float | None, like: CachedSlide, most: int
) -> tuple[Rgb, float]:
    """A picture cut into tiles of the side and resolution of a slide's.

    It is resampled to their resolution and cut into as many as fit side by side, in its middle.

    Args:
        path: a file that `open_slide` reads.
        mpp_um: its micrometres per pixel; None: as the file says.
        like: the slide.
        most: tiles to give; of more, so many are taken evenly.

    Returns:
        Tiles, uint8 (B, T, T, 3), and the micrometres per pixel that the picture had.

    Raises:
        SlideError: the file cannot be read.
        MissingPixelSizeError: neither the file nor the caller knows its pixel size.
        InputError: smaller than a tile, or too large for a picture.
    """
    picture, own_mpp = _read(path, mpp_um)
    side = like.tile_px
    height, width = (round(length * own_mpp / like.tile_mpp) for length in picture.shape[:2])
    if min(height, width) < _ALMOST * side:
        um = [length * own_mpp for length in picture.shape[1::-1]]
        raise InputError(
            f"image {path} of {um[0]:.0f} × {um[1]:.0f} µm at {own_mpp:g} µm/px is smaller than a "
            f"tile of {side * like.tile_mpp:.0f} µm; crop more around it, and check --mpp"
        )
    height, width = max(height, side), max(width, side)
    picture = resampled(picture, LevelSize(width, height))
    corners = [(top, left) for top in _starts(height, side) for left in _starts(width, side)]
    places = np.linspace(0, len(corners) - 1, min(most, len(corners))).round().astype(int)
    chosen = [corners[place] for place in places.tolist()]
    tiles = np.stack([picture[top : top + side, left : left + side] for top, left in chosen])
    return tiles, own_mpp


def embedder_like(cache: EmbeddingCache, workspace: Workspace, encoder_file: str = "") -> Embedder:
    """What embeds a picture just as the tiles of a cache were.

    Args:
        cache: whose encoder and settings.
        workspace: where encoders of one's own lie.
        encoder_file: ``FILE.py:FUNCTION`` of an encoder that came from a file.

    Raises:
        EncoderError: the encoder is not there, or is another than the cache's by now.
        CorruptStoreError: its folder is damaged.
        SettingsError: the stain reference is gone.
    """
    # Only pictures need torch, and it takes seconds to import.
    from wsi_tower.embeddings import (
        Embedder,
        EmbedSettings,
        EncoderChoice,
        ForwardSettings,
        load_tile_encoder,
    )

    told = cache.header.settings
    names = {field.name for field in fields(EmbedSettings)}
    settings = EmbedSettings(**{name: value for name, value in told.items() if name in names})
    if told.get("method") == "file" and not encoder_file:
        raise EncoderError(
            f"encoder {cache.encoder_id} of the embeddings in {cache.path.parent} came from a "
            f"Python file; name it with --encoder-file FILE.py:FUNCTION"
        )
    choice = EncoderChoice(file=encoder_file) if encoder_file else EncoderChoice(cache.encoder_id)
    encoder = load_tile_encoder(choice, workspace, settings.descriptor)
    own, indexed = encoder.parents["encoder"], cache.header.parents["encoder"]
    if own != indexed:
        raise EncoderError(
            f"encoder {encoder.encoder_id} and the embeddings in {cache.path.parent} do not belong "
            f"together: its weights are {own[:8]}…, theirs {indexed[:8]}…; embed and index again, "
            f"or restore the encoder"
        )
    reference = None
    if settings.stain != "none":
        reference = StainReference.read(cache.path.parent / "stain-reference.json")
    return Embedder(encoder, settings, ForwardSettings(), reference=reference)


def _read(path: Path, mpp_um: float | None) -> tuple[Rgb, float]:
    """The whole picture and its micrometres per pixel."""
    if mpp_um is not None:
        _check_mpp(path, mpp_um)
    with open_slide(path, mpp_um=mpp_um) as slide:
        size = slide.info.size
        if size.width * size.height > _MOST_PIXELS:
            raise InputError(
                f"image {path} has {size}, more than {_MOST_PIXELS / 1e6:.0f} megapixels; crop the "
                f"part that is looked for, or tile it as a slide"
            )
        try:
            mpp = slide.mpp.mean
        except MissingPixelSizeError as error:
            raise MissingPixelSizeError(
                f"image {path} has no pixel size; give its µm per pixel, such as --mpp 0.25"
            ) from error
        return slide.read_level_box(0, LevelBox(0, 0, size.width, size.height)), mpp


def _check_mpp(path: Path, mpp_um: float) -> None:
    if not MIN_MPP < mpp_um <= MAX_MPP:
        raise ImpossiblePixelSizeError(
            f"image {path} cannot have {mpp_um:g} µm per pixel (possible: above {MIN_MPP:g} and up "
            f"to {MAX_MPP:g}); give the right one with --mpp"
        )


def _starts(length: int, side: int) -> range:
    """Where tiles begin along a side, as many as fit, in the middle."""
    fitting = length // side
    first = (length - fitting * side) // 2
    return range(first, first + fitting * side, side)
