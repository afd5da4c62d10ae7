"""From a name to an encoder: timm's, the Hugging Face Hub's, or a folder's."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_tower.errors import EncoderError
from wsi_tower.models.hub import CONFIG_NAME, WEIGHTS_NAMES, HubFile
from wsi_tower.models.naming import HUB_PREFIX, IMAGENET, LOCAL_PREFIX, timm_config
from wsi_tower.models.plan import EncoderPlan, spread
from wsi_tower.models.timm_encoder import TimmEncoder
from wsi_tower.models.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from timm.models import PretrainedCfg

__all__ = ["build_encoder"]


def build_encoder(
    architecture: str,
    *,
    in_channels: int = 3,
    pretrained: bool = False,
    weights: Path | None = None,
    model_args: Mapping[str, Any] | None = None,
    others: Iterable[str] = (),
) -> TimmEncoder:
    """An encoder by name, with weights or without.

    Args:
        architecture: ``imagenet``, a name of timm, ``hf-hub:owner/name`` or ``local-dir:FOLDER``.
        in_channels: 3 for colour, 1 for grey; colour filters are summed for grey pictures.
        pretrained: with the weights of that name; else random ones.
        weights: a file to take in their place. For ``hf-hub:`` names with the repository's
            config.json beside it.
        model_args: what timm's ``create_model`` is told beside; plain values only.
        others: names to suggest beside timm's, where the name is not known.

    Raises:
        EncoderError: unknown name, weights that cannot be had or do not fit.
    """
    source = _source(architecture, weights, others)
    file = source.weights_file() if pretrained and weights is None else weights
    encoder = _built(source, in_channels, source.model_args | dict(model_args or {}))
    if file is not None:
        load_weights(encoder.model, file, encoder.architecture)
    return encoder


@dataclass(frozen=True, slots=True)
class _Source:
    """Where an encoder comes from."""

    architecture: str
    config: PretrainedCfg
    model_args: dict[str, Any]
    weights: HubFile | Path | None
    """A file of the hub, or a folder; None where timm has none."""

    def weights_file(self) -> Path:
        if isinstance(self.weights, HubFile):
            return self.weights.fetched()
        if self.weights is None:
            lies = f"they lie at {self.config.url}; fetch them" if self.config.url else "find some"
            raise EncoderError(
                f"timm has no weights of {self.architecture} on the Hugging Face Hub; {lies} and "
                f"give the file with --weights FILE, or train from random weights"
            )
        for name in WEIGHTS_NAMES:
            if (self.weights / name).is_file():
                return self.weights / name
        raise EncoderError(
            f"folder {self.weights} has neither {' nor '.join(WEIGHTS_NAMES)}; put one there, or "
            f"give a file with --weights FILE"
        )


def _source(name: str, weights: Path | None, others: Iterable[str]) -> _Source:
    if name.startswith(HUB_PREFIX):
        return _hub_source(name.removeprefix(HUB_PREFIX), weights)
    if name.startswith(LOCAL_PREFIX):
        folder = Path(name.removeprefix(LOCAL_PREFIX))
        return _configured(folder / CONFIG_NAME, folder)
    if "/" in name:
        raise EncoderError(
            f"unknown encoder {name!r}: there is no such folder of an encoder; for a repository of "
            f"the Hugging Face Hub say {HUB_PREFIX}{name}, for a folder with {CONFIG_NAME} and "
            f"weights {LOCAL_PREFIX}{name}"
        )
    name = IMAGENET if name == "imagenet" else name
    config = timm_config(name, others)
    if not config.hf_hub_id:
        return _Source(name, config, {}, None)
    names = (config.hf_hub_filename,) if config.hf_hub_filename else WEIGHTS_NAMES
    by_hand = f"fetch {names[0]} there by hand and give it with --weights FILE"
    return _Source(name, config, {}, HubFile(config.hf_hub_id, names, by_hand=by_hand))


def _hub_source(hub_id: str, weights: Path | None) -> _Source:
    repository, _, revision = hub_id.partition("@")
    by_hand = (
        f"fetch {CONFIG_NAME} and {' or '.join(WEIGHTS_NAMES)} there by hand into one folder and "
        f"give the latter with --weights FILE"
    )
    config = HubFile(repository, (CONFIG_NAME,), revision or None, by_hand)
    found = HubFile(repository, WEIGHTS_NAMES, revision or None, by_hand)
    beside = weights.parent / CONFIG_NAME if weights else None
    if beside is not None and beside.is_file():
        return _configured(beside, found)
    return _configured(config.fetched(), found)


def _configured(path: Path, weights: HubFile | Path) -> _Source:
    """What timm's ``config.json`` of a repository or folder says."""
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        # The oldest repositories have one level where later ones have two.
        told = dict(values.get("pretrained_cfg", values))
        architecture, args = str(values["architecture"]), dict(values.get("model_args") or {})
    except OSError as error:
        raise EncoderError(
            f"{path} cannot be read ({error.strerror}); it is the file that names an encoder's "
            f"architecture, so put it there"
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"{path} names no architecture of timm; take an encoder in timm's format, or one of "
            f"timm's names with --weights FILE"
        ) from error
    registered = timm_config(architecture)
    known = {name: told[name] for name in ("mean", "std", "input_size") if told.get(name)}
    config = replace(registered, **known)
    # Asked for at the call instead.
    args = {name: value for name, value in args.items() if name not in ("in_chans", "num_classes")}
    if told.get("global_pool"):
        args.setdefault("global_pool", told["global_pool"])
    if config.fixed_input_size:
        args.setdefault("img_size", int(config.input_size[-1]))
    return _Source(architecture, config, args, weights)


def _built(source: _Source, in_channels: int, args: dict[str, Any]) -> TimmEncoder:
    plan = EncoderPlan(
        source.architecture,
        in_channels,
        spread(source.config.mean, in_channels),
        spread(source.config.std, in_channels),
        int(source.config.input_size[-1]),
        args,
    )
    if not source.config.fixed_input_size or "dynamic_img_size" in args:
        return TimmEncoder(plan)
    try:
        return TimmEncoder(replace(plan, model_args={**args, "dynamic_img_size": True}))
    except EncoderError as error:
        if not isinstance(error.__cause__, TypeError):
            raise
    return TimmEncoder(plan)  # this family knows no other size than its own
