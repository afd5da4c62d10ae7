"""Which index a cohort gets."""

from __future__ import annotations

import pytest

from wsi_tower.errors import SettingsError
from wsi_tower.retrieval import IndexSettings, SearchSettings
from wsi_tower.retrieval.choice import chosen

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("tiles", "length", "settings", "factory"),
    [
        (MILLION, 128, {}, "IVF1024,PQ32np"),  # √10⁶ = 1000
        (10 * MILLION, 128, {}, "IVF4096,PQ32np"),  # √10⁷ = 3162, nearer to 4096 in octaves
        (10 * MILLION, 2048, {}, "PCAR128,IVF4096,PQ32np"),
        (10 * MILLION, 2048, {"reduction": "opq"}, "OPQ32_128,IVF4096,PQ32np"),
        (10 * MILLION, 100, {}, "PCAR96,IVF4096,PQ32np"),  # 100 is no multiple of 32
        (10 * MILLION, 16, {}, "IVF4096,PQ16np"),  # a value a byte at least
        (10 * MILLION, 128, {"lists": 100, "code_bytes": 16}, "IVF100,PQ16np"),
        (20_000, 128, {"kind": "compressed"}, "IVF128,PQ32np"),
        (10 * MILLION, 256, {"reduction": "none"}, "IVF4096,PQ32np"),
    ],
)
def test_lists_and_codes_fit_tiles_and_descriptors(
    tiles: int, length: int, settings: dict[str, object], factory: str
) -> None:
    choice = chosen(IndexSettings(**settings), tiles, length)  # type: ignore[arg-type]
    assert (choice.kind, choice.factory) == ("compressed", factory)


def test_a_million_tiles_are_the_border() -> None:
    assert chosen(IndexSettings(), MILLION - 1, 128).kind == "flat"
    assert chosen(IndexSettings(), MILLION, 128).kind == "compressed"
    assert chosen(IndexSettings(exact_below=10), 20_000, 128).kind == "compressed"
    assert chosen(IndexSettings(kind="flat"), 10 * MILLION, 128).kind == "flat"


def test_a_tile_of_a_compressed_index_takes_fewer_than_64_bytes() -> None:
    # 32 of code, 8 of its number, two single-precision coordinates.
    assert chosen(IndexSettings(), 10 * MILLION, 2048).bytes_per_tile == 48
    assert chosen(IndexSettings(), 1000, 2048).bytes_per_tile == 8


def test_the_reasons_are_told_in_words() -> None:
    flat = chosen(IndexSettings(), 5000, 128)
    assert "5,000 tiles, fewer than 1,000,000" in flat.why[0]
    kind, lists, codes = chosen(IndexSettings(), 2 * MILLION, 2048).why
    assert "2,000,000 tiles, 1,000,000 or more" in kind
    assert "1,024 lists" in lists
    assert "2048 values are shortened to 128 by their principal components" in codes
    assert "as asked for" in chosen(IndexSettings(kind="flat"), 5000, 128).why[0]


@pytest.mark.parametrize(
    ("settings", "tiles", "said"),
    [
        ({"kind": "compressed"}, 500, "at least 9,984 tiles, not 500"),
        ({"kind": "compressed", "lists": 1000}, 20_000, "with 1000 lists is learnt from at least"),
        ({"kind": "compressed", "reduction": "none"}, 20_000, "100 values cannot be cut into 32"),
    ],
)
def test_what_tiles_cannot_have_is_refused(
    settings: dict[str, object], tiles: int, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        chosen(IndexSettings(**settings), tiles, 100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (IndexSettings, {"kind": "hnsw"}),
        (IndexSettings, {"shards": 0}),
        (IndexSettings, {"lists": -1}),
        (IndexSettings, {"reduction": "svd"}),
        (SearchSettings, {"probes": 0}),
        (SearchSettings, {"candidates": 0}),
    ],
)
def test_settings_that_cannot_be_right_are_refused(kind: type, values: dict[str, object]) -> None:
    name = next(iter(values))
    with pytest.raises(SettingsError, match=f"{name} must be"):
        kind(**values)
