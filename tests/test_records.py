from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.errors import CorruptStoreError, StorageError, storage_errors
from wsi_tower.records import (
    Header,
    bytes_digest,
    differences,
    digest,
    file_aside,
    folder_aside,
    held_lock,
    is_held,
    plain,
    write_bytes_aside,
    write_text_aside,
)

HEADER = Header("tiles", 1, {"mpp": 0.5, "name": "µ"}, {"slide": "ab"})
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

# Digests


def test_a_settings_digest_never_changes() -> None:
    # Worked out with `b2sum -l 128` of the canonical text. Stores on disk hold such digests: if
    # this one changes, every store that was ever made ends as `other-settings`.
    text = (
        '{"format_version":1,"kind":"tiles","parents":{"slide":"ab"},'
        '"settings":{"mpp":0.5,"name":"µ"}}'
    )
    assert HEADER.settings_digest == blake2b(text.encode(), digest_size=16).hexdigest()
    assert HEADER.settings_digest == "896c99e9a27cea93a287f4fd7d717805"


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=5))
def test_the_order_of_keys_does_not_matter(values: dict[str, Any]) -> None:
    backwards = dict(reversed(values.items()))
    assert digest(values) == digest(backwards)


@given(json_values, json_values)
def test_other_values_have_other_digests(one: Any, other: Any) -> None:
    is_same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == is_same


def test_undecodable_names_have_a_digest() -> None:
    assert len(digest({"name": "bad-\udcff", "text": "\ud800"})) == 32


def test_bytes_may_come_in_any_parts() -> None:
    assert bytes_digest([b"ab", bytearray(b"c")]) == bytes_digest([memoryview(b"abc")])


def test_settings_and_parents_enter_the_digest_and_nothing_else() -> None:
    def of(**changes: Any) -> str:
        values: dict[str, Any] = {"kind": "tiles", "format_version": 1}
        values |= {"settings": {"a": 1}, "parents": {"s": "x"}}
        return Header(**values | changes).settings_digest

    same = {"content_digest": "c", "created": "2026", "software": {"numpy": "2"}}
    assert of(**same) == of()
    changed = [
        of(kind="other"), of(format_version=2), of(settings={"a": 2}), of(parents={"s": "y"})
    ]  # fmt: skip
    assert len({of(), *changed}) == 5


# Headers


def test_a_header_survives_json() -> None:
    header = HEADER.completed("cd")
    stored = json.loads(json.dumps(header.to_json()))
    assert stored["settings_digest"] == HEADER.settings_digest
    assert Header.from_json(stored, Path("a.zarr")) == header
    assert header.content_digest == "cd"
    assert {"wsi-tower", "python", "numpy"} <= set(header.software)


def test_a_later_version_s_header_may_hold_more() -> None:
    stored = HEADER.to_json() | {"licence": "CC0"}
    assert Header.from_json(stored, Path("a.zarr")) == HEADER


@pytest.mark.parametrize("name", ["kind", "settings", "parents", "format_version", "created"])
def test_unsound_headers_name_the_field(name: str) -> None:
    missing = {key: value for key, value in HEADER.to_json().items() if key != name}
    for stored in (missing, HEADER.to_json() | {name: None}, HEADER.to_json() | {name: [1]}):
        with pytest.raises(CorruptStoreError, match=rf"a\.zarr .*{name}.*--overwrite"):
            Header.from_json(stored, Path("a.zarr"))


def test_settings_become_plain_values() -> None:
    @dataclass(frozen=True)
    class Inner:
        sides: tuple[int, int] = (1, 2)

    @dataclass(frozen=True)
    class Outer:
        inner: Inner = field(default_factory=Inner)
        name: str | None = None

    assert plain(Outer()) == {"inner": {"sides": [1, 2]}, "name": None}


