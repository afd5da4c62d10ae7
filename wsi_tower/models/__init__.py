"""Networks: encoders, decoders, heads, and their checkpoints."""

from wsi_tower.models.encoder import Encoder
from wsi_tower.models.features import Features
from wsi_tower.models.network import Descriptor, Network

__all__ = ["Descriptor", "Encoder", "Features", "Network"]
