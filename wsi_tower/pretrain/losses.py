"""Losses as pure functions of what a network says. They compute in float32, also under autocast."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch.nn import functional

from wsi_tower.errors import TooFewTilesError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = [
    "MarginForm",
    "RestorationNorm",
    "alignment_loss",
    "distillation_loss",
    "info_nce",
    "margin_loss",
    "noise_contrast",
    "nt_xent",
    "restoration_loss",
    "sampled_softmax",
]

MarginForm: TypeAlias = Literal["plain", "squared"]
"""Distances as they are, or their squares halved."""
RestorationNorm: TypeAlias = Literal["l1", "mse"]
"""Mean absolute or mean squared difference."""


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised, temperature-scaled cross-entropy (Chen et al. 2020, equation 1), a scalar.

    Each of the 2N views is told from its 2(N − 1) negatives, both views of every other sample, by
    cosine similarity.

    Args:
        first: one view of every sample: (N, E).
        second: the other views, in the same order: (N, E).
        temperature: τ, above 0.

    Raises:
        TooFewTilesError: one sample alone has no negatives.
    """
    samples = _told_apart(first)
    views = torch.cat([first, second])
    similarity = _cosines(views, views) / temperature
    itself = torch.eye(2 * samples, dtype=torch.bool, device=views.device)
    partners = torch.arange(2 * samples, device=views.device).roll(samples)
    return functional.cross_entropy(similarity.masked_fill(itself, -torch.inf), partners)


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al. 2018, equation 4) with cosines: a scalar.

    Each query is told from the keys of the N − 1 other samples; keys are not told apart in turn.

    Args:
        queries: one view of every sample: (N, E).
        keys: the other views, in the same order: (N, E).
        temperature: τ, above 0.

    Raises:
        TooFewTilesError: one sample alone has no negatives.
    """
    samples = _told_apart(queries)
    similarity = _cosines(queries, keys) / temperature
    return functional.cross_entropy(similarity, torch.arange(samples, device=queries.device))


def alignment_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """Squared distance of two vectors of length 1 (Grill et al. 2020, equation 2): 2 − 2 cos.

    Args:
        predicted: one view of every sample: (N, E).
        targets: what it should be, in the same order: (N, E).

    Returns:
        The mean over samples, from 0 (alike) to 4 (opposite).
    """
    # Autocast leaves these alone, as it rounds matrix products only.
    return 2 - 2 * functional.cosine_similarity(predicted.float(), targets.float(), dim=1).mean()


def distillation_loss(
    answers: Sequence[Tensor], targets: Sequence[Tensor], temperature: float
) -> Tensor:
    """Cross-entropy of a student's views with its teacher's (Caron et al. 2021, equation 3).

    Each view is compared with what the teacher says of all views but itself.

    Args:
        answers: scores of the student, (N, K) of each view; those that the teacher saw come first.
        targets: probabilities of the teacher, (N, K) of each view that it saw.
        temperature: τ of the student, above 0.

    Returns:
        The mean over samples and pairs of views: a scalar.
    """
    terms = []
    for view, scores in enumerate(answers):
        logarithms = functional.log_softmax(scores.float() / temperature, dim=1)
        others = [target for place, target in enumerate(targets) if place != view]
        terms += [-(target * logarithms).sum(dim=1).mean() for target in others]
    return torch.stack(terms).mean()


def margin_loss(
    first: Tensor, second: Tensor, is_near: Tensor, margin: float, form: MarginForm = "plain"
) -> Tensor:
    """Contrastive loss of pairs: near ones are pulled together, distant ones kept ``margin`` apart.

    Plain, as Gildenblat and Klaiman (2019) train: d, or max(0, m − d) for a distant pair. Squared,
    as Hadsell, Chopra and LeCun (2006, equation 4): d²/2, or max(0, m − d)²/2.

    Args:
        first: descriptors of one tile of every pair: (N, E).
        second: descriptors of the other tile: (N, E).
        is_near: whether the pair is near: bool (N,).
        margin: m, in the units of the descriptors.
        form: ``plain`` or ``squared``.

    Returns:
        The mean over pairs. Where a pair's descriptors are equal the gradient is 0, not NaN.
    """
    distance = torch.linalg.vector_norm(first.float() - second.float(), dim=1)
    # Of a near pair the distance counts, of a distant one what it lacks to the margin.
    error = torch.where(is_near, distance, functional.relu(margin - distance))
    return (error if form == "plain" else error.square() / 2).mean()


def noise_contrast(own: Tensor, noise: Tensor, log_z: Tensor, tiles: int) -> Tensor:
    """Noise-contrastive estimation over a memory bank (Wu et al. 2018, section 3.2), a scalar.

    With P = exp(s) / Z and the noise's own chance 1/N, an entry is no noise by the chance
    h = P / (P + m/N). The loss is −log h(own) − Σ log(1 − h(noise)), the mean over samples.

    Args:
        own: scores s = v · f / τ of each sample's own entry: (B,).
        noise: scores of entries drawn uniformly from all: (B, m).
        log_z: logarithm of Z.
        tiles: N: entries of the bank.
    """
    # h is the logistic function of s − log(Z · m / N).
    even = log_z + math.log(noise.shape[1] / tiles)
    taken_for_noise = functional.softplus(even - own)
    taken_for_own = functional.softplus(noise - even).sum(dim=1)
    return (taken_for_noise + taken_for_own).mean()


def sampled_softmax(own: Tensor, others: Tensor) -> Tensor:
    """Cross-entropy of each sample's own score (B,) beside those of others (B, m): a scalar."""
    scores = torch.cat([own[:, None], others], dim=1)
    return (torch.logsumexp(scores, dim=1) - own).mean()


def restoration_loss(restored: Tensor, target: Tensor, norm: RestorationNorm = "l1") -> Tensor:
    """How far restored pictures are from what they should be, over all pixels: a scalar.

    Args:
        restored: (B, C, H, W), values in [0, 1].
        target: what they should be, likewise.
        norm: ``l1`` or ``mse``.
    """
    measure = functional.l1_loss if norm == "l1" else functional.mse_loss
    return measure(restored.float(), target.float())


def _told_apart(descriptors: Tensor) -> int:
    samples = len(descriptors)
    if samples < 2:
        raise TooFewTilesError(
            f"a batch of {samples} tile has no other tile to be told from; use batches of 2 or more"
        )
    return samples


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine similarity of every row of one with every row of the other: (N, M)."""
    # Autocast would round cosines to 8 bits, which a temperature of 0.1 then multiplies by ten.
    with torch.autocast(first.device.type, enabled=False):
        left, right = (functional.normalize(rows.float(), dim=1) for rows in (first, second))
        return left @ right.T
