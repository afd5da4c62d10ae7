"""Which tiles may answer a query, and how many are shown."""

from __future__ import annotations

from dataclasses import dataclass

from wsi_tower.errors import SettingsError

__all__ = ["QuerySettings"]


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """Which tiles may answer, and how many are shown."""

    hits: int = 12
    """Answers wanted."""
    per_slide: int = 3
    """Answers of a slide at most; 0: any number."""
    where: tuple[tuple[str, str], ...] = ()
    """Cohort columns and values that a slide must have; of one column given twice, either value."""
    own_slide: bool = False
    """Whether slides that are asked about may answer."""
    own_patient: bool = False
    """Whether other slides of their patients may answer."""
    patient_column: str = "patient"
    """The cohort's column that names the patient."""

    def __post_init__(self) -> None:
        if self.hits < 1:
            raise SettingsError(f"hits must be 1 or more, not {self.hits}")
        if self.per_slide < 0:
            raise SettingsError(f"per_slide must be 0 (any number) or more, not {self.per_slide}")
