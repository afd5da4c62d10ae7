"""`score_masks`: Dice and AJI of predicted masks against true ones, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import cv2
import numpy as np

from wsi_tower.errors import LabelError
from wsi_tower.scores import aggregated_jaccard, dice
from wsi_tower.segment.label_files import files_by_name, label_values
from wsi_tower.segment.objects import label_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ImageScore", "MaskScores", "ObjectsOf", "ScoringSettings", "score_masks"]

ObjectsOf: TypeAlias = Literal["ids", "components"]
"""``ids``: each number of a mask is an object; ``components``: what is connected by sides is."""
_MOST_PIECES = 4
"""Pieces of an id on average up to which numbers can be ids: a picture of probabilities has as many
pieces as specks."""
_SPARE_PIECES = 20


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """What is scored against what."""

    predicted: Path
    """Folder of predicted masks."""
    masks: Path
    """Folder of true masks; each has a predicted one of its name."""
    images: Path | None = None
    """Folder of the pictures, for the floor: Otsu's threshold on haematoxylin."""
    objects: Literal["auto", "ids", "components"] = "auto"
    """What an object is; ``auto``: ids where a folder's masks have several numbers."""
    sigma_px: float = 0.0
    """Gaussian over haematoxylin before the floor's threshold."""


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One image."""

    name: str
    """Of its mask, without suffix."""
    dice: float
    """Of pixels, foreground against the rest; 1 where both masks are empty."""
    aji: float
    """Aggregated Jaccard index of objects; 1 where both masks are empty."""
    found: int
    """Objects predicted."""
    true: int
    """Objects there are."""
    floor_dice: float | None = None
    """Dice of the floor."""
    floor_aji: float | None = None
    """AJI of the floor, its objects by connection."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to find."""
        return self.true == 0


@dataclass(frozen=True, slots=True)
class MaskScores:
    """All images, and what objects were."""

    images: tuple[ImageScore, ...]
    """By name."""
    predicted_objects: ObjectsOf
    """What an object of a predicted mask is."""
    true_objects: ObjectsOf
    """What an object of a true mask is: with ``ids``, AJI is as it was published."""


@dataclass(frozen=True, slots=True)
class _Files:
    """What belongs to one image."""

    found: Path
    true: Path
    image: Path | None


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the first look at a mask tells."""

    shape: tuple[int, ...]
    numbers: int
    has_background: bool
    is_speckled: bool


def score_masks(
    settings: ScoringSettings, on_image: Callable[[ImageScore], None] | None = None
) -> MaskScores:
    """Score every true mask's prediction; files are read one image at a time.

    Args:
        settings: what is scored against what.
        on_image: hears of each image.

    Raises:
        SettingsError: a folder is none.
        LabelError: masks do not match in name or size, or hold what no mask holds; all are named.
    """
    files = _matched(settings)
    kinds = _objects_of(files, settings)
    scores = []
    for name, own in files.items():
        scores.append(_scored(name, own, kinds, settings.sigma_px))
        if on_image is not None:
            on_image(scores[-1])
    return MaskScores(tuple(scores), *kinds)


def otsu_mask(rgb: NDArray[np.uint8], sigma_px: float) -> NDArray[np.bool_]:
    """The floor: where haematoxylin is above Otsu's threshold of the picture: (H, W)."""
    import torch

    from wsi_tower.segment.nuclei import otsu_thresholds, smoothed_haematoxylin

    image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    density = smoothed_haematoxylin(image, sigma_px)
    threshold = otsu_thresholds(density.flatten(1))[:, None, None]
    mask: NDArray[np.bool_] = (density >= threshold)[0].numpy()
    return mask


def _matched(settings: ScoringSettings) -> dict[str, _Files]:
    """The files of every image, by name.

    Raises:
        SettingsError: a folder is none.
        LabelError: some have no partner; all are named.
    """
    truth = files_by_name(settings.masks, "masks")
    others = {"predicted": settings.predicted, "images": settings.images}
    files = {role: files_by_name(of, role) for role, of in others.items() if of is not None}
    for role, own in files.items():
        missing = sorted(truth.keys() - own.keys())
        if missing:
            spare = sorted(own.keys() - truth.keys())
            raise LabelError(
                f"{len(missing)} of {len(truth)} masks in {settings.masks} have nothing of their "
                f"name in --{role} {others[role]}: {', '.join(missing)}"
                + (f"; these have no mask: {', '.join(spare)}" if spare else "")
                + ". Names must be the same but for the suffix"
            )
    images = files.get("images", {})
    return {
        name: _Files(files["predicted"][name], path, images.get(name))
        for name, path in sorted(truth.items())
    }


