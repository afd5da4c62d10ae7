"""``wsi-tower segment --method``: the model of a method, learnt first where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wsi_tower.errors import SettingsError
from wsi_tower.models import newest_segmenter
from wsi_tower.segment import PATCH_CONTRAST, NucleiSettings, learn_nuclei
from wsi_tower.training import Watcher
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from wsi_tower.cli.options import Shared
    from wsi_tower.training import Progress

__all__ = ["chosen_model"]

_TOLD_EVERY = 25


class _Told(Watcher):
    """A line now and then, and every warning, on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def stepped(self, progress: Progress, loss: float) -> None:
        if not self._quiet and progress.step % _TOLD_EVERY == 0:
            told = f"step {progress.step} of at most {progress.steps}, loss {loss:.4g}"
            click.echo(told, err=True)

    def warned(self, message: str) -> None:
        click.echo(f"warning: {message}", err=True)


def chosen_model(shared: Shared, **values: Any) -> dict[str, str]:
    """``model`` and ``method`` to segment by: patch-contrast's own, learnt where there is none.

    Args:
        shared: has the workspace.
        values: of the command's options.

    Raises:
        SettingsError: flat pictures have no resolution.
        WsiTowerError: nothing could be learnt; see `learn_nuclei`.
    """
    if values["model"] or values["method"] != PATCH_CONTRAST:
        return {"model": values["model"], "method": values["method"]}
    home = Workspace(shared.workspace.absolute())
    return {"model": _model_of_method(home, values, quiet=shared.json), "method": ""}


def _model_of_method(home: Workspace, values: dict[str, Any], *, quiet: bool) -> str:
    newest = newest_segmenter(home, PATCH_CONTRAST)
    if newest is not None and not values["relearn"]:
        return newest.name
    if values["images"] is not None and values["images_mpp"] is None:
        raise SettingsError(
            "--images-mpp is missing: give the resolution of the pictures in µm/px, such as 0.25 "
            "for 40x"
        )
    device = values["device"]
    resolution = {} if values["images_mpp"] is None else {"mpp": values["images_mpp"]}
    settings = NucleiSettings(
        images=values["images"],
        **resolution,
        preset=values["preset"],
        max_steps=values["max_steps"],
        seeds=tuple(range(values["seeds"])),
        device="cuda" if device.startswith("cuda") else device,
        overwrite=values["relearn"],
        resume=not values["relearn"],
    )
    learnt = learn_nuclei(settings, home, _Told(quiet=quiet))
    if not quiet:
        choice = learnt.best.choice
        click.echo(
            f"learnt {learnt.name} in {learnt.seconds:.0f} s: seed {learnt.best.seed}, channel "
            f"{choice.channel}, which explains {choice.share:.0%} of haematoxylin's variance",
            err=True,
        )
    return learnt.name
