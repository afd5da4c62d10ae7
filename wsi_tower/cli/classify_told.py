"""What ``wsi-tower classify`` says at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.ending import told_summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wsi_tower.cli.classify_run import Classification
    from wsi_tower.cli.options import Shared

__all__ = ["told_classification"]

_HEADS = ("", "slides", "tiles", "accuracy", "balanced", "ECE before", "ECE after")


def told_classification(found: Classification, shared: Shared) -> None:
    """Print what a run gave and end the command with its exit code."""
    if shared.json:
        told_summary(found.summary, shared, found.folder, found.to_json())
        return
    training = found.record.origin.training
    if found.is_new:
        click.echo(_headline(found))
        rows = [_HEADS, *_rows(training)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())
    for note in (*found.notes, *(_notes(training) if found.is_new else ())):
        click.echo(f"note: {note}", err=True)
    told_summary(found.summary, shared, found.folder)


def _headline(found: Classification) -> str:
    record, training = found.record, found.record.origin.training
    tiles = ", ".join(f"{count:,} {name}" for name, count in training["train_tiles"].items())
    return (
        f"classifier {record.name} ({record.kind} on {record.origin.encoder}), learnt from {tiles} "
        f"tiles of {len(training['split']['train'])} slides; temperature "
        f"{training['temperature']:.3g}"
    )


def _rows(training: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for part in ("validation", "test"):
        scores = training[part]
        if scores is None:
            continue
        yield (
            part,
            f"{scores['slides']}",
            f"{scores['tiles']:,}",
            f"{scores['accuracy']:.1%}",
            f"{scores['balanced']:.1%}",
            f"{scores['ece_before']:.3f}",
            f"{scores['ece']:.3f}",
        )


def _notes(training: Mapping[str, Any]) -> Iterator[str]:
    split = training["split"]
    yield (
        f"{split['groups']} patients were parted: {len(split['train'])} slides train, "
        f"{len(split['validation'])} calibrate, {len(split['test'])} test"
    )
    yield "validation is what was calibrated on, so its ECE after is too good"
    if training["test"] is None:
        yield "there is no test: three patients with labelled tiles are needed"
    elif training["test"]["balanced"] <= 1 / len(training["classes"]):
        yield "on test slides it is no better than guessing: look at no map before that is mended"
    if split["unused"]:
        yield f"{len(split['unused'])} slides have no labelled tile or no part, and are unused"
