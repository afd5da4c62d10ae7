"""The papers' formulas as double loops."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def cosine(left: Tensor, right: Tensor) -> float:
    return float(left @ right / (left.norm() * right.norm()))


def nt_xent_of_the_paper(first: Tensor, second: Tensor, temperature: float) -> float:
    """Chen et al. 2020, algorithm 1: views 2k − 1 and 2k show sample k."""
    views = [view for pair in zip(first, second, strict=True) for view in pair]
    total = 0.0
    for i in range(len(views)):
        j = i + 1 if i % 2 == 0 else i - 1
        others = [
            math.exp(cosine(views[i], views[k]) / temperature) for k in range(len(views)) if k != i
        ]
        total -= math.log(math.exp(cosine(views[i], views[j]) / temperature) / sum(others))
    return total / len(views)


def info_nce_of_the_paper(queries: Tensor, keys: Tensor, temperature: float) -> float:
    total = 0.0
    for i, query in enumerate(queries):
        scores = [math.exp(cosine(query, key) / temperature) for key in keys]
        total -= math.log(scores[i] / sum(scores))
    return total / len(queries)
