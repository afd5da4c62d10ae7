"""Settings of classifiers: which tiles teach what, who is kept apart, which head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from wsi_tower.annotations import TumourClasses
from wsi_tower.errors import SettingsError

__all__ = [
    "Calibration",
    "ClassRules",
    "ClassifySettings",
    "HeadKind",
    "LearnSettings",
    "SplitSettings",
]

HeadKind: TypeAlias = Literal["linear", "neighbours"]
"""``linear``: multinomial logistic regression; ``neighbours``: votes of the nearest tiles."""
Calibration: TypeAlias = Literal["temperature", "platt", "none"]
"""``temperature`` divides logits; ``platt`` adds an offset of each class, too."""


@dataclass(frozen=True, slots=True)
class ClassRules:
    """What annotations say of a tile."""

    names: tuple[str, ...] = ("tumour",)
    """Annotated classes to tell apart, in any case. ``tumour`` is all that is known to mean it, and
    needs no name where a file has none."""
    least_fraction: float = 0.5
    """Least part of a tile within a class for it to be of that class."""
    background: str | None = "other"
    """Class of tiles that no annotated class touches; None: they teach nothing."""
    tumour: TumourClasses = field(default_factory=TumourClasses)
    """Names that mean tumour, and those that are cut out of it."""

    def __post_init__(self) -> None:
        if not 0 < self.least_fraction <= 1:
            raise SettingsError(
                f"least_fraction is {self.least_fraction:g}; choose above 0 and up to 1, which is "
                f"wholly inside"
            )
        if not self.names:
            raise SettingsError("no class to tell; name one or more, as in --class Stroma")
        lower = [name.lower() for name in (*self.names, self.background or "")]
        twice = sorted({name for name in lower if lower.count(name) > 1})
        if twice:
            raise SettingsError(f"class {twice[0]!r} is named twice; name it once")


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """Whose slides train, calibrate and test."""

    validation: float = 0.25
    """Share of the patients whose slides calibrate."""
    test: float = 0.25
    """Share of the patients whose slides test alone."""
    column: str = ""
    """Column of the cohort table that has ``train``, ``validation`` or ``test``; empty: patients
    are drawn."""
    seed: int = 0
    """What is drawn depends on it."""

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingsError(
                    f"{name} is {getattr(self, name):g}; choose from 0 up to, not with, 1"
                )
        if self.validation + self.test >= 1:
            raise SettingsError(
                f"validation {self.validation:g} and test {self.test:g} leave nothing to train on; "
                f"make them smaller"
            )


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """How a head is learnt."""

    head: HeadKind = "linear"
    """Which head."""
    penalty: float = 1.0
    """Of ``linear``: half of it times D times the squared weights is added to the summed
    cross-entropy (1 / C of other libraries is penalty × D). As a prior, 1 says that logits spread
    by 1 about their mean, however long descriptors are."""
    neighbours: int = 15
    """Of ``neighbours``: k."""
    balanced: bool = False
    """Whether classes weigh alike, however many tiles they have. Probabilities then no longer
    follow how frequent a class is, unless ``platt`` mends that."""
    most_tiles: int = 50_000
    """Training tiles at most, drawn so that classes keep their shares."""
    calibration: Calibration = "temperature"
    """How probabilities are calibrated, on other patients' slides."""
    seed: int = 0
    """What is drawn depends on it."""

    def __post_init__(self) -> None:
        for name in ("neighbours", "most_tiles"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; take 1 or more")
        if not self.penalty > 0:
            raise SettingsError(f"penalty is {self.penalty:g}; choose above 0")


@dataclass(frozen=True, slots=True)
class ClassifySettings:
    """Everything that makes a classifier."""

    rules: ClassRules = field(default_factory=ClassRules)
    """What annotations say of a tile."""
    split: SplitSettings = field(default_factory=SplitSettings)
    """Whose slides train, calibrate and test."""
    learn: LearnSettings = field(default_factory=LearnSettings)
    """How the head is learnt."""
