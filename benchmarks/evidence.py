"""What each method learns, on a frozen cohort of phantoms with known tumour: docs/evidence.md.

    python -m benchmarks.evidence                    # preset small, on a CPU
    python -m benchmarks.evidence --preset paper     # the publications' recipes, on a GPU
    python -m benchmarks.evidence --method tower --seeds 1
    python -m benchmarks.evidence --docs             # and put the tables into docs/evidence.md

Twelve slides, eight to learn from and four of other patients to be scored on, tumour on three of
those. Every method of ``wsi-tower pretrain`` with several seeds, floors beside them. Stop it at any
moment and run it again: each run that is done is kept. Two whole Camelyon16 slides give distances
of near and distant tiles on real tissue, where ``../shared/data`` is there. Prints the tables, and
writes ``benchmarks/results/evidence-<preset>.csv`` and ``.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.evidence_runs import REAL, SCALES, Runs, methods_known, run_name
from benchmarks.evidence_table import (
    Row,
    markdown,
    marked_text,
    near_far_markdown,
    write_rows,
)
from benchmarks.results import RESULTS
from wsi_tower.annotations import find_annotations
from wsi_tower.phantom.recipe import GENERATOR
from wsi_tower.records import write_text_aside
from wsi_tower.scores import (
    AddrSettings,
    evaluate_addr,
    evaluate_tumour,
    floors_of,
    open_cohort,
    tumour_fractions,
)

if TYPE_CHECKING:
    from wsi_tower.scores import Cohort, TumourScores

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence.md"
REAL_SLIDES = ROOT.parent / "shared" / "data" / "slides" / "dicom"
REAL_TRAIN, REAL_TEST = "camelyon16_lowres_jpeg2000.dcm", "camelyon16_lowres_jpeg.dcm"


@click.command()
@click.option("--preset", type=click.Choice(list(SCALES)), default="small", show_default=True)
@click.option("--method", "methods", multiple=True, help="Repeat for more; default: all.")
@click.option("--seeds", type=int, help="Runs of each method; default: the preset's.")
@click.option("--folder", type=click.Path(path_type=Path), help="What takes slides and runs.")
@click.option("--part", type=click.Choice(["all", "phantoms", "real"]), default="all")
@click.option("--docs", is_flag=True, help="Put the tables into docs/evidence.md.")
def main(
    *,
    preset: str,
    methods: tuple[str, ...],
    seeds: int | None,
    folder: Path | None,
    part: str,
    docs: bool,
) -> None:
    """Run what is missing and print the tables."""
    scale = SCALES[preset]
    runs = Runs(folder or RESULTS / f"evidence-{GENERATOR}-{preset}", scale)
    known = methods_known(methods)
    tables = {}
    if part != "real":
        rows, chance = phantom_rows(runs, known, seeds or scale.seeds)
        write_rows(RESULTS / f"evidence-{preset}.csv", rows)
        tables[preset] = markdown(rows, chance)
    if part != "phantoms" and REAL_SLIDES.is_dir() and preset != "toy":
        tables["real"] = real_table(Runs(runs.folder / "real", REAL), known)
    text = "\n".join(tables.values())
    write_text_aside(RESULTS / f"evidence-{preset}.md", text)
    click.echo(text)
    if docs:
        page = PAGE.read_text(encoding="utf-8")
        for name, one in tables.items():
            page = marked_text(page, name, one)
        write_text_aside(PAGE, page)


def phantom_rows(runs: Runs, methods: list[str], seeds: int) -> tuple[list[Row], TumourScores]:
    """Run and score every method with every seed, and the floors.

    Returns:
        A row a run, then the floors; and scores to take chance from.
    """
    runs.tile_phantoms()
    # All methods once, then again: whoever stops early has a whole table of fewer seeds.
    asked = [(method, seed) for seed in range(seeds) for method in methods]
    for method, seed in asked:
        runs.encode(method, seed)
    asked.sort(key=lambda run: methods.index(run[0]))
    cohorts = [open_cohort([runs.test], run_name(*run)) for run in asked]
    floors = floors_of(cohorts, [runs.test, runs.train], _made)
    distances = evaluate_addr([*cohorts, *floors], AddrSettings(runs.scale.pairs))
    tumour = _tumour(runs, [*cohorts, *floors])
    who = [*asked, *((floor.encoder, None) for floor in floors)]
    scores = zip(distances, tumour, strict=True)
    rows = [
        Row.of(method, seed, cohort, of_both)
        for (method, seed), cohort, of_both in zip(who, [*cohorts, *floors], scores, strict=True)
    ]
    return rows, tumour[0]


def real_table(runs: Runs, methods: list[str]) -> str:
    """Distances of near and distant tiles on a whole slide, learnt from another."""
    runs.tile([REAL_SLIDES / REAL_TRAIN], [REAL_SLIDES / REAL_TEST])
    for method in methods:
        runs.encode(method, 0)
    cohorts = [open_cohort([runs.test], run_name(method, 0)) for method in methods]
    floors = floors_of(cohorts, [runs.test, runs.train], _made)
    scores = evaluate_addr([*cohorts, *floors], AddrSettings(runs.scale.pairs))
    names = [*(f"`{method}`" for method in methods), *(f"floor: {one.encoder}" for one in floors)]
    return near_far_markdown(dict(zip(names, scores, strict=True)))


def _tumour(runs: Runs, cohorts: list[Cohort]) -> list[TumourScores]:
    files = find_annotations(runs.truth, [one.slide_id for one in cohorts[0].caches])
    return evaluate_tumour(cohorts, tumour_fractions(cohorts[0], files))


def _made(floor: str, slide_id: str) -> None:
    click.echo(f"made floor {floor} of {slide_id}", err=True)


if __name__ == "__main__":
    main()
