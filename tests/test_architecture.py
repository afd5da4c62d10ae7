"""The order of the rooms, what each may import, and how large things grow."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "wsi_tower"
ROOMS = (
    *(
        "errors",
        "geometry",
        "memory",
        "records",
        "arrays",
        "workspace",
        "batch",
        "draws",
        "stain",
        "jpeg",
        "ngff",
        "runs",
    ),
    *("slides", "annotations", "phantom", "tissue", "tiles", "pairs", "models", "training"),
    *("pretrain", "embeddings", "scores", "retrieval", "segment", "classify", "report", "cli"),
)
"""Each imports only from rooms before it."""
DEEP_IMPORTS = {"wsi_tower.jpeg.codec"}
"""Modules imported past their room: the codec needs zarr, which decoding does without."""
KEPT_INSIDE = {
    "openslide": {"slides"},
    "tiffslide": {"slides"},
    "pydicom": {"slides"},
    "tifffile": {"slides", "phantom", "segment"},
    "simplejpeg": {"jpeg"},
    "dask": {"batch"},
    "distributed": {"batch"},
    "click": {"cli"},
    "rich": {"cli"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "zarr": {"jpeg", "ngff", "tiles"},
    "torch": {"models", "training", "pretrain", "embeddings", "segment", "classify"},
    "h5py": {"embeddings"},
    "pyarrow": {"embeddings"},
    "faiss": {"retrieval"},
    "umap": {"scores"},
    "timm": {"models"},
    "safetensors": {"models"},
    "huggingface_hub": {"models"},
}
"""Rooms that may know a library."""
VERSION_TELLERS = {"cli/doctor.py"}
"""Files that import libraries only to say whether, and in which version, they are installed."""
MAX_FILE_LINES, MAX_FUNCTION_LINES, USUAL_FUNCTION_LINES = 400, 50, 20

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "pipelines")
OFFERING = [
    room
    for room in ROOMS
    if room != "cli" and ((PACKAGE / room).exists() or (PACKAGE / f"{room}.py").exists())
]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports from, wherever in it and for whatever end."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            is_root = node.module == "wsi_tower"
            yield from names if is_root else [str(node.module)]


def own_imports(path: Path) -> Iterator[tuple[str, str]]:
    """Room and module of every import from the package."""
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "wsi_tower" and parts[1:] not in ([], ["__version__"]):
            yield parts[1], name


@pytest.mark.parametrize("path", FILES, ids=str)
def test_rooms_import_only_from_rooms_before_them(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    allowed = ROOMS[: ROOMS.index(room) + 1]
    assert {other for other, _ in own_imports(path)} <= set(allowed)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_across_rooms_the_room_is_imported(path: Path) -> None:
    if room_of(path) == "__main__":
        return
    foreign = {name for room, name in own_imports(path) if room != room_of(path)}
    assert {name for name in foreign if name.count(".") > 1} <= DEEP_IMPORTS


@pytest.mark.parametrize("path", FILES, ids=str)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    if str(path.relative_to(PACKAGE)) in VERSION_TELLERS:
        return
    libraries = {name.partition(".")[0] for name in imports(path)} & KEPT_INSIDE.keys()
    assert {name for name in libraries if room_of(path) not in KEPT_INSIDE[name]} == set()


@pytest.mark.parametrize("module", ["wsi_tower", "wsi_tower.cli.main"])
def test_the_root_and_the_command_import_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "print([name for name in ('torch', 'numpy', 'zarr') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("room", OFFERING)
def test_a_room_lists_what_it_offers(room: str) -> None:
    module = importlib.import_module(f"wsi_tower.{room}")
    names = list(module.__all__)
    assert len(set(names)) == len(names)
    # Constants, classes, functions: as ruff sorts them.
    assert names == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert all(hasattr(module, name) for name in names)
    path = Path(str(module.__file__))
    if path.name == "__init__.py":
        assert set(_names_from(path, "wsi_tower")) == set(names)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_what_another_room_imports_is_on_offer(path: Path) -> None:
    for room in {room for room, _ in own_imports(path)} - {room_of(path), "cli"}:
        offered = importlib.import_module(f"wsi_tower.{room}").__all__
        assert set(_names_from(path, f"wsi_tower.{room}", is_exact=True)) <= set(offered)


def _names_from(path: Path, module: str, *, is_exact: bool = False) -> Iterator[str]:
    """Names that a file imports from a module, or from anywhere below it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            source = str(node.module)
            if source == module or (not is_exact and source.startswith(f"{module}.")):
                yield from (alias.asname or alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


def test_functions_stay_short() -> None:
    lengths = {
        f"{path.relative_to(PACKAGE)}:{node.name}": _code_lines(node, path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, Function)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}
    usual = sum(lines <= USUAL_FUNCTION_LINES for lines in lengths.values())
    assert usual >= 0.9 * len(lengths)


def _code_lines(node: Function, path: Path) -> int:
    """Lines of a function without its docstring, comments and blank lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    body = node.body[1:] if ast.get_docstring(node) else node.body
    last = body[-1].end_lineno if body else node.lineno
    kept = set(range(node.lineno, (last or node.lineno) + 1))
    if ast.get_docstring(node):
        kept -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    texts = (lines[number - 1].strip() for number in kept)
    return sum(bool(text) and not text.startswith("#") for text in texts)
