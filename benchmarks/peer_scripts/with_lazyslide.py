"""LazySlide: the regions that its tile iterator reads, one after the other."""

import json
import sys
import time
from pathlib import Path

from wsidata import open_wsi

slide = open_wsi(sys.argv[1])
corners = json.loads(Path(sys.argv[2]).read_text())
slide.reader.get_region(*corners[0], 256, 256, level=0)
began = time.perf_counter()
for x, y in corners:
    slide.reader.get_region(x, y, 256, 256, level=0)
print(json.dumps({"tiles_per_second": len(corners) / (time.perf_counter() - began)}))
