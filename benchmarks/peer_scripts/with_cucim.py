"""cuCIM: one call with a list of corners, batches of 64, two workers."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from cucim import CuImage

slide = CuImage(sys.argv[1])
corners = [tuple(corner) for corner in json.loads(Path(sys.argv[2]).read_text())]
batches = {"num_workers": 2, "batch_size": 64, "prefetch_factor": 2}
list(slide.read_region(corners[:64], (256, 256), level=0, **batches))
began = time.perf_counter()
for batch in slide.read_region(corners, (256, 256), level=0, **batches):
    np.asarray(batch)
print(json.dumps({"tiles_per_second": len(corners) / (time.perf_counter() - began)}))
