"""The fetcher: only bytes with the right digest and length ever get a name in the store."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import fetcher
from operators.artifact.plan import MISMATCH_EXIT_CODE, store_path


class Bytes:
    """A source that yields given chunks and counts how many were asked for."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks
        self.given = 0

    def chunks(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.given += 1
            yield chunk


class Broken:
    """A source whose connection ends in the middle."""

    def chunks(self) -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError("connection reset")


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_the_right_bytes_are_stored_read_only_under_their_digest(tmp_path: Path) -> None:
    path = fetcher.fetch(Bytes(b"we", b"ights"), tmp_path, digest(b"weights"), 7)
    assert path.read_bytes() == b"weights"
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.name == Path(store_path(digest(b"weights"))).name
    assert list(tmp_path.iterdir()) == [path]


def test_a_stored_artifact_is_verified_and_not_fetched_again(tmp_path: Path) -> None:
    fetcher.fetch(Bytes(b"weights"), tmp_path, digest(b"weights"), 7)
    again = Bytes(b"weights")
    fetcher.fetch(again, tmp_path, digest(b"weights"), 7)
    assert again.given == 0


def test_a_damaged_file_in_the_store_is_replaced(tmp_path: Path) -> None:
    path = fetcher.fetch(Bytes(b"weights"), tmp_path, digest(b"weights"), 7)
    path.chmod(0o644)
    path.write_bytes(b"WEIGHTS")
    fetcher.fetch(Bytes(b"weights"), tmp_path, digest(b"weights"), 7)
    assert path.read_bytes() == b"weights"


@given(content=st.binary(max_size=64), wanted=st.binary(max_size=64), size=st.integers(0, 64))
def test_whatever_comes_only_the_wanted_bytes_are_stored(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, wanted: bytes, size: int
) -> None:
    store = tmp_path_factory.mktemp("store")
    right = content == wanted and size == len(wanted)
    if right:
        fetcher.fetch(Bytes(content), store, digest(wanted), size)
    else:
        with pytest.raises(fetcher.DigestMismatchError):
            fetcher.fetch(Bytes(content), store, digest(wanted), size)
    assert len(list(store.iterdir())) == (1 if right else 0)


def test_a_source_without_end_is_cut_off_after_the_stated_size(tmp_path: Path) -> None:
    source = Bytes(*[b"x" * 10] * 1000)
    with pytest.raises(fetcher.DigestMismatchError, match="longer than 25"):
        fetcher.fetch(source, tmp_path, digest(b"x"), 25)
    assert source.given == 3
    assert list(tmp_path.iterdir()) == []


def test_a_broken_connection_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError):
        fetcher.fetch(Broken(), tmp_path, digest(b"half"), 4)
    assert list(tmp_path.iterdir()) == []


class _S3(BaseHTTPRequestHandler):
    content = b"weights"

    def do_GET(self) -> None:
        if self.path != "/bucket/models/tiny":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 endpoint on loopback, as AWS_ENDPOINT_URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _S3)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize(
    ("key", "wanted", "code", "said"),
    [
        ("models/tiny", b"weights", 0, {"digest", "size"}),
        ("models/tiny", b"others!", MISMATCH_EXIT_CODE, {"digest", "error"}),
        ("models/none", b"weights", 1, {"error"}),
    ],
)
def test_the_exit_code_and_the_last_words_tell_what_happened(
    tmp_path: Path, key: str, wanted: bytes, code: int, said: set[str]
) -> None:
    store, log = tmp_path / "store", tmp_path / "termination"
    store.mkdir()
    arguments = {
        "bucket": "bucket",
        "key": key,
        "region": "eu-central-1",
        "digest": digest(wanted),
        "size": "7",
        "store": str(store),
        "termination-log": str(log),
    }
    assert fetcher.main([f"--{k}={v}" for k, v in arguments.items()]) == code
    assert set(json.loads(log.read_text())) == said
    assert len(list(store.iterdir())) == (1 if code == 0 else 0)
