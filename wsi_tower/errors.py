"""Every error that wsi-tower raises on purpose.

Each message names the input, its value and the remedy; ``reason`` is the short code that reports
and ``--json`` carry, stable across versions. The tree::

    WsiTowerError
    ├── SettingsError (ValueError)            a setting cannot be right, whatever the slide
    ├── InputError                            what was asked for cannot be found or listed
    │   ├── NoSlidesError (FileNotFoundError)
    │   ├── DuplicateSlideError
    │   └── SlideListError (ValueError)
    ├── SlideError                            one slide cannot be used
    │   ├── SlideNotFoundError (FileNotFoundError)
    │   ├── UnreadableSlideError
    │   ├── UnsupportedSlideError
    │   ├── MissingPixelSizeError
    │   ├── ImpossiblePixelSizeError
    │   ├── ResolutionError                   finer than the slide has
    │   ├── TooSmallSlideError
    │   ├── OtherResolutionError              no level of the resolution asked for
    │   ├── NativeTilesError                  its own tiles cannot be copied
    │   └── StainError                        its stain cannot be told
    ├── AnnotationError                       an annotation file cannot be understood
    ├── LabelError                            masks to learn from do not fit their pictures
    ├── MaskError                             a given tissue mask cannot be used
    ├── EmptySlideError                       no tile is left; a result, not a failure
    ├── EncoderError                          an encoder or its weights cannot be had
    ├── ModelError                            a segmentation model cannot be had or used here
    ├── TrainingError                         a run of training cannot begin or go on
    │   ├── TooFewTilesError
    │   ├── DivergedError                     the loss is no longer a number
    │   ├── CheckpointError                   of another method, version or settings, or damaged
    │   ├── LostRankError                     one of several processes is gone
    │   └── OtherRankError                    another process has told the user what is wrong
    ├── ScoreError                            there is nothing that a score could be taken of
    ├── StoreError                            an artefact on disk
    │   ├── OtherSettingsError                made with other settings; never reused silently
    │   ├── StoreBusyError                    another process is writing it
    │   └── CorruptStoreError
    └── StorageError (OSError)                the disk: full, read-only, not a folder
"""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "AnnotationError",
    "CheckpointError",
    "CorruptStoreError",
    "DivergedError",
    "DuplicateSlideError",
    "EmptySlideError",
    "EncoderError",
    "ImpossiblePixelSizeError",
    "InputError",
    "LabelError",
    "LostRankError",
    "MaskError",
    "MissingPixelSizeError",
    "ModelError",
    "NativeTilesError",
    "NoSlidesError",
    "OtherRankError",
    "OtherResolutionError",
    "OtherSettingsError",
    "ResolutionError",
    "ScoreError",
    "SettingsError",
    "SlideError",
    "SlideListError",
    "SlideNotFoundError",
    "StainError",
    "StorageError",
    "StoreBusyError",
    "StoreError",
    "TooFewTilesError",
    "TooSmallSlideError",
    "TrainingError",
    "UnreadableSlideError",
    "UnsupportedSlideError",
    "WsiTowerError",
    "storage_errors",
    "without_secrets",
]


class WsiTowerError(Exception):
    """Base of every error that wsi-tower raises on purpose."""

    reason: ClassVar[str] = "error"
    """Short code for reports and ``--json``."""


class SettingsError(WsiTowerError, ValueError):
    """A setting cannot be right, whatever the slide."""

    reason = "settings"


class InputError(WsiTowerError):
    """What was asked for cannot be found or listed."""

    reason = "input"


class NoSlidesError(InputError, FileNotFoundError):
    """An input holds no slide."""

    reason = "no-slides"


class DuplicateSlideError(InputError):
    """Two inputs would share one slide id."""

    reason = "duplicate-slide-id"


class SlideListError(InputError, ValueError):
    """A slide list cannot be understood."""

    reason = "slide-list"


class SlideError(WsiTowerError):
    """One slide cannot be used; the others can."""

    reason = "slide"


class SlideNotFoundError(SlideError, FileNotFoundError):
    """The slide does not exist or may not be read."""

    reason = "not-found"


class UnreadableSlideError(SlideError):
    """The file is damaged, or is not what its name says."""

    reason = "unreadable"


class UnsupportedSlideError(SlideError):
    """The file is sound, but no reader covers its format."""

    reason = "unsupported-format"


