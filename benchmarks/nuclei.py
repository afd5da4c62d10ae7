"""Nuclei without labels on MoNuSeg: every configuration and seed, the floor and the control.

    python -m benchmarks.nuclei OUT [--data DIR] [--only NAME] [--seeds N]

Networks are trained on the 30 pictures without masks; masks score the end of a run and choose
nothing, but for the column ``labelled_channel``, which shows what a choice by labels would have
given. Run it again to go on: a run that OUT/runs.csv has is not made again. OUT/table.md shows
all.
"""

from __future__ import annotations

import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cv2
import numpy as np
import torch

from wsi_tower.models import ConfidenceNet
from wsi_tower.scores import dice
from wsi_tower.segment.nuclei import (
    ContrastSettings,
    LearntNet,
    NucleiSettings,
    choose_channel,
    cleaned,
    contrast_settings,
    learn_nuclei,
    otsu_thresholds,
    picture_confidences,
    smoothed_haematoxylin,
)
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TAUGHT = contrast_settings("taught")
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "published": {"preset": "published"},
    "taught": {"preset": "taught"},
    "teacher-only": {"preset": "taught", "contrast": replace(_TAUGHT, contrast=0.0)},
    "contrast-only": {
        "preset": "published",
        "contrast": ContrastSettings(temperature=0.1),
        "crop_px": 150,
    },
}
"""By name, what differs from the defaults."""
_COLUMNS = (
    *("configuration", "seed", "steps", "seconds", "channel", "criterion", "is_plausible"),
    *("dice", "dice_cleaned", "labelled_channel", "labelled_dice"),
)


def _pictures(data: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    found = []
    for path in sorted((data / "images").iterdir()):
        (mask,) = (data / "masks").glob(f"{path.stem}.*")
        bgr, truth = cv2.imread(str(path)), cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
        if bgr is None or truth is None:
            raise click.ClickException(f"{path} or its mask cannot be read")
        rgb = np.ascontiguousarray(bgr[..., ::-1], np.uint8)
        found.append((rgb, np.asarray(truth > 0)))
    return found


def _scored(net: ConfidenceNet, channel: int, pictures: list[Any]) -> dict[str, Any]:
    dices, clean = [], []
    for rgb, truth in pictures:
        masks = picture_confidences(net, rgb) > 0.5
        dices.append([dice(mask, truth) for mask in masks])
        clean.append(dice(cleaned(masks[channel]), truth))
    means = np.mean(dices, axis=0)
    return {
        "dice": round(float(means[channel]), 4),
        "dice_cleaned": round(float(np.mean(clean)), 4),
        "labelled_channel": int(means.argmax()),
        "labelled_dice": round(float(means.max()), 4),
    }


def _otsu_row(pictures: list[Any], sigma_px: float) -> dict[str, Any]:
    raw, clean = [], []
    for rgb, truth in pictures:
        image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
        density = smoothed_haematoxylin(image, sigma_px)
        mask = (density >= otsu_thresholds(density.flatten(1))[:, None, None])[0].numpy()
        raw.append(dice(mask, truth))
        clean.append(dice(cleaned(mask), truth))
    return {
        "configuration": f"otsu-sigma-{sigma_px:g}",
        "dice": round(float(np.mean(raw)), 4),
        "dice_cleaned": round(float(np.mean(clean)), 4),
    }


def _untrained_row(seed: int, pictures: list[Any]) -> dict[str, Any]:
    torch.manual_seed(seed)
    net = ConfidenceNet().eval().fused().to(memory_format=torch.channels_last)
    choice = choose_channel(net, [rgb for rgb, _ in pictures[::3]], 0.25)
    return {
        "configuration": "untrained",
        "seed": seed,
        "steps": 0,
        "channel": choice.channel,
        "criterion": round(choice.share, 4),
        "is_plausible": choice.is_plausible,
        **_scored(net, choice.channel, pictures),
    }


def _trained_row(
    name: str, seed: int, data: Path, out: Path, pictures: list[Any]
) -> dict[str, Any]:
    began = time.perf_counter()
    settings = NucleiSettings(
        images=data / "images",
        name=f"{name}-{seed}",
        seeds=(seed,),
        device="cpu",
        overwrite=True,
        **CONFIGURATIONS[name],
    )
    learnt: LearntNet = learn_nuclei(settings, Workspace(out / "workspace")).best
    seconds = round(time.perf_counter() - began)
    choice = learnt.choice
    return {
        "configuration": name,
        "seed": seed,
        "steps": learnt.steps,
        "seconds": seconds,
        "channel": choice.channel,
        "criterion": round(choice.share, 4),
        "is_plausible": choice.is_plausible,
        **_scored(learnt.net, choice.channel, pictures),
    }


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _add(path: Path, row: dict[str, Any]) -> None:
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="", lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def _write_table(out: Path) -> None:
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    rows = sorted(_rows(out / "runs.csv"), key=lambda row: (row["configuration"], row["seed"]))
    lines += [f"| {' | '.join(row[name] for name in _COLUMNS)} |" for row in rows]
    (out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path("../shared/data/nuclei/monuseg_train")
)
@click.option("--only", multiple=True, help="Configurations; none: all.")
@click.option("--seeds", default=5, show_default=True, help="Of each configuration.")
def main(out: Path, data: Path, only: tuple[str, ...], seeds: int) -> None:
    """Train, choose without labels, score; write OUT/runs.csv and OUT/table.md."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = _pictures(data)
    table = out / "runs.csv"
    for name in only or ("otsu", "untrained", *CONFIGURATIONS):
        for seed in range(2 if name == "otsu" else seeds):
            asked = f"otsu-sigma-{2 * seed}" if name == "otsu" else name
            told = "" if name == "otsu" else str(seed)
            done = {(row["configuration"], row["seed"]) for row in _rows(table)}
            if (asked, told) in done:
                continue
            if name == "otsu":
                row = _otsu_row(pictures, 2.0 * seed)
            elif name == "untrained":
                row = _untrained_row(seed, pictures)
            else:
                row = _trained_row(name, seed, data, out, pictures)
            _add(table, row)
            _write_table(out)
            click.echo(row)


if __name__ == "__main__":
    main()