def _objects_of(
    files: Mapping[str, _Files], settings: ScoringSettings
) -> tuple[ObjectsOf, ObjectsOf]:
    """What an object of a prediction is, and of a true mask, after a first look at all of them.

    Raises:
        LabelError: sizes differ, or a mask holds what no mask holds; all are named.
    """
    faults: list[str] = []
    looks: list[tuple[_Facts, _Facts]] = []
    for name, own in files.items():
        try:
            facts = _look(own.found), _look(own.true)
        except LabelError as error:
            faults.append(f"{name}: {error}")
            continue
        looks.append(facts)
        faults += _other_size(name, own, facts)
    kinds: list[ObjectsOf] = []
    for place, role in enumerate(("predicted", "masks")):
        has_ids = any(facts[place].numbers > 1 for facts in looks)
        auto: ObjectsOf = "ids" if has_ids else "components"
        kinds.append(auto if settings.objects == "auto" else settings.objects)
        if settings.objects == "auto" and any(facts[place].is_speckled for facts in looks):
            faults.append(
                f"--{role} has masks whose numbers lie scattered, as in pictures or probabilities: "
                f"threshold them, or say --objects ids if they number objects"
            )
    if not faults:
        faults += _without_sense([true for _, true in looks], settings.masks)
    if faults:
        raise LabelError(
            f"{len(files)} masks cannot be scored, for {len(faults)} reasons: {'; '.join(faults)}"
        )
    return kinds[0], kinds[1]


def _look(path: Path) -> _Facts:
    values = label_values(path)
    ids = np.unique(values)
    numbers = len(ids) - (0 in ids)
    if numbers < 2:
        return _Facts(values.shape, numbers, 0 in ids, is_speckled=False)
    from skimage.measure import label

    _, pieces = label(values, background=0, return_num=True, connectivity=1)
    most = _MOST_PIECES * numbers + _SPARE_PIECES
    return _Facts(values.shape, numbers, 0 in ids, is_speckled=pieces > most)


def _without_sense(looks: Sequence[_Facts], masks: Path) -> list[str]:
    if not any(facts.numbers for facts in looks):
        return [f"all true masks in {masks} are empty; foreground must be above 0 in them"]
    if not any(facts.has_background for facts in looks):
        return [f"no true mask in {masks} has background, which is 0; subtract its value"]
    return []


def _other_size(name: str, own: _Files, facts: tuple[_Facts, _Facts]) -> list[str]:
    found, true = (facts_of.shape for facts_of in facts)
    sizes = {"prediction": found}
    if own.image is not None:
        pixels = cv2.imread(str(own.image), cv2.IMREAD_COLOR_RGB)
        if pixels is None:
            return [f"image {own.image} cannot be read"]
        sizes["image"] = pixels.shape[:2]
    return [
        f"{name}: the mask is {true[1]} × {true[0]} px and the {role} {size[1]} × {size[0]}"
        for role, size in sizes.items()
        if size != true
    ]


def _scored(
    name: str, own: _Files, kinds: tuple[ObjectsOf, ObjectsOf], sigma_px: float
) -> ImageScore:
    found, true = label_values(own.found), label_values(own.true)
    found_ids, true_ids = _numbered(found, kinds[0]), _numbered(true, kinds[1])
    floors: tuple[float | None, float | None] = (None, None)
    if own.image is not None:
        rgb = np.asarray(cv2.imread(str(own.image), cv2.IMREAD_COLOR_RGB), np.uint8)
        floor = otsu_mask(rgb, sigma_px)
        floors = dice(floor, true > 0), aggregated_jaccard(label_objects(floor), true_ids)
    return ImageScore(
        name,
        dice(found > 0, true > 0),
        aggregated_jaccard(found_ids, true_ids),
        _count(found_ids),
        _count(true_ids),
        *floors,
    )


def _numbered(values: NDArray[Any], kind: ObjectsOf) -> NDArray[Any]:
    return values if kind == "ids" else label_objects(values > 0)


def _count(ids: NDArray[Any]) -> int:
    return len(np.unique(ids[ids != 0]))
