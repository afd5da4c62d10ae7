"""Names of encoders: which are known, how they become names of folders, what was meant."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

import timm
from timm.models import get_pretrained_cfg, is_model, split_model_name_tag

from wsi_tower.errors import EncoderError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from timm.models import PretrainedCfg

__all__ = [
    "HUB_PREFIX",
    "IMAGENET",
    "LOCAL_PREFIX",
    "checked_encoder_name",
    "nearest",
    "slug",
    "timm_config",
]

HUB_PREFIX = "hf-hub:"
LOCAL_PREFIX = "local-dir:"
IMAGENET = "resnet50.tv_in1k"
"""What ``imagenet`` stands for. The tag is pinned, since timm's own choice for ``resnet50`` changed
between versions: these are torchvision's first weights, the baseline that the papers compare with
(Gildenblat and Klaiman 2019; Chen et al. 2023)."""


def slug(encoder_id: str) -> str:
    """The name of an encoder's folder: ``hf-hub:a/b`` becomes ``hf-hub-a-b``.

    Letters, digits, dots and underscores stay; whatever else becomes a hyphen.

    Raises:
        SettingsError: nothing is left.
    """
    name = re.sub(r"[^A-Za-z0-9._]+", "-", encoder_id).strip("-.")
    if not name:
        raise SettingsError(f"encoder name {encoder_id!r} has no letter or digit; add some")
    return name


def checked_encoder_name(name: str) -> str:
    """A name for an encoder of one's own, as it was given.

    Raises:
        SettingsError: it cannot name a folder, or means another encoder already.
    """
    if slug(name) != name:
        raise SettingsError(
            f"encoder name {name!r} has other signs than letters, digits, dots, underscores and "
            f"hyphens; take {slug(name)!r}"
        )
    if name == "imagenet" or is_model(name):
        raise SettingsError(
            f"encoder name {name!r} means an encoder of timm already; take another, such as "
            f"{'my-' + name!r}"
        )
    return name


def timm_config(name: str, others: Iterable[str] = ()) -> PretrainedCfg:
    """What timm says of an architecture, or of one of its sets of weights.

    Args:
        name: with or without tag: ``resnet18``, ``resnet18.a1_in1k``.
        others: further names to suggest where timm does not know this one.

    Raises:
        EncoderError: timm does not know it; the message holds the nearest names.
    """
    if is_model(name):
        try:
            config: PretrainedCfg | None = get_pretrained_cfg(name)
        except RuntimeError as error:
            architecture, tag = split_model_name_tag(name)
            known = timm.list_pretrained(f"{architecture}.*")
            raise EncoderError(
                f"timm has no weights {tag!r} of {architecture}; {_suggestion(name, known)}"
            ) from error
        if config is not None:
            return config
    known = [*others, *timm.list_models(), *timm.list_pretrained(), "imagenet"]
    raise EncoderError(
        f"unknown encoder {name!r}; {_suggestion(name, known)} Known are imagenet, every name of "
        f"timm, {HUB_PREFIX}owner/name, {LOCAL_PREFIX}FOLDER, and the encoders of the workspace"
    )


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that look like ``name``, best first."""
    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)


def _suggestion(name: str, known: Iterable[str]) -> str:
    alike = nearest(name, known)
    if not alike:
        return "nothing that is known looks like it."
    return f"did you mean {' or '.join(alike)}?"
