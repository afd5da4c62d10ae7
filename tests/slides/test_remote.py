"""Slides behind URLs."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import numpy as np
import pytest

from tests.slides.builders import picture, write_rgb_jpeg_aperio, write_tiled
from wsi_tower.errors import SlideNotFoundError, UnreadableSlideError, UnsupportedSlideError
from wsi_tower.slides import fingerprint, open_slide

if TYPE_CHECKING:
    from collections.abc import Iterator


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves parts of files, as object stores do; SimpleHTTPRequestHandler sends them whole."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if "secret" in self.path or not path.is_file():
            self.send_error(403 if "secret" in self.path else 404)
            return
        content = path.read_bytes()
        first, last = 0, len(content) - 1
        asked = self.headers.get("Range")
        if asked:
            start, _, stop = asked.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(stop or last), last)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(content[first : last + 1])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = partial(RangeHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_slide_on_a_web_server_is_the_slide_on_disk(server: str, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    path = write_rgb_jpeg_aperio(tmp_path / "a.svs", picture())
    with open_slide(path) as local, open_slide(f"{server}/a.svs?token=x") as remote:
        assert remote.info.reader == "tiffslide"
        assert remote.info.name == "a.svs"
        assert remote.info.size == local.info.size
        assert remote.mpp == local.mpp
        assert remote.compressed_level(0) is None
        assert np.array_equal(remote.overview(1).rgb, local.overview(1).rgb)
    assert fingerprint(f"{server}/a.svs") == fingerprint(str(path))


@pytest.mark.parametrize("name", ["missing.svs", "secret.svs"])
def test_what_the_server_refuses_is_not_found(server: str, name: str) -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(SlideNotFoundError, match=f"{name} cannot be opened"):
        open_slide(f"{server}/{name}")


def test_text_on_a_web_server_is_unreadable(server: str, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "a.svs").write_text("no slide\n" * 100)
    with pytest.raises(UnreadableSlideError, match=r"a\.svs"):
        open_slide(f"{server}/a.svs")


def test_nobody_listening_is_not_found() -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(SlideNotFoundError, match="check the address"):
        open_slide("http://127.0.0.1:9/a.svs")


def test_any_file_system_of_fsspec_will_do(tmp_path: Path) -> None:
    image = picture()
    path = write_tiled(tmp_path / "a.tif", [image], compression="lzw")
    fsspec.filesystem("memory").pipe_file("/slides/a.tif", path.read_bytes())
    with open_slide("memory://slides/a.tif") as slide:
        assert np.array_equal(slide.overview(1).rgb, image)


def test_a_missing_protocol_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(protocol: str) -> None:
        raise ImportError(f"Install {protocol}fs to access it")

    monkeypatch.setattr("fsspec.core.get_filesystem_class", missing)
    with pytest.raises(UnsupportedSlideError, match=r"pip install 'wsi-tower\[cloud\]'"):
        open_slide("s3://bucket/a.svs")


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UnreadableSlideError, match=r"a\.svs"):
        open_slide("carrier-pigeon://loft/a.svs")
