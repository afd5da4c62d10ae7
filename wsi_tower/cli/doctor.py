"""``wsi-tower doctor``: what is installed, and whether this machine can do the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.options import Shared, shared_options

if TYPE_CHECKING:
    from pathlib import Path

EPILOG = """\b
Examples:
  wsi-tower doctor                 versions, readers, GPU, disk, workspace
  wsi-tower doctor -w /data/study --json
"""

_PACKAGES = (
    "wsi-tower", "openslide-python", "openslide-bin", "tiffslide", "tifffile", "imagecodecs",
    "simplejpeg", "zarr", "dask", "distributed", "numpy", "scikit-image", "shapely",
    "opencv-python-headless", "torch", "torchvision", "timm", "safetensors",
)  # fmt: skip
_OPTIONAL = {
    "s3fs": "s3:// slides: wsi-tower[cloud]",
    "aiohttp": "https:// slides: wsi-tower[cloud]",
    "tensorboard": "pretrain --tensorboard: wsi-tower[tensorboard]",
    "umap-learn": "evaluate retrieval --projection umap: wsi-tower[umap]",
}
_FEW_GB = 20.0


@click.command("doctor", epilog=EPILOG, short_help="Check this machine, its readers and its disk.")
@shared_options("workspace", "json", "verbose")
def command(*, shared: Shared) -> None:
    """Check what is installed, which readers and GPU there are, disk space and the workspace.

    Exit code 1 when something needed is missing.
    """
    import json

    report = {
        "packages": _versions(_PACKAGES),
        "optional": _versions(tuple(_OPTIONAL)),
        "openslide": _openslide_version(),
        "readers": _readers(),
        "machine": _machine(),
        "gpu": _gpus(),
        "workspace": _workspace(shared.workspace),
    }
    report["problems"] = problems = _problems(report)
    report["notes"] = _notes(report)
    if shared.json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        click.echo(_text(report))
    if problems:
        raise click.exceptions.Exit(1)


def _versions(names: tuple[str, ...]) -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _openslide_version() -> str | None:
    """Version of the OpenSlide library, or None where it cannot be loaded."""
    try:
        import openslide
    except (ImportError, OSError):
        return None
    return str(openslide.__library_version__)


def _readers() -> dict[str, str]:
    from wsi_tower.slides import READERS

    return {reader.name: reader.formats for reader in READERS}


def _machine() -> dict[str, Any]:
    import os
    import platform

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
    }


def _gpus() -> list[str]:
    """Names of NVIDIA GPUs as the driver's own tool lists them; none where it is not there."""
    import shutil
    import subprocess

    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def _workspace(path: Path) -> dict[str, Any]:
    """Whether the workspace can be written: tried, and nothing left behind."""
    import tempfile

    from wsi_tower.workspace import Workspace

    workspace = Workspace(path)
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            writable = True
    except OSError:
        writable = False
    return {
        "path": str(path),
        "exists": path.is_dir(),
        "writable": writable,
        "free_gb": round(workspace.free_bytes() / 1e9, 1),
    }


def _problems(report: dict[str, Any]) -> list[str]:
    problems = [
        f"package {name} is missing; install wsi-tower again with pip install wsi-tower"
        for name, found in report["packages"].items()
        if found is None
    ]
    if report["openslide"] is None:
        problems.append("the OpenSlide library cannot be loaded; pip install openslide-bin")
    place = report["workspace"]
    if not place["writable"]:
        problems.append(f"workspace {place['path']} cannot be written; choose another with -w")
    return problems


def _notes(report: dict[str, Any]) -> list[str]:
    place = report["workspace"]
    if place["free_gb"] >= _FEW_GB:
        return []
    return [
        (
            f"only {place['free_gb']} GB are free for workspace {place['path']}; the tiles of a "
            f"cohort may need hundreds, so choose another disk with -w"
        )
    ]


def _text(report: dict[str, Any]) -> str:
    place, machine = report["workspace"], report["machine"]
    gpus = report["gpu"] or ["none found (tiling needs none; pretrain takes its small preset)"]
    lines = [
        _heading("Machine"),
        f"  {machine['system']}, Python {machine['python']}",
        f"  {machine['cores']} cores, {machine['memory_gb']} GB memory",
        *(f"  GPU: {gpu}" for gpu in gpus),
        _heading("Workspace"),
        (
            f"  {place['path']}: {'writable' if place['writable'] else 'NOT writable'}, "
            f"{place['free_gb']} GB free"
        ),
        _heading("Readers"),
        *(f"  {name:<10} {formats}" for name, formats in report["readers"].items()),
        _heading("Packages"),
        f"  {'OpenSlide':<24} {report['openslide'] or 'MISSING'}",
        *(f"  {name:<24} {found or 'MISSING'}" for name, found in report["packages"].items()),
        *(
            f"  {name:<24} {found or 'not installed'}  ({_OPTIONAL[name]})"
            for name, found in report["optional"].items()
        ),
    ]
    lines += [click.style(f"Problem: {text}", fg="red") for text in report["problems"]]
    lines += [click.style(f"Note: {text}", fg="yellow") for text in report["notes"]]
    return "\n".join(lines if report["problems"] else [*lines, "Ready."])


def _heading(text: str) -> str:
    return click.style(text, bold=True)