class MissingPixelSizeError(SlideError):
    """The slide has no pixel size and none was given."""

    reason = "no-pixel-size"


class ImpossiblePixelSizeError(SlideError):
    """The pixel size or the physical extent cannot be true."""

    reason = "impossible-pixel-size"


class ResolutionError(SlideError):
    """Tiles finer than the slide were asked for."""

    reason = "finer-than-slide"


class OtherResolutionError(SlideError):
    """The slide has no level of the resolution that a network was trained at."""

    reason = "other-resolution"


class TooSmallSlideError(SlideError):
    """Not one tile fits into the slide."""

    reason = "smaller-than-one-tile"


class NativeTilesError(SlideError):
    """The slide's own compressed tiles were asked for and cannot be copied."""

    reason = "no-native-tiles"


class StainError(SlideError):
    """The slide's stain cannot be told from its tissue."""

    reason = "stain"


class AnnotationError(WsiTowerError):
    """An annotation file cannot be understood."""

    reason = "annotations"


class LabelError(WsiTowerError):
    """Masks to learn from do not fit their pictures, or nothing can be learnt from them."""

    reason = "labels"


class MaskError(WsiTowerError):
    """A given tissue mask cannot be used with this slide."""

    reason = "tissue-mask"


class EmptySlideError(WsiTowerError):
    """No tile is left; the message holds the numbers that did it."""

    reason = "no-tissue"


class EncoderError(WsiTowerError):
    """An encoder does not exist, or its weights cannot be had or do not fit."""

    reason = "encoder"


class ModelError(WsiTowerError):
    """A segmentation model does not exist, or cannot be used with this version or resolution."""

    reason = "model"


class TrainingError(WsiTowerError):
    """A run of training cannot begin or go on."""

    reason = "training"


class TooFewTilesError(TrainingError):
    """There are fewer tiles, or tiles with a partner, than a batch needs."""

    reason = "too-few-tiles"


class DivergedError(TrainingError):
    """The loss is no longer a number; the last good checkpoint is kept."""

    reason = "diverged"


class CheckpointError(TrainingError):
    """A checkpoint is of another method, version or settings, or is damaged."""

    reason = "checkpoint"


class LostRankError(TrainingError):
    """One of the processes that train together is gone; the last checkpoint is kept."""

    reason = "lost-rank"


class OtherRankError(TrainingError):
    """This process ends because of another, which tells the user why."""

    reason = "other-rank"


class ScoreError(WsiTowerError):
    """There is nothing that a score could be taken of: too few slides, no tumour, no numbers."""

    reason = "score"


class StoreError(WsiTowerError):
    """An artefact on disk cannot be used."""

    reason = "store"


class OtherSettingsError(StoreError):
    """The artefact exists, made with other settings."""

    reason = "other-settings"


class StoreBusyError(StoreError):
    """Another process is writing this artefact now."""

    reason = "busy"


class CorruptStoreError(StoreError):
    """The artefact is damaged or not of this format."""

    reason = "corrupt-store"


class StorageError(WsiTowerError, OSError):
    """The disk refused: full, read-only, no permission, or a file where a folder should be."""

    reason = "storage"


_URL = re.compile(
    r"([a-z][a-z0-9+.-]*://)(?:[^/\s@'\"]*@)?([^\s?#'\")]*)[?#]?[^\s'\")]*", re.IGNORECASE
)


def without_secrets(text: str) -> str:
    """Text whose URLs keep scheme, host and path alone.

    User, password and query stay out of messages, logs, stores and reports: signed addresses carry
    their secret there.
    """
    return _URL.sub(r"\1\2", text)


_STORAGE_REMEDIES = {
    errno.ENOSPC: "no space left on the device; free some, or choose another workspace with -w",
    errno.EDQUOT: "the disk quota is used up; free some, or choose another workspace with -w",
    errno.EACCES: "no permission to write there; change it, or choose another workspace with -w",
    errno.EPERM: "no permission to write there; change it, or choose another workspace with -w",
    errno.EROFS: "the file system is read-only; choose another workspace with -w",
    errno.ENOENT: "no folder can be made there; choose another workspace with -w",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another workspace with -w",
    errno.EEXIST: "a file stands where a folder is needed; choose another workspace with -w",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while writing ``path`` into `StorageError`."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        remedy = _STORAGE_REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        raise StorageError(f"cannot write {path}: {remedy}") from error
