"""Phantom tissue beside real tissue: a sheet to look at, and a table of what can be counted.

    make phantom-looks              # real crops from ../shared/data where it is there
    python -m benchmarks.phantom_looks --real folder --seed 2 --check

Writes to ``benchmarks/results/looks-<seed>/``: ``sheet.png`` with 12 real and 12 phantom crops of
200 µm at 0.5 µm/px, ``mixed.png`` with the same 24 shuffled and ``key.txt`` that tells which are
real, and ``statistics.csv``. The real crops are the middles of the MoNuSeg training pictures with
their nucleus masks (0.25 µm/px, averaged to 0.5). A statistic passes where the phantom's median and
nine in ten of its crops lie between the least and the greatest of the real ones.
"""

from __future__ import annotations

import csv
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cv2
import numpy as np
import openslide
import zarr
from PIL import Image
from skimage.color import hed_from_rgb
from skimage.measure import label, regionprops_table

from benchmarks.phantom_truth import crops_of, written
from benchmarks.results import RESULTS
from wsi_tower.phantom import PhantomSettings, nuclei_path
from wsi_tower.phantom.recipe import GENERATOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

REAL = Path(__file__).parents[2] / "shared" / "data"
MPP = 0.5
SIDE_PX = 400
SHOWN = 12
LEAST_NUCLEUS_UM2 = 10.0
"""Smaller areas are crumbs of masks."""
PASSING = 0.9


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of tissue and its nuclei."""

    rgb: NDArray[np.uint8]
    """side × side × 3 at 0.5 µm/px."""
    areas_um2: NDArray[np.float64]
    """Area of each nucleus."""
    nuclear: NDArray[np.bool_]
    """Which pixels are nucleus: side × side."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is counted on a crop."""

    haematoxylin_mean: float
    """Mean density on haematoxylin's Ruifrok vector, unmixed with eosin and DAB."""
    haematoxylin_sd: float
    """Its standard deviation over pixels."""
    eosin_mean: float
    """Likewise for eosin."""
    eosin_sd: float
    """Its standard deviation over pixels."""
    nucleus_um2: float
    """Median area of a nucleus."""
    nuclei_per_mm2: float
    """Nuclei of 10 µm² or more."""
    power_slope: float
    """Slope of the grey picture's power over frequency, both logarithmic, 0.02 to 0.33 / px."""
    nucleus_contrast: float
    """Mean haematoxylin in nuclei less that outside."""

    @classmethod
    def of(cls, crop: Crop) -> Statistics:
        """The statistics of a crop."""
        stains = hed_densities(crop.rgb) / math.log(10)
        haematoxylin, eosin = stains[..., 0], stains[..., 1]
        outside = haematoxylin[~crop.nuclear].mean()
        side_mm = SIDE_PX * MPP / 1000
        return cls(
            float(haematoxylin.mean()),
            float(haematoxylin.std()),
            float(eosin.mean()),
            float(eosin.std()),
            float(np.median(crop.areas_um2)),
            len(crop.areas_um2) / side_mm**2,
            power_slope(crop.rgb.mean(axis=2)),
            float(haematoxylin[crop.nuclear].mean() - outside),
        )


