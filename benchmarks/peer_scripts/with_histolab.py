"""histolab: its tiles, cut and saved as PNG files as its tilers do; some of the corners."""

import json
import sys
import time
from pathlib import Path

from histolab.slide import Slide
from histolab.types import CoordinatePair

slide = Slide(sys.argv[1], sys.argv[3])
corners = json.loads(Path(sys.argv[2]).read_text())[:200]
out = Path(sys.argv[3])
began = time.perf_counter()
for number, (x, y) in enumerate(corners):
    tile = slide.extract_tile(CoordinatePair(x, y, x + 256, y + 256), tile_size=(256, 256), level=0)
    tile.save(out / f"{number}.png")
print(json.dumps({"tiles_per_second": len(corners) / (time.perf_counter() - began)}))
