"""Slides: finding them, opening them, and reading their pixels through one port."""

from wsi_tower.slides.compressed import CompressedLevel, Streams
from wsi_tower.slides.entries import MASK_SUFFIXES, SlideEntry
from wsi_tower.slides.fingerprint import Fingerprint, fingerprint
from wsi_tower.slides.info import Level, Overview, PixelSize, PixelSizeOrigin, Rgb, SlideInfo
from wsi_tower.slides.inputs import find_slides
from wsi_tower.slides.opening import READERS, ReaderInfo, ReaderName, open_slide
from wsi_tower.slides.pixel_size import PixelSizeWarning
from wsi_tower.slides.port import Slide, resampled, shrunk
from wsi_tower.slides.sources import is_url, shown_source

__all__ = [
    "MASK_SUFFIXES",
    "READERS",
    "CompressedLevel",
    "Fingerprint",
    "Level",
    "Overview",
    "PixelSize",
    "PixelSizeOrigin",
    "PixelSizeWarning",
    "ReaderInfo",
    "ReaderName",
    "Rgb",
    "Slide",
    "SlideEntry",
    "SlideInfo",
    "Streams",
    "find_slides",
    "fingerprint",
    "is_url",
    "open_slide",
    "resampled",
    "shown_source",
    "shrunk",
]
