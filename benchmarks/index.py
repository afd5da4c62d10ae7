"""Similar-tile search at 10⁵, 10⁶ and 10⁷ tiles, beside brute force and HNSW.

    python -m benchmarks.index
    python -m benchmarks.index --sizes 10000000 --threads 2
    python -m benchmarks.index --sizes 10000000 --no-long --only compressed --again

Prints a table and adds it to ``benchmarks/results/index.json``. The cohort is `Mixture`: its
embedding caches are made at the first run (5.5 GB for 10⁷ tiles). Every way of searching runs in a
process of its own, one query at a time, on one thread, with the page cache warm: one round of the
same queries before is not counted. A query is a tile of the cohort, and its patient's two slides
may not answer. Recall is the share of the ten nearest tiles by exact distances, over all queries.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
import faiss
import numpy as np
import torch

from benchmarks.mixture import Mixture
from benchmarks.results import RESULTS, write_results
from wsi_tower.memory import peak_mb
from wsi_tower.retrieval import IndexSettings, TileIndex, build_index, nearest
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ENCODER = "mixture"
HITS = 10
SEED = 1
HNSW_LINKS, HNSW_BUILDING, HNSW_SEARCHING = 32, 80, 128
MOST_HNSW = 1_000_000
SLOW_QUERIES, SLOW_SECONDS = 50, 120
"""Queries of ways that would take longer than so many seconds for all."""
T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """A cohort and its queries."""

    mixture: Mixture
    queries: int
    is_made: bool = False
    """Whether its index is taken as an earlier run left it."""

    @property
    def workspace(self) -> Workspace:
        """Where its caches lie."""
        return Workspace(RESULTS / f"index-{self.mixture.tiles}-{self.mixture.length}")

    def opened(self) -> Opened:
        """Its index, as it was made last."""
        index = TileIndex.open(self.workspace.index(ENCODER))
        starts = np.concatenate([[0], np.cumsum(index.tiles)])
        rng = np.random.default_rng(SEED)
        asked = rng.choice(len(index), self.queries, replace=False)
        patients = np.array([slide.cohort["patient"] for slide in index.slides])
        return Opened(index, starts, asked, patients)


@dataclass(frozen=True)
class Opened:
    """An index and what it is asked; tiles are numbered through all slides."""

    index: TileIndex
    starts: NDArray[np.int64]
    asked: NDArray[np.int64]
    patients: NDArray[np.str_]

    def vectors(self) -> NDArray[np.float32]:
        """Descriptors of the queries: (queries, D)."""
        slides = self.slides()
        rows = (self.asked - self.starts[slides]).tolist()
        pairs = zip(slides.tolist(), rows, strict=True)
        return np.array([self.index.features(slide)[row] for slide, row in pairs], np.float32)

    def slides(self) -> NDArray[np.int64]:
        """Slide of every query."""
        return np.searchsorted(self.starts, self.asked, "right") - 1

    def refused(self, query: int) -> slice:
        """Tiles of the query's patient, whose slides stand side by side."""
        own = np.flatnonzero(self.patients == self.patients[self.slides()[query]])
        return slice(int(self.starts[own[0]]), int(self.starts[own[-1] + 1]))

    def matrix(self) -> NDArray[np.float32]:
        """All descriptors in memory: (N, D)."""
        whole = np.empty((len(self.index), self.index.record.choice.length), np.float32)
        for slide, start in enumerate(self.starts[:-1].tolist()):
            features = self.index.features(slide)
            whole[start : start + len(features)] = features
        return whole


@dataclass(frozen=True)
class Measured:
    """A way of searching, measured."""

    name: str
    tiles: int
    length: int
    made_s: float | None
    made_peak_mb: float | None
    bytes_per_tile: float
    """On disk or in memory; descriptors that the way reads are counted apart."""
    queries: int
    p50_ms: float
    p99_ms: float
    recall: float
    searching_peak_mb: float


@click.command()
@click.option("--sizes", default="100000,1000000,10000000", show_default=True, help="Tiles.")
@click.option("--queries", type=int, default=1000, show_default=True)
@click.option("--threads", type=int, default=2, show_default=True, help="For making indices.")
@click.option("--long/--no-long", default=True, help="Descriptors of 2 048 values, too.")
@click.option("--only", default="", help="Names of ways, such as compressed,flat.")
@click.option("--keep/--no-keep", default=True, help="Keep the caches for the next run.")
@click.option("--again", is_flag=True, help="Ask the indices that an earlier run made.")
def main(  # noqa: PLR0913 - options
    *, sizes: str, queries: int, threads: int, long: bool, only: str, keep: bool, again: bool
) -> None:
    """Measure searching."""
    cases = [Case(Mixture(int(size)), queries, again) for size in sizes.split(",")]
    if long:
        cases.append(Case(Mixture(100_000, 2048), queries, again))
    click.echo(
        f"{'':<34}{'tiles':>11}{'D':>6}{'made in':>10}{'peak MB':>9}{'bytes/tile':>12}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'recall':>8}{'MB':>7}"
    )
    measured = []
    for case in cases:
        if not again:
            apart(case.mixture.write, case.workspace, ENCODER)
            apart(made, case, "flat", threads)
        exact = apart(exact_answers, case, threads)
        for way in ways(case, only):
            one = apart(way, case, exact, threads)
            show(one)
            measured.append(one)
        if not keep:
            shutil.rmtree(case.workspace.root)
    record = {"seed": SEED, "queries": queries, "hits": HITS, "threads_to_make": threads}
    write_results("index", record | {"measured": with_earlier([asdict(one) for one in measured])})


