"""What slides are normalised to: a reference's statistics, built in or from a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from wsi_tower.errors import SettingsError, StainError
from wsi_tower.records import plain, write_text_aside
from wsi_tower.stain.density import DEFAULT_WHITE, TISSUE_DENSITY, mean_density
from wsi_tower.stain.macenko import StainVectors
from wsi_tower.stain.reinhard import LabStatistics

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from wsi_tower.stain.density import White

__all__ = ["StainMethod", "StainReference", "StainStatistics", "fitted_stain", "tissue_pixels"]

StainMethod: TypeAlias = Literal["reinhard", "macenko"]
StainStatistics: TypeAlias = LabStatistics | StainVectors

_KIND, _FORMAT_VERSION = "stain-reference", 1
_CLASSES: Mapping[str, type[StainStatistics]] = MappingProxyType(
    {"reinhard": LabStatistics, "macenko": StainVectors}
)
_LEAST_PIXELS = 100


@dataclass(frozen=True, slots=True)
class StainReference:
    """What the tissue of every slide is brought to."""

    method: StainMethod
    """How."""
    statistics: StainStatistics
    """What the tissue's statistics become."""
    source: str = "built in"
    """Where they are from, for people."""

    def __post_init__(self) -> None:
        if not isinstance(self.statistics, _CLASSES[self.method]):
            raise SettingsError(
                f"a reference for {self.method} cannot hold {type(self.statistics).__name__}"
            )

    @classmethod
    def built_in(cls, method: StainMethod) -> Self:
        """The reference of a method where none is given: that of a public slide.

        CMU-1-Small-Region of OpenSlide's test data (CC0): `fitted_stain` on its tiles at 0.5 µm/px.
        """
        return cls(method, _BUILT_IN[method])

    @classmethod
    def read(cls, path: Path) -> Self:
        """The reference in a JSON file that `write` made.

        Raises:
            SettingsError: it is none.
        """
        try:
            values = json.loads(path.read_bytes())
            if values["kind"] != _KIND or values["format_version"] != _FORMAT_VERSION:
                raise ValueError(f"kind {values['kind']!r}, version {values['format_version']!r}")
            return cls.from_json(values)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise SettingsError(
                f"stain reference {path} cannot be used ({type(error).__name__}: {error}); take a "
                f"file that `wsi-tower embed --stain` wrote, or name a slide of the workspace"
            ) from error

    def write(self, path: Path) -> None:
        """Write it as JSON, to be read again or sent on.

        Raises:
            StorageError: the disk refused.
        """
        told = {"kind": _KIND, "format_version": _FORMAT_VERSION} | self.to_json()
        write_text_aside(path, json.dumps(told, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From what `to_json` made."""
        made: dict[str, Any] = {
            name: tuple(map(float, value)) for name, value in values["statistics"].items()
        }
        return cls(values["method"], _CLASSES[values["method"]](**made), values["source"])

    def to_json(self) -> dict[str, Any]:
        """Method, source and statistics as plain values."""
        return {
            "method": self.method,
            "source": self.source,
            "statistics": plain(self.statistics),
        }

    def normalised(
        self, rgb: NDArray[np.uint8], own: StainStatistics, white: White
    ) -> NDArray[np.uint8]:
        """A picture (..., 3) of a slide with statistics ``own``, brought to the reference."""
        # Each class takes its own kind, which `fitted_stain` and __post_init__ see to.
        return own.normalised(rgb, self.statistics, white)  # type: ignore[arg-type]


def fitted_stain(
    method: StainMethod, rgb: NDArray[np.uint8], white: White = DEFAULT_WHITE
) -> StainStatistics:
    """The statistics of a slide's tissue.

    Args:
        method: whose statistics.
        rgb: pixels of the slide, (..., 3), red first; bare glass among them is left out.
        white: grey levels of its bare glass.

    Raises:
        StainError: there is too little tissue, or it shows one dye only (``macenko``).
    """
    tissue = tissue_pixels(rgb, white)
    if len(tissue) < _LEAST_PIXELS:
        raise StainError(
            f"only {len(tissue)} pixels are dark enough to fit stain on; leave the slide out, or "
            f"embed it with --stain none"
        )
    return _CLASSES[method].of(tissue, white)


def tissue_pixels(rgb: NDArray[np.uint8], white: White = DEFAULT_WHITE) -> NDArray[np.uint8]:
    """The pixels of a picture (..., 3) that are no bare glass: (N, 3)."""
    return rgb.reshape(-1, 3)[mean_density(rgb, white) >= TISSUE_DENSITY]


_BUILT_IN: Mapping[str, StainStatistics] = MappingProxyType(
    {
        "reinhard": LabStatistics((46.3, 29.2, -12.8), (18.4, 12.4, 9.8)),
        "macenko": StainVectors((0.825, 0.488, 0.285), (0.016, 0.882, 0.471), (1.43, 1.15)),
    }
)
