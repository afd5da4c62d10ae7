"""Numbers, times and settings in words."""

from __future__ import annotations

import pytest

from wsi_tower.report.wording import (
    counted,
    duration,
    flattened,
    moment,
    number,
    plainly,
    shown,
    volume,
)

THIN = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (7, "7"),
        (1234567, "1 234 567"),
        (0.2526, "0.253"),
        (83.21, "83.2"),
        (120.4, "120"),
    ],
)
def test_numbers(value: float, words: str) -> None:
    assert number(value) == words.replace(" ", THIN)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.00_s"),
        (0.416, "0.42_s"),
        (4.26, "4.3_s"),
        (38.2, "38_s"),
        (59.6, "1_min 00_s"),
        (203.4, "3_min 23_s"),
        (7530, "2_h 05_min"),
        (40203, "11_h 10_min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words.replace("_", THIN)


def test_volumes() -> None:
    assert [volume(mb) for mb in (214.4, 1296, 1.296e6)] == [
        f"214{THIN}MB",
        f"1.3{THIN}GB",
        f"1.3{THIN}TB",
    ]


def test_plurals() -> None:
    assert [counted(1, "slide"), counted(3, "slide")] == ["1 slide", "3 slides"]


def test_moments_that_are_none_stay_as_they_are() -> None:
    assert moment("2026-11-21T01:02:03Z") == "21 November 2026, 01:02 UTC"
    assert moment("yesterday") == "yesterday"


def test_settings_are_plain() -> None:
    values = [None, True, False, 0.5, [1, 2], [], "a", 20000.0]
    assert [plainly(v) for v in values] == ["–", "yes", "no", "0.5", "1, 2", "–", "a", "20000"]
    assert dict(flattened({"a": {"b": {"c": 1}}, "d": {}})) == {"a.b.c": 1, "d": {}}


def test_undecodable_bytes_are_escaped() -> None:
    assert shown("a\udcffé") == "a\\udcffé"
