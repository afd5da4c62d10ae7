"""The page: everything is on it, nothing breaks out of it, and it needs no network."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from wsi_tower import errors
from wsi_tower.batch import SlideRow
from wsi_tower.report.page import render_page
from wsi_tower.report.remedies import remedy_for

if TYPE_CHECKING:
    from wsi_tower.report import RunRecord


class Page(HTMLParser):
    """The page's elements in order, with their attributes, and all its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def position(self, tag: str, **attributes: str) -> int:
        return next(
            index
            for index, (name, own) in enumerate(self.elements)
            if name == tag and attributes.items() <= own.items()
        )


@pytest.fixture
def page(run: RunRecord) -> Page:
    return Page(render_page(run))


def test_nothing_is_fetched(run: RunRecord, page: Page) -> None:
    links = [
        own[name] for _, own in page.elements for name in ("src", "href", "action") if name in own
    ]
    assert links
    for link in links:
        assert re.match(r"(pictures/|slides\.csv$|run\.json$|#|data:,$)", link), link
    styles = re.search(r"<style>(.*?)</style>", render_page(run), re.DOTALL)
    assert styles is not None
    assert "url(" not in styles.group(1)
    assert "@import" not in styles.group(1)


def test_hostile_names_stay_text(run: RunRecord, page: Page) -> None:
    hostile = run.rows[1].slide_id
    assert len(page.all("script")) == 2
    assert "alert(1)</script>" not in render_page(run)
    assert not [own for own in page.all("img") if "evil.example" in own.get("src", "")]
    assert hostile in page.words
    assert '<img src="http://evil.example/x">' in page.words
    assert not page.all("module")
    handlers = [name for _, own in page.elements for name in own if name.startswith("on")]
    assert handlers == []


def test_picture_links_lead_to_the_files(run: RunRecord, page: Page) -> None:
    links = [own["src"] for own in page.all("img") if own.get("loading") == "lazy"]
    assert [unquote(link) for link in links] == list(run.pictures.values())
    for link in links:
        assert re.fullmatch(r"[A-Za-z0-9/._~%-]+", link), link
    assert all(own["alt"] for own in page.all("img") if "src" in own)


def test_every_slide_has_a_row_and_a_status(run: RunRecord, page: Page) -> None:
    shown = [own["data-status"] for own in page.all("tr") if "data-status" in own]
    assert shown == [row.status for row in run.rows]
    for row in run.rows:
        assert row.slide_id in page.words
    filters = {own["data-filter"] for own in page.all("button") if "data-filter" in own}
    assert filters == {"", "done", "skipped", "empty", "failed", "unsupported"}


def test_failures_come_first_with_reason_message_remedy_and_traceback(
    run: RunRecord, page: Page
) -> None:
    failures = page.position("section", id="failures")
    assert (
        failures < page.position("section", id="pictures") < page.position("section", id="slides")
    )
    assert failures < page.position("article")
    for row in run.rows:
        if row.is_failure:
            assert row.message in page.words
            assert row.traceback in page.words
            assert remedy_for(row.reason) in page.words


def test_figures_settings_and_command_are_told(run: RunRecord, page: Page) -> None:
    thin = "\N{NARROW NO-BREAK SPACE}"
    for words in (
        "3 of 7 slides ready",
        f"12{thin}353",
        f"3{thin}min 20{thin}s on 4 local processes",
        "pen.hue",
        "0.2, 0.4",
        run.command,
        run.workspace,
        "0.499 µm/px (ome-xml)",
        "21 November 2026, 01:02 UTC",
        "0 of 1824 tiles",
    ):
        assert words in page.words


WARNING = "the given pixel size of 2 µm/px is used, but the file says <b>0.499</b>"


@pytest.fixture
def noted(run: RunRecord) -> RunRecord:
    """The run with a warning on the first slide and on the empty one."""
    rows = [
        replace(row, details={**row.details, "warning": WARNING})
        if row.slide_id in ("good", "glass")
        else row
        for row in run.rows
    ]
    return replace(run, rows=tuple(rows))


def test_warnings_stand_in_gallery_and_table(noted: RunRecord) -> None:
    page = Page(render_page(noted))
    # Once under the picture of the first slide, and in the table's row of both.
    assert page.words.count(WARNING) == 3
    notes = [index for index, (_, own) in enumerate(page.elements) if own.get("class") == "warning"]
    gallery, table = page.position("section", id="pictures"), page.position("section", id="slides")
    assert [gallery < index < table for index in notes] == [True, False, False]
    assert "0 of 1824 tiles" in page.words


def test_a_slide_with_a_warning_is_marked_by_its_status(noted: RunRecord) -> None:
    # The column of notes is the last one, out of sight on a narrow screen.
    marks = [own for own in Page(render_page(noted)).all("span") if own.get("class") == "noted"]
    assert [own["title"] for own in marks] == [WARNING, WARNING]


def test_slides_with_a_note_are_counted_by_the_others(noted: RunRecord) -> None:
    lead = re.search(r'<p class="lead">(.*?)</p>', render_page(noted))
    assert lead is not None
    assert "1 without tissue, 2 with a note, 3" in lead.group(1)


def test_without_warnings_nothing_is_said_of_notes(run: RunRecord) -> None:
    assert "with a note" not in render_page(run)
    assert 'class="warning"' not in render_page(run)


def test_a_warning_alone_brings_the_column_of_notes(run: RunRecord) -> None:
    row = SlideRow("a", "a.svs", "done", details={"warning": WARNING})
    page = Page(render_page(replace(run, rows=(row,), pictures={})))
    assert "Note" in page.words
    assert page.words.count(WARNING) == 1


def test_missing_details_leave_no_hole(run: RunRecord) -> None:
    words = Page(render_page(replace(run, rows=(SlideRow("a", "a.svs", "done"),)))).words
    assert "Tissue mm²" not in words
    assert "None" not in words
    assert "The slide is ready" in words


def test_a_run_without_slides_has_a_page(run: RunRecord) -> None:
    assert "No slides" in Page(render_page(replace(run, rows=(), pictures={}, seconds=0))).words


def test_every_failure_of_the_error_tree_has_a_remedy() -> None:
    groups = (errors.SlideError, errors.StoreError, errors.InputError, errors.TrainingError)
    no_slides = (*errors.InputError.__subclasses__(), *errors.TrainingError.__subclasses__())
    not_rows = {*groups, *no_slides, errors.EmptySlideError, errors.EncoderError, errors.ScoreError}
    not_rows.add(errors.LabelError)
    unknown = remedy_for("ZeroDivisionError")
    assert "traceback" in unknown
    for error in {getattr(errors, name) for name in errors.__all__ if name.endswith("Error")}:
        if error is not errors.WsiTowerError and error not in not_rows:
            assert remedy_for(error.reason) != unknown, error.reason


def test_three_thousand_slides_render_quickly(run: RunRecord) -> None:
    many = tuple(
        replace(run.rows[index % len(run.rows)], slide_id=f"slide-{index}") for index in range(3000)
    )
    started = time.perf_counter()
    html = render_page(replace(run, rows=many))
    # 0.7 s on a quiet core; the bound leaves room for a busy machine.
    assert time.perf_counter() - started < 4
    assert html.count("<tr data-status") == 3000
