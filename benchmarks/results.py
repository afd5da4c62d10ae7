"""Where measurements go, and what machine they come from."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import click

__all__ = ["RESULTS", "write_results"]

RESULTS = Path(__file__).parent / "results"
"""Folder of everything that a benchmark writes; not kept in git."""


def write_results(name: str, record: dict[str, Any]) -> None:
    """Write ``<name>.json`` with the machine and Python it was measured on."""
    RESULTS.mkdir(exist_ok=True)
    machine = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record | machine, indent=2) + "\n")
    click.echo(f"Written to {path}")
