"""What to do about a failure, by its reason code: said once for all slides that share it.

A row's message names its own slide and value; this is the advice for the whole group.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["remedy_for"]

_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "not-found": "Check the path and that this user may read the file.",
        "unreadable": "Copy the file again from the scanner or archive and compare sizes; "
        "“wsi-tower info” shows whether a reader can open it.",
        "unsupported-format": "Export the slide as pyramidal TIFF, OME-TIFF, SVS or DICOM; "
        "“wsi-tower doctor” lists what each reader covers.",
        "no-pixel-size": "For one slide use --mpp-of NAME=VALUE; for many, a slide list (CSV) "
        "with the columns wsi and mpp.",
        "impossible-pixel-size": "Give the scanner's true pixel size with --mpp-of NAME=VALUE or "
        "in the mpp column of a slide list.",
        "finer-than-slide": "Ask for coarser tiles with a larger --mpp, or accept enlarged pixels "
        "with --allow-upsample.",
        "other-resolution": "Let --resample bring slides to the model's resolution, or take a "
        "model of theirs.",
        "model": "Take another model, or train it again.",
        "smaller-than-one-tile": "Use a smaller --tile-px or a finer --mpp, or leave the slide "
        "out.",
        "no-native-tiles": "Let --pixels auto choose, or take native tiles with --tile-px native "
        "at the mpp of one of the slide's levels.",
        "stain": "Embed the slide with --stain none, or leave it out.",
        "encoder": "Tile at the encoder's resolution, or let --resample and --input-px resize.",
        "annotations": "Export them again as ASAP XML, ImageScope XML or QuPath GeoJSON.",
        "settings": "Change the setting that the message names.",
        "tissue-mask": "Check that the mask belongs to this slide and has its aspect ratio.",
        "other-settings": "Make it again with --overwrite, or keep both in another workspace "
        "with -w.",
        "busy": "Another run is writing this slide; run the command again when it has finished.",
        "corrupt-store": "Make it again with --overwrite.",
        "storage": "Free space or fix the permissions, then run the same command: finished "
        "slides are kept.",
        "worker-died": "Give each worker more memory with a smaller -j; if it dies alone too, "
        "the file crashes its reader.",
    }
)

_UNEXPECTED = (
    "This is a failure that wsi-tower does not know. Run the slide alone with -j 1 -v, and report "
    "the traceback."
)


def remedy_for(reason: str) -> str:
    """Advice for a reason code; for an unknown one, how to report it."""
    return _REMEDIES.get(reason, _UNEXPECTED)