@pytest.mark.parametrize(
    ("there", "here", "differing"),
    [
        ({"a": 1, "b": {"c": [1, 2]}}, {"b": {"c": [1, 2]}, "a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, [("a.b", 1, 3)]),
        ({"b": 1}, {"a": 1}, [("a", None, 1), ("b", 1, None)]),
        ({"a": {"b": 1}}, {"a": None}, [("a", {"b": 1}, None)]),
        ({}, {"a": None}, []),
    ],
)
def test_differences_have_dotted_names(there: Any, here: Any, differing: Any) -> None:
    assert list(differences(there, here)) == differing


# Complete or absent


def test_files_replace_what_was_there_and_leave_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second µ", "bad-\udcff"):
        write_text_aside(path, text)
        assert path.read_bytes() == text.encode("utf-8", "surrogateescape")
    write_bytes_aside(path, memoryview(b"\x00\xff"))
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(path.parent) == ["a.txt"]  # noqa: PTH208 - hidden files too


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text_aside(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"a\.txt: no space left"):
        write_text_aside(path, "new")
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["a.txt"]


def make(path: Path, text: str) -> None:
    with folder_aside(path, alone=True) as aside:
        (aside / "file").write_text(text)


def test_a_folder_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "stores" / "a.zarr"
    with folder_aside(path, alone=True) as aside:
        (aside / "file").write_text("new")
        assert not path.exists()
        assert aside.parent == path.parent
    assert (path / "file").read_text() == "new"
    make(path, "newer")
    assert (path / "file").read_text() == "newer"
    assert [child.name for child in path.parent.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_ends_the_block_the_old_folder_stays(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.zarr"
    make(path, "old")

    def stop(aside: Path) -> None:
        (aside / "file").write_text("half")
        raise error

    with pytest.raises(error), folder_aside(path, alone=True) as aside:
        stop(aside)
    assert (path / "file").read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["a.zarr"]


def killed_while_writing(path: Path) -> None:
    code = (
        "import os, pathlib\nfrom wsi_tower.records import folder_aside\n"
        f"with folder_aside(pathlib.Path({str(path)!r}), alone=True) as aside:\n"
        "    (aside / 'file').write_text('half')\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    killed_while_writing(path)
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 1
    make(path, "whole")
    assert [child.name for child in tmp_path.iterdir()] == ["a.zarr"]


def test_a_file_written_by_path_takes_its_place_and_the_dead_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    code = (
        "import os, pathlib\nfrom wsi_tower.records import file_aside\n"
        f"with file_aside(pathlib.Path({str(path)!r}), alone=True) as aside:\n"
        "    aside.write_text('half')\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    assert not path.exists()
    with file_aside(path) as aside:  # its owner may live: it was touched a moment ago
        aside.write_text("whole")
    assert len(list(tmp_path.iterdir())) == 2
    with suppress(KeyboardInterrupt), file_aside(path, alone=True) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("others", [("b-a.zarr", "a.zarr"), ("[a].zarr", "a.zarr")])
def test_another_folder_s_aside_is_left_alone(tmp_path: Path, others: tuple[str, str]) -> None:
    one, other = (tmp_path / name for name in others)
    with folder_aside(one, alone=True) as aside:
        (aside / "file").write_text("one")
        make(other, "other")
    assert (one / "file").read_text() == "one"
    assert (other / "file").read_text() == "other"


def test_names_near_the_file_system_s_limit_are_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".zarr")
    make(path, "long")
    assert (path / "file").read_text() == "long"


# Locks


def in_other_process(path: Path) -> str:
    code = (
        "import pathlib\nfrom wsi_tower.records import held_lock\n"
        f"with held_lock(pathlib.Path({str(path)!r}), wait=False) as taken:\n    print(taken)"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_lock_is_held_against_other_processes(tmp_path: Path) -> None:
    path = tmp_path / ".locks" / "a.lock"
    with held_lock(path, wait=False) as taken:
        assert taken == "held"
        assert in_other_process(path) == "busy"
    assert in_other_process(path) == "held"


def test_looking_at_a_lock_says_who_has_it_and_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    assert not is_held(path)
    assert not path.exists()
    with held_lock(path, wait=False) as state:
        assert state == "held"
        assert is_held(path)
    assert not is_held(path)


def test_a_short_look_does_not_keep_a_lock_from_its_taker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lock"
    path.touch()
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("wsi_tower.records.time.sleep", lambda _: os.close(looking))
    with held_lock(path, wait=False) as state:
        assert state == "held"


def test_a_killed_process_gives_its_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = (
        "import os, pathlib\nfrom wsi_tower.records import held_lock\n"
        f"with held_lock(pathlib.Path({str(path)!r}), wait=False):\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    with held_lock(path, wait=False) as taken:
        assert taken == "held"


# The disk's refusals


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "no permission"),
        (errno.EPERM, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "a file stands"),
        (errno.EEXIST, "a file stands"),
    ],
)
def test_the_disk_s_refusals_say_what_to_do(number: int, words: str) -> None:
    with (
        pytest.raises(StorageError, match=f"cannot write a/b: .*{words}.* -w") as caught,
        storage_errors(Path("a/b")),
    ):
        raise OSError(number, "refused")
    assert caught.value.reason == "storage"
    assert isinstance(caught.value.__cause__, OSError)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(OSError, match="odd") as caught, storage_errors(Path("a")):
        raise OSError(errno.EIO, "odd")
    assert not isinstance(caught.value, StorageError)
    with pytest.raises(KeyError), storage_errors(Path("a")):
        raise KeyError("k")


def test_an_inner_refusal_keeps_its_own_path() -> None:
    with (
        pytest.raises(StorageError, match="cannot write inner"),
        storage_errors(Path("outer")),
        storage_errors(Path("inner")),
    ):
        raise OSError(errno.ENOSPC, "full")
