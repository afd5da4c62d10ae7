"""The memory of this process: how much it took at most, and giving less of it back."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

__all__ = ["keep_freed_memory", "peak_mb"]

_MIB = 1 << 20
# Parameters of mallopt(3): when free memory at the top is given back, how much more is taken than
# asked for, and from which size on a block is mapped alone. 32 MiB is the most that glibc takes.
_SETTINGS = ((-1, 512 * _MIB), (-2, 64 * _MIB), (-3, 32 * _MIB))


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next image, where it is glibc.

    Else every array of some hundred kilobytes is mapped, cleared page by page by the kernel, and
    unmapped again, which can cost more than computing it. May be called again.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for parameter, value in _SETTINGS:
        mallopt(parameter, value)


def peak_mb() -> int:
    """Largest resident memory of this process so far."""
    try:
        # What getrusage says on Linux counts the parent's memory from before exec too.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return round(int(status.partition("VmHWM:")[2].split()[0]) / 1e3)
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / 1e6 if sys.platform == "darwin" else peak / 1e3)
