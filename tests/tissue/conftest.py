"""Overviews to find tissue on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PEN_PICTURES = Path(__file__).parents[3] / "shared" / "data" / "slides" / "pen"


@pytest.fixture(scope="session")
def pen_picture() -> Callable[[str], NDArray[np.uint8]]:
    """Reads a real H&E region, some with felt pen; skips the test where it is not there."""

    def read(stem: str) -> NDArray[np.uint8]:
        path = PEN_PICTURES / f"{stem}.png"
        if not path.exists():
            pytest.skip(f"real picture {path} is not there")
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))

    return read
