"""What differs between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsi_tower.records import differences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsi_tower.runs.record import RecordedRun

__all__ = ["differing_settings"]

_GROUPS = ("method", "preset", "backbone", "start", "weights", "training", "augment", "pairs")
"""In the order that one reads them; what a method alone has comes after."""
_FOLLOWS = frozenset({"training.warmup_steps", "training.watch_every"})
"""Differ where the number of steps does, and say nothing else then."""


def differing_settings(runs: Sequence[RecordedRun]) -> dict[str, list[Any]]:
    """Dotted names of the settings that are not alike in all runs, with each run's value.

    Tiles are one setting: the ids of their slides, or how they differ where those are alike. What a
    run does not have is None: a setting of another method.
    """
    first, *others = [run.settings | {"tiles": None} for run in runs]
    names = {name for other in others for name, _, _ in differences(first, other)}
    if any(name == "training.steps" for name in names):
        names -= _FOLLOWS
    ordered = sorted(names, key=lambda name: (_place(name), name))
    differing = {name: [_value(run.settings, name) for run in runs] for name in ordered}
    told = [run.settings.get("tiles") for run in runs]
    if any(tiles != told[0] for tiles in told[1:]):
        differing["tiles"] = _tiles_in_words(runs)
    return differing


def _place(name: str) -> int:
    group = name.partition(".")[0]
    return _GROUPS.index(group) if group in _GROUPS else len(_GROUPS)


def _value(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings


def _tiles_in_words(runs: Sequence[RecordedRun]) -> list[Any]:
    words = [f"{run.tiles or '?'} of {run.slides or '?'} slides" for run in runs]
    if len(set(words)) == len(runs):
        return list(words)
    # As many of as many slides, and yet not the same.
    return [f"{word} ({run.name}'s)" for word, run in zip(words, runs, strict=True)]
