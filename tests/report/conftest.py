"""Runs to report on."""

from __future__ import annotations

import pytest

from wsi_tower.batch import SlideRow
from wsi_tower.report import RunRecord

HOSTILE = "</script><script>alert(1)</script> \"q\" 'q' 50% #3 é组 &amp; ?x"
"""A slide name that would break out of text, attributes, scripts and links."""
UNDECODABLE = "bad-\udcff-byte"
"""How Python names a file whose bytes are not UTF-8."""

DETAILS = {
    "reader": "openslide",
    "vendor": "aperio",
    "size": "46000 × 32914 px",
    "mpp": 0.499,
    "mpp_origin": "ome-xml",
    "effective_mpp": 0.499,
    "level": 0,
    "pixels": "native",
    "pixels_reason": "256-px JPEG tiles in the file",
    "tissue_mm2": 83.2,
    "megabytes": 214.4,
    "peak_mb": 412,
}


def rows() -> tuple[SlideRow, ...]:
    return (
        SlideRow("good", "/slides/good.svs", "done", tiles=12345, seconds=38.2, details=DETAILS),
        SlideRow(HOSTILE, f"/slides/{HOSTILE}.svs", "done", tiles=1, seconds=90, details=DETAILS),
        SlideRow("again", "/slides/again.svs", "skipped", tiles=7, details={"mpp": float("nan")}),
        SlideRow(
            "broken",
            "/slides/broken.svs",
            "failed",
            "unreadable",
            'slide broken.svs cannot be read: <img src="http://evil.example/x">\nsecond line',
            seconds=0.2,
            traceback='Traceback:\n  File "a.py", line 1, in <module>\nValueError: a,b;"c"',
        ),
        SlideRow(UNDECODABLE, f"/slides/{UNDECODABLE}.svs", "failed", "KeyError", "KeyError: 1"),
        SlideRow("zarr", "/slides/zarr", "unsupported", "unsupported-format", "no reader"),
        SlideRow("glass", "/slides/glass.svs", "empty", "no-tissue", "0 of 1824 tiles"),
    )


@pytest.fixture
def run() -> RunRecord:
    """Seven slides of every status, hostile names among them."""
    return RunRecord(
        verb="tile",
        command="wsi-tower tile '/slides/<b>' -w out",
        workspace="/data/<i>out</i>",
        started="2026-11-21T01:02:03+00:00",
        seconds=200.0,
        workers="4 local processes",
        settings={"mpp": 0.5, "focus": False, "tissue": {"mpp": 8.0, "pen": {"hue": [0.2, 0.4]}}},
        rows=rows(),
        pictures={"good": "pictures/good.jpg", HOSTILE: f"pictures/{HOSTILE}.jpg"},
        software={"wsi-tower": "0.1.0"},
    )
