"""tiatoolbox: its reader's rectangles at level 0, one after the other."""

import json
import sys
import time
from pathlib import Path

from tiatoolbox.wsicore.wsireader import WSIReader

slide = WSIReader.open(sys.argv[1])
corners = json.loads(Path(sys.argv[2]).read_text())
slide.read_rect(corners[0], (256, 256), resolution=0, units="level")
began = time.perf_counter()
for corner in corners:
    slide.read_rect(corner, (256, 256), resolution=0, units="level")
print(json.dumps({"tiles_per_second": len(corners) / (time.perf_counter() - began)}))
