"""What phantom tissue is made of, in numbers: the generator's settings, frozen under a name.

Figures that come out of phantoms are only comparable while the phantoms are. A change here, or in
how these numbers are used, is a new generator: give it a new name, and do not make it to help a
method along.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ENDOTHELIUM",
    "EPITHELIUM",
    "GENERATOR",
    "KINDS",
    "LYMPHOCYTE",
    "RECIPE",
    "STROMA",
    "TUMOUR",
    "NucleusKind",
    "Recipe",
]

GENERATOR = "phantom-1"
"""Name of this generator. Slides and truth carry it."""

KINDS = ("stroma", "lymphocyte", "epithelium", "tumour", "endothelium")
"""Kinds of nuclei; the label of a nucleus modulo 8 is its kind's place here."""
STROMA, LYMPHOCYTE, EPITHELIUM, TUMOUR, ENDOTHELIUM = range(len(KINDS))


@dataclass(frozen=True, slots=True)
class NucleusKind:
    """How the nuclei of one kind look."""

    length_um: float
    """Median length."""
    breadth_um: float
    """Median breadth."""
    size_spread: float
    """Standard deviation of the logarithm of both."""
    shape_spread: float
    """Standard deviation of the logarithm of the stretch along the long axis."""
    wobble: float
    """Irregularity of the rim, as a share of the radius."""
    bend: float
    """How far the long axis curves, in breadths."""
    softness_um: float
    """Width of the rim's fall from full to none."""
    chromatin: float
    """Optical density of haematoxylin."""
    chromatin_spread: float
    """Largest relative deviation of that from nucleus to nucleus."""
    clumping: float
    """Relative deviation of chromatin within a nucleus."""
    clump_um: float
    """Standard deviation of the blur that makes clumps."""
    membrane: float
    """How much darker the rim is, relatively."""
    nucleoli: float
    """Mean number of nucleoli."""
    nucleolus_um: float
    """Their diameter."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything about tissue that is a number."""

    nuclei: tuple[NucleusKind, ...] = (
        NucleusKind(13.5, 4.0, 0.22, 0.20, 0.07, 0.9, 0.9, 0.52, 0.45, 0.26, 0.5, 0.15, 0.1, 1.0),
        NucleusKind(6.8, 6.2, 0.09, 0.07, 0.06, 0.0, 0.8, 0.60, 0.30, 0.28, 0.6, 0.12, 0.0, 1.0),
        NucleusKind(9.0, 6.2, 0.11, 0.12, 0.06, 0.1, 0.8, 0.50, 0.38, 0.24, 0.5, 0.24, 0.6, 1.3),
        NucleusKind(10.0, 7.4, 0.18, 0.14, 0.11, 0.1, 0.8, 0.44, 0.48, 0.27, 0.5, 0.38, 1.3, 2.0),
        NucleusKind(10.0, 2.8, 0.14, 0.12, 0.05, 0.6, 0.9, 0.56, 0.30, 0.30, 0.5, 0.10, 0.0, 1.0),
    )
    """Nuclei in the order of `KINDS`."""
    sprite_sizes: int = 7
    """Sizes that each kind is drawn in."""
    sprite_looks: int = 5
    """Nuclei drawn of each size."""
    sprite_turns: int = 12
    """Directions that each is drawn in, over half a turn."""

    gland_radius_um: float = 40.0
    """Median radius of a gland that has room."""
    nest_radius_um: float = 62.0
    """Median radius of a nest of tumour cells that has room."""
    radius_spread: float = 0.38
    """Standard deviation of the logarithm of both."""
    epithelium_um: float = 20.0
    """Height of a gland's epithelium."""
    septum_um: float = 9.0
    """Least stroma between neighbouring glands or nests."""
    vessels: float = 0.07
    """Share of lattice places that hold a small vessel."""

    gland_spacing_um: float = 6.6
    """Between nuclei along a gland's rim."""
    tumour_spacing_um: float = 12.0
    """Between tumour cells."""
    lymphocyte_spacing_um: float = 8.6
    """Between lymphocytes in lymphoid tissue."""
    stroma_spacing_um: float = 15.5
    """Between places for spindle nuclei."""

    stroma_h: float = 0.035
    """Haematoxylin of collagen."""
    stroma_e: float = 0.34
    """Eosin of collagen, where it is thickest."""
    cytoplasm_h: float = 0.13
    """Haematoxylin of epithelium between nuclei."""
    cytoplasm_e: float = 0.25
    """Its eosin."""
    sheet_h: float = 0.10
    """Haematoxylin of lymphoid tissue and solid tumour between nuclei."""
    sheet_e: float = 0.20
    """Its eosin."""
    blood_e: float = 0.50
    """Eosin of red cells."""
    fat_wall_e: float = 0.22
    """Eosin of the walls of fat cells."""


RECIPE = Recipe()
"""The recipe of `GENERATOR`."""
