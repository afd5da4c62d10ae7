"""Networks: encoders, decoders, heads, and their checkpoints."""

from wsi_tower.models.batchnorm import synchronise_batchnorm
from wsi_tower.models.building import build_encoder
from wsi_tower.models.classifier_saved import (
    ClassifierOrigin,
    ClassifierRecord,
    LoadedClassifier,
    check_free_for_classifier,
    classifiers_of,
    load_classifier,
    save_classifier,
)
from wsi_tower.models.confidence import ConfidenceNet, ConfidenceSegmenter, FeatureNet, lifted
from wsi_tower.models.encoder import Encoder
from wsi_tower.models.features import Features
from wsi_tower.models.heads import HeadSettings, Norm, ProjectionHead
from wsi_tower.models.naming import checked_encoder_name, slug
from wsi_tower.models.network import Descriptor, Network
from wsi_tower.models.parts import weights_digest
from wsi_tower.models.plan import EncoderPlan
from wsi_tower.models.record import EncoderRecord, NetworkShape, Origin
from wsi_tower.models.saved import (
    EncodersFound,
    LoadedEncoder,
    encoders_of,
    load_encoder,
    newest_encoder,
    save_network,
)
from wsi_tower.models.segmenter import Segmenter, UNetSegmenter
from wsi_tower.models.segmenter_record import SegmenterOrigin, SegmenterRecord
from wsi_tower.models.segmenter_saved import (
    LoadedSegmenter,
    SegmentersFound,
    check_free_for_segmenter,
    checked_model_name,
    load_segmenter,
    newest_segmenter,
    save_segmenter,
    segmenters_of,
)
from wsi_tower.models.tile_classifier import (
    LinearClassifier,
    NeighbourClassifier,
    TileClassifier,
)
from wsi_tower.models.timm_encoder import TimmEncoder
from wsi_tower.models.unet import UNET_WIDTHS, UNetDecoder
from wsi_tower.models.untrained import untrained_network

__all__ = [
    "UNET_WIDTHS",
    "ClassifierOrigin",
    "ClassifierRecord",
    "ConfidenceNet",
    "ConfidenceSegmenter",
    "Descriptor",
    "Encoder",
    "EncoderPlan",
    "EncoderRecord",
    "EncodersFound",
    "FeatureNet",
    "Features",
    "HeadSettings",
    "LinearClassifier",
    "LoadedClassifier",
    "LoadedEncoder",
    "LoadedSegmenter",
    "NeighbourClassifier",
    "Network",
    "NetworkShape",
    "Norm",
    "Origin",
    "ProjectionHead",
    "Segmenter",
    "SegmenterOrigin",
    "SegmenterRecord",
    "SegmentersFound",
    "TileClassifier",
    "TimmEncoder",
    "UNetDecoder",
    "UNetSegmenter",
    "build_encoder",
    "check_free_for_classifier",
    "check_free_for_segmenter",
    "checked_encoder_name",
    "checked_model_name",
    "classifiers_of",
    "encoders_of",
    "lifted",
    "load_classifier",
    "load_encoder",
    "load_segmenter",
    "newest_encoder",
    "newest_segmenter",
    "save_classifier",
    "save_network",
    "save_segmenter",
    "segmenters_of",
    "slug",
    "synchronise_batchnorm",
    "untrained_network",
    "weights_digest",
]
