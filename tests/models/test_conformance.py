from __future__ import annotations

import pytest

from tests.models.conformance import Case, EncoderConformance

CASES = [
    Case("resnet18"),
    Case("resnet18", 1),
    Case("convnext_atto"),
    Case("convnext_atto", 1),
    Case("mobilenetv3_small_050"),
    Case("mobilenetv3_small_050", 1),
    Case("regnetx_002"),
    Case("regnetx_002", 1),
    Case("vit_tiny_patch16_224", sizes=((64, 64), (96, 64), (224, 224))),
    Case("vit_tiny_patch16_224", 1, sizes=((64, 64), (96, 64))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
class TestTimmEncoder(EncoderConformance):
    """timm's families behind the port."""
