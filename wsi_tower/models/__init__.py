"""Networks: encoders, decoders, heads, and their checkpoints."""

from wsi_tower.models.batchnorm import synchronise_batchnorm
from wsi_tower.models.building import build_encoder
from wsi_tower.models.encoder import Encoder
from wsi_tower.models.features import Features
from wsi_tower.models.heads import HeadSettings, Norm, ProjectionHead
from wsi_tower.models.naming import checked_encoder_name, slug
from wsi_tower.models.network import Descriptor, Network
from wsi_tower.models.plan import EncoderPlan
from wsi_tower.models.record import EncoderRecord, NetworkShape, Origin
from wsi_tower.models.saved import (
    EncodersFound,
    LoadedEncoder,
    encoders_of,
    load_encoder,
    newest_encoder,
    save_network,
    weights_digest,
)
from wsi_tower.models.timm_encoder import TimmEncoder
from wsi_tower.models.unet import UNET_WIDTHS, UNetDecoder
from wsi_tower.models.untrained import untrained_network

__all__ = [
    "UNET_WIDTHS",
    "Descriptor",
    "Encoder",
    "EncoderPlan",
    "EncoderRecord",
    "EncodersFound",
    "Features",
    "HeadSettings",
    "LoadedEncoder",
    "Network",
    "NetworkShape",
    "Norm",
    "Origin",
    "ProjectionHead",
    "TimmEncoder",
    "UNetDecoder",
    "build_encoder",
    "checked_encoder_name",
    "encoders_of",
    "load_encoder",
    "newest_encoder",
    "save_network",
    "slug",
    "synchronise_batchnorm",
    "untrained_network",
    "weights_digest",
]