def hed_densities(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Natural optical density along Ruifrok's haematoxylin, eosin and DAB: H × W × 3."""
    light = np.clip(rgb.astype(np.float64), 1, 255) / 255
    densities: NDArray[np.float64] = -np.log(light) @ hed_from_rgb
    return densities


def power_slope(grey: NDArray[np.float64]) -> float:
    """Slope of log power over log frequency between 1/50 and 1/3 of a cycle a pixel."""
    side = len(grey)
    window = np.outer(np.hanning(side), np.hanning(side))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    edges = np.geomspace(1 / 50, 1 / 3, 14)
    ring = np.digitize(frequency, edges)
    means = [power[ring == number].mean() for number in range(1, len(edges))]
    middles = np.sqrt(edges[1:] * edges[:-1])
    return float(np.polyfit(np.log(middles), np.log(means), 1)[0])


@click.command()
@click.option("--real", type=click.Path(path_type=Path), default=REAL, help="Real data.")
@click.option("--seed", default=1, show_default=True, help="Of the phantoms and of the draws.")
@click.option("--slides", default=8, show_default=True, help="Phantoms to write.")
@click.option("--check", is_flag=True, help="Fail where a statistic is out of the real range.")
def main(real: Path, seed: int, slides: int, check: bool) -> None:
    """Write the sheet and the table."""
    folder = RESULTS / f"looks-{GENERATOR}-{seed}"
    phantom = phantom_crops(folder / "slides", slides, seed)
    found = real_crops(real)
    if not found:
        click.echo(f"no real crops: {real / 'nuclei' / 'monuseg_train'} is missing")
    rng = np.random.default_rng(seed)
    shown = [
        [crops[row] for row in rng.permutation(len(crops))[:SHOWN]] for crops in (found, phantom)
    ]
    _write_sheets(folder, rng, [crop.rgb for crop in shown[0]], [crop.rgb for crop in shown[1]])
    missed = _write_table(folder, found, phantom) if found else []
    click.echo(f"Written to {folder}")
    if check and missed:
        raise click.ClickException(f"out of the real range: {', '.join(missed)}")


def phantom_crops(folder: Path, slides: int, seed: int) -> list[Crop]:
    """Up to five tumour and five normal crops of each slide, in an order of their own."""
    settings = PhantomSettings(
        slides, width_um=5_000, height_um=4_000, mpp=MPP, seed=seed, pen_every=0, nuclei=True
    )
    rng = np.random.default_rng(seed)
    crops = []
    for path in written(folder, settings):
        size = (settings.size.width, settings.size.height)
        corners = crops_of(path, size, SIDE_PX, SIDE_PX // 4).drawn(rng, 5).corners
        labels = zarr.open_array(nuclei_path(path) / "0", mode="r")
        with openslide.OpenSlide(path) as slide:
            crops += [_phantom_crop(slide, labels, x, y) for x, y in corners.tolist()]
    return crops


def _phantom_crop(slide: openslide.OpenSlide, labels: zarr.Array[Any], x: int, y: int) -> Crop:
    rgb = np.asarray(slide.read_region((x, y), 0, (SIDE_PX, SIDE_PX)).convert("RGB"))
    here = np.asarray(labels[y : y + SIDE_PX, x : x + SIDE_PX])
    sizes = np.unique(here[here > 0], return_counts=True)[1]
    return Crop(rgb, _whole(sizes.astype(np.float64) * MPP**2), here > 0)


def real_crops(real: Path) -> list[Crop]:
    """The middle of every MoNuSeg training picture, or nothing where they are missing."""
    folder = real / "nuclei" / "monuseg_train"
    masks = {path.stem: path for path in (folder / "masks").glob("*")}
    pictures = sorted((folder / "images").glob("*.tif"))
    return [_real_crop(picture, masks[picture.stem]) for picture in pictures]


def _real_crop(picture: Path, mask: Path) -> Crop:
    middle = slice(500 - SIDE_PX, 500 + SIDE_PX)
    rgb = np.asarray(Image.open(picture).convert("RGB"))[middle, middle]
    nuclear = np.asarray(Image.open(mask).convert("L"))[middle, middle] > 0
    areas = regionprops_table(label(nuclear), properties=("area",))["area"] * (MPP / 2) ** 2
    small = cv2.resize(rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return Crop(np.asarray(small, np.uint8), _whole(areas), nuclear[::2, ::2])


def _whole(areas_um2: NDArray[np.float64]) -> NDArray[np.float64]:
    return areas_um2[areas_um2 >= LEAST_NUCLEUS_UM2]


def _write_sheets(
    folder: Path,
    rng: np.random.Generator,
    real: list[NDArray[np.uint8]],
    phantom: list[NDArray[np.uint8]],
) -> None:
    blocks = [_block(crops, 3) for crops in (real, phantom) if crops]
    _save(folder / "sheet.png", np.hstack([np.pad(b, ((0, 0), (0, 24), (0, 0))) for b in blocks]))
    both = real + phantom
    order = rng.permutation(len(both))
    _save(folder / "mixed.png", _block([both[row] for row in order], 6))
    key = ["real" if row < len(real) else "phantom" for row in order]
    lines = [" ".join(f"{word:<8}" for word in key[row : row + 6]) for row in range(0, len(key), 6)]
    (folder / "key.txt").write_text("\n".join(lines) + "\n")


def _block(crops: list[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Crops in rows with thin white lines between."""
    framed = [np.pad(crop, ((0, 6), (0, 6), (0, 0)), constant_values=255) for crop in crops]
    framed += [np.full_like(framed[0], 255)] * (-len(framed) % columns)
    rows = [np.hstack(framed[start : start + columns]) for start in range(0, len(framed), columns)]
    return np.vstack(rows)


def _save(path: Path, rgb: NDArray[np.uint8]) -> None:
    cv2.imwrite(str(path), rgb[..., ::-1])


def _write_table(folder: Path, real: list[Crop], phantom: list[Crop]) -> list[str]:
    """Write and print the table; the names of statistics that do not pass."""
    there, here = (
        np.array([astuple(Statistics.of(crop)) for crop in crops]) for crops in (real, phantom)
    )
    head = ["", "real min", "median", "max", "phantom min", "median", "max", "in range", "passes"]
    rows, missed = [], []
    for column, field in enumerate(fields(Statistics)):
        ours, theirs = here[:, column], there[:, column]
        share = ((ours >= theirs.min()) & (ours <= theirs.max())).mean()
        passes = share >= PASSING and theirs.min() <= np.median(ours) <= theirs.max()
        missed += [] if passes else [field.name]
        spread = [f"{part(side):.4g}" for side in (theirs, ours) for part in _PARTS]
        rows.append([field.name, *spread, f"{share:.0%}", "yes" if passes else "NO"])
    with (folder / "statistics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    for row in [head, *rows]:
        click.echo(f"{row[0]:<18}" + "".join(f"{cell:>12}" for cell in row[1:]))
    click.echo(f"{len(real)} real and {len(phantom)} phantom crops")
    return missed


_PARTS = (np.min, np.median, np.max)

if __name__ == "__main__":
    main()
