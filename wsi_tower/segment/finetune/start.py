"""The network that a fine-tuning begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wsi_tower.errors import SettingsError
from wsi_tower.models import (
    Network,
    UNetDecoder,
    build_encoder,
    load_encoder,
    newest_encoder,
)
from wsi_tower.pretrain import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsi_tower.models import LoadedEncoder
    from wsi_tower.segment.finetune.settings import FinetuneSettings
    from wsi_tower.workspace import Workspace

__all__ = ["Start", "start_of"]

_CLOSE = 1.1
"""Ratio of two resolutions up to which they are taken for one."""


@dataclass(frozen=True)
class Start:
    """First weights, and where they are from."""

    network: Network
    """Encoder and decoder."""
    encoder: str
    """Name of the encoder; ``random`` where it has learnt nothing."""
    parents: dict[str, str]
    """Digest of its weights, where it has learnt something."""
    has_trained_decoder: bool
    """Whether the decoder was pre-trained, too."""


def start_of(
    settings: FinetuneSettings, mpp: float, workspace: Workspace, warn: Callable[[str], None]
) -> Start:
    """The network that the settings ask for; what is fresh in it is drawn by seed.

    A decoder that was pre-trained keeps all but its last layer, which made pictures (Chen et al.
    2023 begin that layer anew, too). Heads for contrasts are left behind.

    Args:
        settings: whose encoder, and what is fresh.
        mpp: resolution of the pictures in µm/px.
        workspace: has the encoders.
        warn: hears where the encoder learnt at another resolution.

    Raises:
        EncoderError: there is no such encoder, or it gives no maps of features.
        SettingsError: it is for grey pictures.
        CorruptStoreError: its folder is damaged.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.seed)
        if settings.init == "random":
            encoder = build_encoder(settings.backbone)
            decoder = UNetDecoder.on(encoder, 1, settings.decoder_widths)
            return Start(Network(encoder, decoder=decoder), "random", {}, False)
        loaded = _loaded(settings.init, workspace)
        _tell_resolution(loaded, mpp, warn)
        return _started(loaded, settings)


def _loaded(init: str, workspace: Workspace) -> LoadedEncoder:
    name = newest_encoder(workspace, init).name if init in METHODS else init
    return load_encoder(name, workspace=workspace)


def _tell_resolution(loaded: LoadedEncoder, mpp: float, warn: Callable[[str], None]) -> None:
    record = loaded.record
    there = record.origin.mpp
    if there is not None and not 1 / _CLOSE <= there / mpp <= _CLOSE:
        warn(
            f"encoder {record.name} learnt at {there:g} µm/px, and the pictures have {mpp:g}: what "
            f"it knows may be of another size"
        )


def _started(loaded: LoadedEncoder, settings: FinetuneSettings) -> Start:
    record, encoder = loaded.record, loaded.network.encoder
    if encoder.in_channels != 3:
        raise SettingsError(
            f"encoder {record.name} is for pictures of {encoder.in_channels} channel(s), and "
            f"segmenters see colour; train one on colour, or take another --init"
        )
    trained = loaded.network.decoder
    is_kept = isinstance(trained, UNetDecoder) and not settings.fresh_decoder
    widths = trained.widths if isinstance(trained, UNetDecoder) else settings.decoder_widths
    decoder = UNetDecoder.on(encoder, 1, widths)
    if is_kept and trained is not None:
        state = {
            name: tensor
            for name, tensor in trained.state_dict().items()
            if not name.startswith("head.")
        }
        decoder.load_state_dict(decoder.state_dict() | state)
    network = Network(encoder, decoder=decoder)
    return Start(network, record.name, {"encoder": record.header.content_digest}, is_kept)
