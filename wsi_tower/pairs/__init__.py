"""Pairs of tiles by the distance between their centres: near ones and distant ones."""

from wsi_tower.pairs.sampler import PairSampler
from wsi_tower.pairs.settings import PairKind, PairSettings

__all__ = ["PairKind", "PairSampler", "PairSettings"]
