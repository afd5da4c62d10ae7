from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.models.conftest import record_values
from wsi_tower.errors import CorruptStoreError
from wsi_tower.models import EncoderRecord

FIELDS = (
    *("encoder_id", "method", "input_px", "mpp", "architecture", "in_channels", "mean", "std"),
    *("model_args", "descriptor", "descriptor_width", "head", "decoder", "digests", "training"),
)


@pytest.mark.parametrize("name", FIELDS)
def test_missing_and_misshapen_fields_are_named(name: str, saved: Path) -> None:
    values = record_values(saved)
    missing = {key: value for key, value in values.items() if key != name}
    for damaged in (missing, values | {name: True}, values | {name: b"bytes"}):
        with pytest.raises(CorruptStoreError, match=rf"a/encoder\.json .*{name}.*restore"):
            EncoderRecord.from_json(damaged, Path("a/encoder.json"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": [0.5]}, "for each of 3 channels"),
        ({"mean": ["a", "b", "c"]}, "float"),
        ({"std": [0.0, 1.0, 1.0]}, "std must be above 0"),
        ({"descriptor": "other"}, "descriptor"),
        ({"head": {"out": 0}}, "out must be 1"),
        ({"head": {"depth": 3}}, "depth"),
        ({"decoder": {"widths": [1]}}, "out_channels"),
        ({"decoder": {"out_channels": 3, "widths": "wide"}}, "int"),
    ],
)
def test_values_that_cannot_be_are_named(changes: dict[str, Any], words: str, saved: Path) -> None:
    with pytest.raises(CorruptStoreError, match=rf"a/encoder\.json is damaged: .*{words}"):
        EncoderRecord.from_json(record_values(saved) | changes, Path("a/encoder.json"))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"kind": "tiles"}, "is the record of 'tiles', not of an encoder"),
        ({"format_version": 2}, "has format version 2; this wsi-tower reads 1, so update it"),
        ({"settings": None}, "no sound wsi-tower header"),
    ],
)
def test_other_headers_are_refused(header: dict[str, Any], words: str, saved: Path) -> None:
    values = record_values(saved)
    values["header"] |= header
    with pytest.raises(CorruptStoreError, match=words):
        EncoderRecord.from_json(values, Path("a/encoder.json"))


def test_a_later_record_may_hold_more(saved: Path) -> None:
    values = record_values(saved)
    record = EncoderRecord.from_json(values, Path("a"))
    assert EncoderRecord.from_json(values | {"licence": "CC0"}, Path("a")) == record
    assert record.to_json() == values
