"""Pictures and masks that fit, and all the ways in which they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from tests.segment.finetune.discs import discs, write_discs
from wsi_tower.errors import LabelError, SettingsError
from wsi_tower.segment.finetune import LabelledPicture, labelled_pictures, split_by_seed

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read(folder: Path, *only: str) -> tuple[list[LabelledPicture], list[str]]:
    warned: list[str] = []
    found = labelled_pictures(folder / "images", folder / "masks", only, warned.append)
    return found, warned


def put(folder: Path, name: str, mask: NDArray[Any]) -> None:
    assert cv2.imwrite(str(folder / "masks" / name), mask)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_discs(tmp_path, 3)


def test_masks_of_ones_of_255_and_of_instances_are_one(folder: Path) -> None:
    found, warned = read(folder)
    assert [picture.name for picture in found] == ["p0", "p1", "p2"]
    for seed, picture in enumerate(found):
        rgb, instances = discs(seed)
        np.testing.assert_array_equal(picture.rgb, rgb)
        np.testing.assert_array_equal(picture.mask, np.where(instances > 0, 255, 0))
    assert warned == []


def test_some_are_chosen_by_name(folder: Path) -> None:
    assert [picture.name for picture in read(folder, "p2", "p0")[0]] == ["p0", "p2"]
    with pytest.raises(SettingsError, match="has no image named q"):
        read(folder, "p0", "q")


def test_images_without_a_mask_are_all_named(folder: Path) -> None:
    for name in ("p0", "p2"):
        (folder / "masks" / f"{name}.png").unlink()
    with pytest.raises(LabelError, match=r"2 of 3 images in .* have no mask .*: p0, p2; add"):
        read(folder)
    assert len(read(folder, "p1")[0]) == 1


def test_masks_that_cannot_be_are_all_named(folder: Path) -> None:
    put(folder, "p0.png", np.ones((96, 90), np.uint8))
    put(folder, "p1.png", np.random.default_rng(0).integers(0, 9, (96, 96, 3)).astype(np.uint8))
    (folder / "masks" / "p2.png").unlink()
    put(folder, "p2.tif", np.full((96, 96), 0.5, np.float32))
    with pytest.raises(LabelError) as caught:
        read(folder)
    message = str(caught.value)
    assert "3 of 3 masks cannot be used" in message
    assert "p0.png is 90 × 96 px and its image 96 × 96" in message
    assert "p1.png is in colour" in message
    assert "p2.tif holds values that are no whole numbers" in message


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("p0.jpg", np.ones((96, 96), np.uint8), "p0.jpg is a JPEG"),
        ("p0.tif", np.full((96, 96), -1, np.int16), "below 0, down to -1"),
        ("p0.tif", np.full((96, 96), np.nan, np.float32), "no whole numbers"),
    ],
    ids=["jpeg", "negative", "nan"],
)
def test_masks_of_unexpected_values(
    folder: Path, name: str, mask: NDArray[Any], message: str
) -> None:
    (folder / "masks" / "p0.png").unlink()
    put(folder, name, mask)
    with pytest.raises(LabelError, match=message):
        read(folder)


def test_damaged_files_are_named(folder: Path) -> None:
    (folder / "masks" / "p1.png").write_bytes(b"\x89PNG not really")
    (folder / "images" / "p2.png").write_bytes(b"")
    with pytest.raises(LabelError, match=r"p1\.png cannot be read; image .*p2\.png cannot be read"):
        read(folder)


def test_empty_masks_warn_and_nothing_but_empty_ones_are_refused(folder: Path) -> None:
    put(folder, "p1.png", np.zeros((96, 96), np.uint8))
    assert read(folder)[1] == ["1 masks are empty, and teach that nothing is there: p1"]
    with pytest.raises(LabelError, match=r"all 1 masks in .* are empty"):
        read(folder, "p1")


def test_masks_without_background_are_refused(folder: Path) -> None:
    put(folder, "p1.png", np.full((96, 96), 2, np.uint8))
    with pytest.raises(LabelError, match=r"no mask in .* has background, which is 0"):
        read(folder, "p1")
    assert len(read(folder)[0]) == 3


def test_folders_that_are_none_or_empty(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--masks .* is no folder"):
        labelled_pictures(folder / "images", tmp_path / "nowhere", (), print)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabelError, match=r"--images .* holds no image"):
        labelled_pictures(tmp_path / "empty", folder / "masks", (), print)
    (folder / "images" / "p0.bmp").write_bytes((folder / "images" / "p0.png").read_bytes())
    with pytest.raises(LabelError, match=r"two files of one name, p0\.bmp and p0\.png"):
        read(folder)


# Shares


def made(count: int, side_px: int = 200) -> list[LabelledPicture]:
    mask = np.zeros((side_px, side_px + 40), np.uint8)
    mask[:40] = 255
    rgb = np.zeros((*mask.shape, 3), np.uint8)
    return [LabelledPicture(f"p{number}", rgb, mask) for number in range(count)]


def names(pictures: tuple[LabelledPicture, ...]) -> set[str]:
    return {picture.name for picture in pictures}


def test_shares_are_drawn_by_seed_and_nest() -> None:
    pictures, taken = made(40), []
    for labels, expected in ((0.05, 2), (0.25, 10), (1.0, 40)):
        split = split_by_seed(pictures, labels, 0.2, 3, print)
        assert not names(split.training) & names(split.validation)
        assert len(split.validation) == max(1, round(0.2 * expected))
        taken.append(names(split.training) | names(split.validation))
        assert len(taken[-1]) == expected
    assert taken[0] < taken[1] < taken[2]
    others = [split_by_seed(pictures, 0.25, 0.2, seed, print) for seed in range(4)]
    assert len({frozenset(names(split.training)) for split in others}) == 4


def test_less_than_a_picture_is_one_cut_in_two() -> None:
    warned: list[str] = []
    split = split_by_seed(made(10), 0.05, 0.2, 0, warned.append)
    (training,), (validation,) = split.training, split.validation
    assert training.mask.shape == (200, 180)
    assert validation.mask.shape == (200, 60)
    assert training.rgb.shape == (200, 180, 3)
    assert "a quarter of it is kept for validation" in warned[0]


def test_one_picture_too_small_to_be_cut() -> None:
    with pytest.raises(LabelError, match="only labelled picture and, at 100 × 60 px, too small"):
        split_by_seed(made(1, 60), 1.0, 0.2, 0, print)


def test_nothing_to_learn_from() -> None:
    whole, *others = made(3)
    empty = [LabelledPicture(one.name, one.rgb, np.zeros_like(one.mask)) for one in others]
    # A seed by which the one with foreground validates and the empty ones train.
    drawn = [split_by_seed(made(3), 1.0, 0.4, seed, print).validation[0].name for seed in range(12)]
    seed = drawn.index("p0")
    with pytest.raises(LabelError, match=r"drawn for training are all empty \(p[12], p[12]\)"):
        split_by_seed([whole, *empty], 1.0, 0.4, seed, print)
