"""``wsi-tower info``: what a slide or a tile store says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.options import Shared, reader_option, shared_options

if TYPE_CHECKING:
    from wsi_tower.slides import SlideInfo

EPILOG = """\b
Examples:
  wsi-tower info a.svs                      size, levels, pixel size and where it came from
  wsi-tower info slides/*.svs --json        for scripts
  wsi-tower info https://host/a.svs         over the network (pip install 'wsi-tower[cloud]')
  wsi-tower info wsi-tower-workspace/tiles/a.zarr    a tile store
"""


@click.command("info", epilog=EPILOG, short_help="Show what slides and tile stores hold.")
@click.argument("slides", nargs=-1, required=True, metavar="SLIDE|STORE…")
@shared_options("json", "verbose")
@reader_option
def command(*, shared: Shared, slides: tuple[str, ...], reader: str) -> None:
    """Show size, levels, pixel size and its origin, vendor and objective of slides.

    Label and macro images are never shown: they can carry patient names.
    """
    import json

    from wsi_tower.errors import WsiTowerError, without_secrets

    told, failed = [], False
    for source in slides:
        try:
            told.append(_described(source, reader))
        except WsiTowerError as error:
            failed = True
            told.append(
                {
                    "source": without_secrets(source),
                    "error": {"reason": error.reason, "message": without_secrets(str(error))},
                }
            )
    if shared.json:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join(_text(one) for one in told))
    if failed:
        raise click.exceptions.Exit(1)


def _described(source: str, reader: Any) -> dict[str, Any]:
    from pathlib import Path

    from wsi_tower.slides import open_slide

    if Path(source, "zarr.json").exists():
        return _described_store(source)
    with open_slide(source, reader=reader) as slide:
        return _slide_values(slide.info)


def _slide_values(info: SlideInfo) -> dict[str, Any]:
    size = info.pixel_size
    return {
        "source": info.source,
        "reader": info.reader,
        "vendor": info.vendor,
        "size_l0": [info.size.width, info.size.height],
        "mpp": [size.mpp.x, size.mpp.y] if size else None,
        "mpp_origin": size.origin if size else None,
        "extent_mm": [
            round(info.size.width * size.mpp.x / 1000, 2),
            round(info.size.height * size.mpp.y / 1000, 2),
        ]
        if size
        else None,
        "objective_power": info.objective_power,
        "bounds_l0": [info.bounds.x, info.bounds.y, info.bounds.width, info.bounds.height]
        if info.bounds
        else None,
        "levels": [
            {"size_px": [level.size.width, level.size.height], "downsample": level.downsample}
            for level in info.levels
        ],
    }


def _described_store(source: str) -> dict[str, Any]:
    from wsi_tower.tiles import TileStore

    with TileStore.open(source) as store:
        return {
            "source": source,
            "slide": store.slide.path,
            "tiles": len(store),
            "tile_px": store.plan.tile_px,
            "overlap_px": store.plan.overlap_px,
            "mpp": [store.slide.mpp.x, store.slide.mpp.y],
            "mpp_origin": store.slide.mpp_origin,
            "effective_mpp": store.plan.effective_mpp,
            "columns": list(store.columns),
            "pixels": store.pixel_mode,
            "megabytes": round(store.stored_bytes / 1e6, 2),
            "created": store.header.created,
            "settings_digest": store.header.settings_digest,
            "content_digest": store.header.content_digest,
            "settings": store.header.settings,
        }


def _text(values: dict[str, Any]) -> str:
    """Aligned lines; a list of levels gets a line each."""
    lines = [click.style(str(values["source"]), bold=True)]
    for name, value in values.items():
        if name == "levels":
            lines += [
                f"  level {number:<11} {level['size_px'][0]} × {level['size_px'][1]} px, "
                f"downsample {level['downsample']:g}"
                for number, level in enumerate(value)
            ]
        elif name == "settings":
            lines += [
                f"  {group}.{field:<{28 - len(group)}} {_short(one)}"
                for group, fields in value.items()
                if isinstance(fields, dict)
                for field, one in fields.items()
            ]
        elif name == "error":
            lines.append(f"  {click.style('error', fg='red')}: {value['message']}")
        elif name != "source":
            lines.append(f"  {name:<17} {_short(value)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if value is None:
        return "not stated"
    if isinstance(value, list):
        between = ", " if value and isinstance(value[0], str) else " × "
        return between.join(_short(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
