"""The runs behind docs/evidence.md, each resumable: slides, tiles, encoders, embeddings.

Every step is the command that a user would type; what is done already is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from benchmarks.phantom_truth import written
from wsi_tower.cli.main import cli
from wsi_tower.pairs import PairSettings
from wsi_tower.phantom import PhantomSettings
from wsi_tower.pretrain import METHODS, method_named
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["REAL", "SCALES", "TEST", "TRAIN", "Runs", "Scale", "methods_known", "run_name", "verb"]

TRAIN = (0, 1, 2, 3, 4, 5, 6, 7)
"""Numbers of the phantoms that encoders learn from: four patients, tumour on four slides."""
TEST = (8, 10, 12, 13)
"""Numbers of those that they are scored on: three other patients, tumour on three slides."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is."""

    mpp: float
    """Resolution of the tiles in µm/px."""
    tile_px: int
    """Their side."""
    preset: str
    """Whose recipes are followed."""
    phantoms: PhantomSettings | None = None
    """The frozen cohort; None: real slides."""
    training: tuple[str, ...] = ()
    """What is said to `wsi-tower pretrain` beside."""
    pairs: PairSettings = field(default_factory=PairSettings)
    """Near and distant; the published distances where slides are large enough."""
    seeds: int = 3
    """Runs of each method."""


def _phantoms(width_um: float, height_um: float, mpp: float) -> PhantomSettings:
    slides = max(TRAIN + TEST) + 1
    return PhantomSettings(
        slides, width_um=width_um, height_um=height_um, mpp=mpp, seed=1, pen_every=0
    )


SCALES: Mapping[str, Scale] = {
    # Every method sees as many tiles: 100 steps of 64. Tiles of 128 µm as in `paper`, at a fourth
    # of its resolution, so that there are steps enough in an hour to learn something.
    "small": Scale(
        mpp=2.0,
        tile_px=64,
        preset="small",
        phantoms=_phantoms(14_000, 5_000, 2.0),
        training=("--steps", "100", "--batch-size", "64", "--crop-px", "64"),
    ),
    "paper": Scale(mpp=0.5, tile_px=224, preset="paper", phantoms=_phantoms(14_000, 11_000, 0.5)),
    # Shows that the command runs; its figures mean nothing.
    "toy": Scale(
        mpp=2.0,
        tile_px=32,
        preset="small",
        phantoms=_phantoms(2_000, 1_500, 2.0),
        training=("--steps", "2", "--batch-size", "8", "--crop-px", "32"),
        pairs=PairSettings(200, 1000),
        seeds=2,
    ),
}
REAL = Scale(
    mpp=28.97,
    tile_px=32,
    preset="small",
    training=("--steps", "40", "--batch-size", "48", "--crop-px", "32"),
    seeds=1,
)
"""Two whole slides at a thirtieth of their resolution: architecture of tissue, no cells."""


def run_name(method: str, seed: int) -> str:
    """Name of an encoder."""
    return f"{method}-seed{seed}"


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs of one scale, below one folder."""

    folder: Path
    """What takes everything."""
    scale: Scale
    """How large it is."""

    @property
    def train(self) -> Workspace:
        """Tiles that are learnt from, and encoders."""
        return Workspace(self.folder / "train")

    @property
    def test(self) -> Workspace:
        """Tiles that are scored, and embeddings."""
        return Workspace(self.folder / "test")

    @property
    def truth(self) -> Path:
        """Outlines of tumour, a file a slide."""
        return self.folder / "slides" / "truth"

    def tile_phantoms(self) -> None:
        """Write the slides and tile both parts.

        Raises:
            ClickException: a slide could not be tiled.
        """
        assert self.scale.phantoms is not None, "this scale is of real slides"
        slides = written(self.folder / "slides", self.scale.phantoms, TRAIN + TEST)
        self.tile(slides[: len(TRAIN)], slides[len(TRAIN) :])
        for home, numbers in ((self.train, TRAIN), (self.test, TEST)):
            rows = {f"phantom-{number + 1:02d}": _patient(number) for number in numbers}
            home.merge_cohort({name: {"patient": patient} for name, patient in rows.items()})

    def tile(self, train: Sequence[Path], test: Sequence[Path]) -> None:
        """Tile slides into their workspaces.

        Raises:
            ClickException: a slide could not be tiled.
        """
        grid = ("--mpp", f"{self.scale.mpp:g}", "--tile-px", f"{self.scale.tile_px}")
        for home, slides in ((self.train, train), (self.test, test)):
            verb("tile", *slides, *grid, "-w", home.root, "--no-report")

    def encode(self, method: str, seed: int) -> None:
        """Learn an encoder and embed the test slides, unless that is done."""
        name = run_name(method, seed)
        if not (self.train.encoders / name).exists():
            begun = any((self.train.run(name) / "checkpoints").glob("step-*.pt"))
            verb(
                *("pretrain", "--method", method, "--preset", self.scale.preset, "--name", name),
                *("--seed", seed, "-w", self.train.root, *self._distances()),
                *self.scale.training,
                "--resume" if begun else "--overwrite",
            )
        # Normalised as published.
        verb(
            *("embed", "--encoder", self.train.encoders / name, "--stain", "reinhard"),
            *("-w", self.test.root, "--no-report"),
        )

    def _distances(self) -> tuple[str, ...]:
        near, far = self.scale.pairs.near_um, self.scale.pairs.far_um
        return ("--near", f"{near:g}um", "--far", f"{far:g}um")


def verb(*words: object) -> None:
    """Run a command of wsi-tower in this process.

    Raises:
        ClickException: it failed.
    """
    arguments = [str(word) for word in words]
    click.echo("$ wsi-tower " + " ".join(arguments), err=True)
    code = cli.main(arguments, prog_name="wsi-tower", standalone_mode=False)
    if code:
        raise click.ClickException(f"wsi-tower {arguments[0]} ended with exit code {code}")


def _patient(number: int) -> str:
    """Two neighbouring slides are one patient's, as in the slide lists of phantoms."""
    return f"patient-{number // 2 + 1:02d}"


def methods_known(names: Sequence[str]) -> list[str]:
    """The methods that are asked for, or all."""
    return [method_named(name).name for name in names] or list(METHODS)
