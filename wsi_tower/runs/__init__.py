"""Runs of training as they lie on disk: how each ended, what it logged, how two differ.

Needs no torch, so that a thousand runs are listed in a second or two.
"""

from wsi_tower.runs.comparison import differing_settings
from wsi_tower.runs.ending import Ending, EndStatus, begin_run, record_failure, recorded_ending
from wsi_tower.runs.log import MEASURES, Columns, LogTail, log_tail, logged_columns
from wsi_tower.runs.record import RecordedRun, RunStatus, named_runs, recorded_run, recorded_runs

__all__ = [
    "MEASURES",
    "Columns",
    "EndStatus",
    "Ending",
    "LogTail",
    "RecordedRun",
    "RunStatus",
    "begin_run",
    "differing_settings",
    "log_tail",
    "logged_columns",
    "named_runs",
    "record_failure",
    "recorded_ending",
    "recorded_run",
    "recorded_runs",
]