def with_earlier(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was measured now, after what earlier runs measured of other sizes or ways."""
    path = RESULTS / "index.json"
    earlier = json.loads(path.read_text())["measured"] if path.exists() else []
    now = {(one["name"], one["tiles"], one["length"]) for one in measured}
    kept = [one for one in earlier if (one["name"], one["tiles"], one["length"]) not in now]
    return kept + measured


def ways(case: Case, only: str) -> list[Callable[..., Measured]]:
    """Ways of searching that a case is measured with."""
    found: list[Callable[..., Measured]] = [compressed, flat, with_numpy, with_torch]
    if case.mixture.tiles <= MOST_HNSW:
        found.append(with_hnsw)
    names = only.split(",") if only else []
    return [way for way in found if not names or way.__name__.removeprefix("with_") in names]


def apart(work: Callable[..., T], *arguments: Any) -> T:
    """Work in a process of its own, so that memory is its own, too."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def show(one: Measured) -> None:
    made = "" if one.made_s is None else f"{one.made_s:,.0f} s"
    peak = "" if one.made_peak_mb is None else f"{one.made_peak_mb:,.0f}"
    click.echo(
        f"{one.name:<34}{one.tiles:>11,}{one.length:>6}{made:>10}{peak:>9}"
        f"{one.bytes_per_tile:>12.1f}{one.p50_ms:>9.2f}{one.p99_ms:>9.2f}{one.recall:>8.3f}"
        f"{one.searching_peak_mb:>7,.0f}"
    )


def made(case: Case, kind: str, threads: int) -> tuple[float, float]:
    """Make an index; seconds and peak memory of the process."""
    faiss.omp_set_num_threads(threads)
    began = time.perf_counter()
    settings = IndexSettings(kind=kind)  # type: ignore[arg-type]
    build_index([case.workspace], ENCODER, settings, overwrite=True)
    return time.perf_counter() - began, peak_mb()


def exact_answers(case: Case, threads: int) -> NDArray[np.int64]:
    """The ten nearest tiles of every query, by exact distances: (queries, 10)."""
    torch.set_num_threads(threads)
    opened = case.opened()
    vectors = opened.vectors()
    own = opened.slides()
    best = np.full((len(vectors), 2 * HITS), np.inf), np.zeros((len(vectors), 2 * HITS), np.int64)
    for slide, start in enumerate(opened.starts[:-1].tolist()):
        features = torch.from_numpy(np.array(opened.index.features(slide)))
        distances = torch.cdist(torch.from_numpy(vectors), features)
        distances[opened.patients[own] == opened.patients[slide]] = torch.inf
        near = distances.topk(min(2 * HITS, len(features)), largest=False)
        best = _merged(best, near.values.numpy(), near.indices.numpy() + start)
    return _in_exact_order(opened, vectors, best[1])


def _merged(
    best: tuple[NDArray[np.float64], NDArray[np.int64]],
    distances: NDArray[np.float32],
    numbers: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    both = np.hstack([best[0], distances]), np.hstack([best[1], numbers])
    order = np.argsort(both[0], axis=1)[:, : 2 * HITS]
    return np.take_along_axis(both[0], order, 1), np.take_along_axis(both[1], order, 1)


def _in_exact_order(
    opened: Opened, vectors: NDArray[np.float32], numbers: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The nearest by double precision of twice as many by single precision."""
    found = np.empty((len(vectors), HITS), np.int64)
    for query, own in enumerate(numbers):
        slides = np.searchsorted(opened.starts, own, "right") - 1
        pairs = zip(slides.tolist(), (own - opened.starts[slides]).tolist(), strict=True)
        features = np.array([opened.index.features(slide)[row] for slide, row in pairs], np.float64)
        distances = np.linalg.norm(features - vectors[query], axis=1)
        found[query] = own[np.argsort(distances, kind="stable")[:HITS]]
    return found


def compressed(case: Case, exact: NDArray[np.int64], threads: int) -> Measured:
    """Our index by codes, with exact re-ranking."""
    return _ours(case, exact, "compressed", threads)


def flat(case: Case, exact: NDArray[np.int64], threads: int) -> Measured:
    """Our exact index."""
    return _ours(case, exact, "flat", threads)


def _ours(case: Case, exact: NDArray[np.int64], kind: str, threads: int) -> Measured:
    seconds, peak = (None, None) if case.is_made else apart(made, case, kind, threads)
    opened = case.opened()
    index, vectors, own = opened.index, opened.vectors(), opened.slides()
    allowed = [opened.patients != opened.patients[slide] for slide in own.tolist()]

    def search(query: int) -> NDArray[np.int64]:
        (found,) = nearest(index, vectors[query : query + 1], HITS, allowed=allowed[query])
        return opened.starts[found.slides] + found.rows

    size = sum(file.stat().st_size for file in index.path.rglob("*") if file.is_file())
    name = f"wsi-tower index, {kind}"
    return _measured(name, case, exact, search, (seconds, peak, size / len(index)))


def with_numpy(case: Case, exact: NDArray[np.int64], threads: int) -> Measured:
    """Brute force over a matrix in memory."""
    del threads
    opened = case.opened()
    vectors, whole = opened.vectors(), opened.matrix()
    squares = np.einsum("nd,nd->n", whole, whole)

    def search(query: int) -> NDArray[np.int64]:
        distances = squares - 2 * (whole @ vectors[query])
        distances[opened.refused(query)] = np.inf
        return np.argpartition(distances, HITS)[:HITS]

    return _measured("NumPy, brute force", case, exact, search, (None, None, whole[0].nbytes))


def with_torch(case: Case, exact: NDArray[np.int64], threads: int) -> Measured:
    """The same in torch."""
    del threads
    torch.set_num_threads(1)
    opened = case.opened()
    vectors, whole = opened.vectors(), torch.from_numpy(opened.matrix())
    squares = (whole * whole).sum(dim=1) if len(whole) <= MOST_HNSW else _squares(whole)

    def search(query: int) -> NDArray[np.int64]:
        distances = torch.addmv(squares, whole, torch.from_numpy(vectors[query]), alpha=-2)
        distances[opened.refused(query)] = torch.inf
        found: NDArray[np.int64] = distances.topk(HITS, largest=False).indices.numpy()
        return found

    size = whole.shape[1] * whole.element_size()
    return _measured("torch, brute force", case, exact, search, (None, None, size))


def _squares(whole: torch.Tensor) -> torch.Tensor:
    parts = torch.split(whole, MOST_HNSW)
    return torch.cat([(part * part).sum(dim=1) for part in parts])


def with_hnsw(case: Case, exact: NDArray[np.int64], threads: int) -> Measured:
    """FAISS's graph over uncompressed descriptors, filtered within its search as ours is."""
    opened = case.opened()
    faiss.omp_set_num_threads(threads)
    vectors, whole = opened.vectors(), opened.matrix()
    began = time.perf_counter()
    graph = faiss.IndexHNSWFlat(whole.shape[1], HNSW_LINKS)
    graph.hnsw.efConstruction = HNSW_BUILDING
    graph.add(whole)
    seconds, peak = time.perf_counter() - began, peak_mb()
    faiss.omp_set_num_threads(1)

    def search(query: int) -> NDArray[np.int64]:
        refused = opened.refused(query)
        selector = faiss.IDSelectorNot(faiss.IDSelectorRange(refused.start, refused.stop))
        parameters = faiss.SearchParametersHNSW(efSearch=HNSW_SEARCHING, sel=selector)
        _, found = graph.search(vectors[query : query + 1], HITS, params=parameters)
        numbers: NDArray[np.int64] = found[0]
        return numbers

    size = whole[0].nbytes + 2 * HNSW_LINKS * 4
    return _measured("FAISS HNSW", case, exact, search, (seconds, peak, size))


def _measured(
    name: str,
    case: Case,
    exact: NDArray[np.int64],
    search: Callable[[int], NDArray[np.int64]],
    made_with: tuple[float | None, float | None, float],
) -> Measured:
    began = time.perf_counter()
    search(0)
    is_slow = (time.perf_counter() - began) * len(exact) > SLOW_SECONDS
    queries = range(SLOW_QUERIES if is_slow else len(exact))
    for query in queries:  # warms the page cache and opens files
        search(query)
    seconds, recall = np.empty(len(queries)), np.empty(len(queries))
    for query in queries:
        began = time.perf_counter()
        found = search(query)
        seconds[query] = time.perf_counter() - began
        recall[query] = len(np.intersect1d(found, exact[query])) / HITS
    p50, p99 = np.quantile(seconds, (0.5, 0.99)) * 1000
    return Measured(
        name=name,
        tiles=case.mixture.tiles,
        length=case.mixture.length,
        made_s=made_with[0],
        made_peak_mb=made_with[1],
        bytes_per_tile=made_with[2],
        queries=len(queries),
        p50_ms=float(p50),
        p99_ms=float(p99),
        recall=float(recall.mean()),
        searching_peak_mb=peak_mb(),
    )


if __name__ == "__main__":
    main()
