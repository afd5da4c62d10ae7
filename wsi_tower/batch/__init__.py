"""One fail-safe loop over slides: in this process, on local worker processes, or on a cluster.

Whatever happens to a slide becomes a row; the loop goes on. This is the only place in wsi-tower
that catches every exception.
"""

from wsi_tower.batch.cluster import worker_number
from wsi_tower.batch.loop import run_batch
from wsi_tower.batch.rows import Outcome, SlideRow, Status
from wsi_tower.batch.settings import BatchSettings, usable_cores
from wsi_tower.batch.work import Progress, unwatched

__all__ = [
    "BatchSettings",
    "Outcome",
    "Progress",
    "SlideRow",
    "Status",
    "run_batch",
    "unwatched",
    "usable_cores",
    "worker_number",
]
