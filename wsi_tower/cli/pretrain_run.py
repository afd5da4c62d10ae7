"""What ``wsi-tower pretrain`` does once its options are read: train, and draw how it went."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from wsi_tower.cli.pairs_run import length_um
from wsi_tower.cli.training_progress import watched_training
from wsi_tower.errors import SettingsError
from wsi_tower.memory import keep_freed_memory
from wsi_tower.pairs import PairSettings
from wsi_tower.pretrain import Pretrained, PretrainSettings, nearest, pretrain
from wsi_tower.records import write_bytes_aside
from wsi_tower.report import restoration_picture, training_picture
from wsi_tower.runs import logged_columns
from wsi_tower.training import all_or_none, by_first, joined_ranks
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wsi_tower.cli.options import Shared

__all__ = ["PretrainRequest", "PretrainSummary", "grouped_values", "run_pretrain"]

_GROUPS = ("augment", "train")


@dataclass(frozen=True)
class PretrainRequest:
    """Everything a pre-training was asked for."""

    workspaces: tuple[Workspace, ...]
    """Whose stores are learnt from; the first takes the encoder."""
    settings: PretrainSettings
    """What to learn, and how."""
    quiet: bool
    """Whether to say nothing on the way."""

    @classmethod
    def parsed(cls, shared: Shared, **values: Any) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value cannot be right.
        """
        groups = grouped_values(values.pop("values"), ("method", *_GROUPS))
        pairs = PairSettings(
            near_um=length_um("--near", values.pop("near")),
            far_um=length_um("--far", values.pop("far")),
            cross_slide=values.pop("cross_slide"),
        )
        settings = PretrainSettings(
            **values,
            pairs=pairs,
            method_values=groups["method"],
            augment_values=groups["augment"],
            train_values=groups["train"],
            overwrite=shared.overwrite,
        )
        workspaces = tuple(Workspace(root) for root in shared.workspaces)
        return cls(workspaces, settings, quiet=shared.json)


@dataclass(frozen=True)
class PretrainSummary:
    """What a pre-training gave."""

    name: str
    """Of the run and the encoder."""
    method: str
    """What it learnt by."""
    preset: str
    """Whose recipe it followed."""
    encoder: Path
    """Folder of the encoder."""
    run: Path
    """Folder of the run."""
    steps: int
    """Steps done, those before a restart with them."""
    loss: float
    """Moving mean of the loss at the end."""
    stopped_early: bool
    """Whether the loss no longer fell."""
    seconds: float
    """How long it took, this time."""
    pictures: tuple[Path, ...]
    """Curves, and tiles restored."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        values = asdict(self)
        values |= {name: str(values[name].absolute()) for name in ("encoder", "run")}
        return values | {"pictures": [str(path.absolute()) for path in self.pictures]}


def run_pretrain(read: Callable[[], PretrainRequest]) -> PretrainSummary | None:
    """Train, then draw the curves and what the method restores.

    Args:
        read: makes the request of what was typed.

    Returns:
        What was made; None on all but the first of several ranks.

    Raises:
        WsiTowerError: see `pretrain`.
    """
    keep_freed_memory()  # activations of some megabytes come and go at each step
    with joined_ranks() as ranks:
        with all_or_none():
            request = read()
        with watched_training(quiet=request.quiet, is_first=ranks.is_first) as watcher:
            trained = pretrain(request.settings, request.workspaces, watcher)
        pictures = by_first(partial(_pictures, trained))
        return _summary(trained, pictures) if ranks.is_first else None


def _summary(trained: Pretrained, pictures: list[Path]) -> PretrainSummary:
    result = trained.result
    return PretrainSummary(
        name=trained.name,
        method=trained.record.origin.method,
        preset=trained.record.origin.training["preset"],
        encoder=trained.encoder,
        run=trained.run,
        steps=result.steps,
        loss=result.loss,
        stopped_early=result.has_stopped_early,
        seconds=trained.seconds,
        pictures=tuple(pictures),
    )


def _pictures(trained: Pretrained) -> list[Path]:
    method = trained.record.origin.method
    title = trained.name if trained.name == method else f"{trained.name} ({method})"
    drawn = {"curves.png": training_picture(logged_columns(trained.run / "log.csv"), title)}
    if trained.strip is not None:
        drawn["restored.png"] = restoration_picture(trained.strip, title)
    for name, image in drawn.items():
        write_bytes_aside(trained.run / name, image)
    return [trained.run / name for name in drawn]


def grouped_values(typed: Sequence[str], groups: Sequence[str]) -> dict[str, dict[str, object]]:
    """``NAME=VALUE`` by whose settings they are: ``augment.``, ``train.``, or the method's.

    Args:
        typed: as they were typed.
        groups: those that there are; a name without group is of ``method``, where that is one.

    Raises:
        SettingsError: one is no such pair, or of no such group.
    """
    grouped: dict[str, dict[str, object]] = {group: {} for group in groups}
    named = [group for group in groups if group != "method"]
    for one in typed:
        name, is_pair, value = one.partition("=")
        if not is_pair or not name:
            raise SettingsError(f"--set {one!r} is no NAME=VALUE, such as temperature=0.2")
        group, has_group, rest = name.partition(".")
        if has_group and group not in named:
            raise SettingsError(
                f"--set {one!r}: there is no group {group!r}; {nearest(group, named)}"
            )
        if not has_group and "method" not in groups:
            raise SettingsError(f"--set {one!r} has no group; say {' or '.join(named)} before it")
        grouped[group if has_group else "method"][rest if has_group else name] = value
    return grouped
