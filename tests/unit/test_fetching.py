"""Downloads from a server that fails in the ways of real servers."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.errors import PermanentHostError, TransientHostError
from cellfarm.envs.downloads import Download, Policy, fetch, weights_download

from tests.support.steps import parse_recipe

CONTENT = bytes(range(256)) * 4096  # 1 MiB
BROKEN_OFF = 1 << 18
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Policy(attempts=4, first_wait_s=0, longest_wait_s=0, connect_timeout_s=5, read_timeout_s=5)
IMPATIENT = Policy(attempts=2, first_wait_s=0, longest_wait_s=0, read_timeout_s=0.3)

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers the n-th request with the n-th of `answers`; the last answer repeats."""

    server: Any

    def do_GET(self) -> None:
        answers = self.server.answers
        self.server.requested_ranges.append(self.headers.get("Range"))
        answers[min(len(self.server.requested_ranges), len(answers)) - 1](self)

    def log_message(self, *_: object) -> None:
        pass

    def begin(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def whole(handler: Handler, content: bytes = CONTENT) -> None:
    """Answer like most servers: send the rest of the file where a range is requested."""
    requested_range = handler.headers.get("Range")
    if not requested_range:
        handler.begin(200, len(content))
        handler.wfile.write(content)
        return
    start = int(requested_range.removeprefix("bytes=").rstrip("-"))
    if start >= len(content):
        handler.begin(416, 0, Content_Range=f"bytes */{len(content)}")
        return
    content_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
    handler.begin(206, len(content) - start, Content_Range=content_range)
    handler.wfile.write(content[start:])


def without_ranges(handler: Handler) -> None:
    handler.begin(200, len(CONTENT))
    handler.wfile.write(CONTENT)


def truncated(handler: Handler) -> None:
    handler.begin(200, len(CONTENT))
    handler.wfile.write(CONTENT[:BROKEN_OFF])


def truncated_without_length(handler: Handler) -> None:
    handler.begin(200, None)
    handler.wfile.write(CONTENT[:BROKEN_OFF])


def corrupted(handler: Handler) -> None:
    whole(handler, CONTENT[:-1] + b"!")


def another_part(handler: Handler) -> None:
    handler.begin(206, 10, Content_Range="bytes 0-9/10")
    handler.wfile.write(CONTENT[:10])


def stalled(handler: Handler) -> None:
    handler.begin(200, len(CONTENT))
    handler.wfile.write(CONTENT[:1000])
    handler.wfile.flush()
    handler.server.released.wait(30)


def portal(handler: Handler) -> None:
    """Answer without HTTP, as some captive portals do."""
    handler.wfile.write(b"<html>Please log in</html>\r\n")


def broken_chunks(handler: Handler) -> None:
    handler.begin(200, None, Transfer_Encoding="chunked")
    handler.wfile.write(b"<html>Please log in</html>\r\n")


def status(code: int) -> Answer:
    return lambda handler: handler.begin(code, 0)


def redirect(handler: Handler) -> None:
    handler.begin(302, 0, Location="/elsewhere")


@pytest.fixture
def server() -> Iterator[Any]:
    http_server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http_server.answers, http_server.requested_ranges = [whole], []
    http_server.released = threading.Event()
    http_server.url = f"http://127.0.0.1:{http_server.server_address[1]}/weights.bin"
    threading.Thread(target=http_server.serve_forever, args=(0.01,), daemon=True).start()
    yield http_server
    http_server.released.set()
    http_server.shutdown()
    http_server.server_close()


def get(server: Any, folder: Path, policy: Policy = QUICK, sha256: str = SHA256) -> list[str]:
    """Fetch the file and check it; returns the messages."""
    messages: list[str] = []
    path = fetch(Download(server.url, sha256), folder, messages.append, policy)
    assert path == folder / sha256 and path.read_bytes() == CONTENT
    assert not (folder / f"{sha256}.part").exists()
    return messages


def test_a_file_is_fetched_once(server, tmp_path):
    get(server, tmp_path)
    get(server, tmp_path)
    assert server.requested_ranges == [None]


def test_two_at_once_fetch_once(server, tmp_path):
    def slow(handler: Handler) -> None:
        handler.server.released.wait(30)
        whole(handler)

    server.answers = [slow]
    threads = [threading.Thread(target=get, args=(server, tmp_path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    while not server.requested_ranges:
        time.sleep(0.01)
    time.sleep(0.3)  # the second thread waits for the lock
    server.released.set()
    for thread in threads:
        thread.join(30)
    assert server.requested_ranges == [None]
    assert not list(tmp_path.glob("*.part"))


def test_a_download_that_broke_off_goes_on_where_it_ended(server, tmp_path):
    server.answers = [truncated, whole]
    messages = get(server, tmp_path)
    assert server.requested_ranges == [None, f"bytes={BROKEN_OFF}-"]
    assert any("broke off" in line for line in messages)


def test_a_later_run_goes_on_too(server, tmp_path):
    (tmp_path / f"{SHA256}.part").write_bytes(CONTENT[:500])
    get(server, tmp_path)
    assert server.requested_ranges == ["bytes=500-"]


def test_a_server_that_breaks_off_without_a_length_is_asked_again(server, tmp_path):
    server.answers = [truncated_without_length, whole]
    get(server, tmp_path)
    assert server.requested_ranges == [None, None]  # without a length, the download starts over


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.answers = [truncated, without_ranges]
    get(server, tmp_path)
    assert server.requested_ranges == [None, f"bytes={BROKEN_OFF}-"]


@pytest.mark.parametrize(
    "kept", [b"x" * 500, b"x" * len(CONTENT), CONTENT + b"more"], ids=["begin", "whole", "longer"]
)
def test_what_was_kept_of_another_file_is_thrown_away(server, tmp_path, kept):
    (tmp_path / f"{SHA256}.part").write_bytes(kept)
    get(server, tmp_path)
    assert server.requested_ranges[-1] is None


def test_what_was_kept_whole_is_taken(server, tmp_path):
    (tmp_path / f"{SHA256}.part").write_bytes(CONTENT)
    get(server, tmp_path)


def test_another_part_than_asked_for_is_not_appended(server, tmp_path):
    server.answers = [truncated, another_part, whole]
    get(server, tmp_path)
    assert server.requested_ranges == [None, f"bytes={BROKEN_OFF}-", None]


def test_a_corrupted_file_is_asked_for_once_more_and_then_refused(server, tmp_path):
    server.answers = [corrupted]
    with pytest.raises(PermanentHostError, match=f"has the SHA-256 .*, expected {SHA256}"):
        get(server, tmp_path)
    assert len(server.requested_ranges) == 2 and not any(tmp_path.glob(f"{SHA256}*"))


def test_a_file_corrupted_on_its_way_comes_right_the_next_time(server, tmp_path):
    server.answers = [corrupted, whole]
    get(server, tmp_path)


def test_a_stalled_server_is_left_and_asked_again(server, tmp_path):
    server.answers = [stalled, whole]
    messages = get(server, tmp_path, IMPATIENT)
    assert "127.0.0.1 fell silent; trying again" in messages


def test_a_redirect_is_followed(server, tmp_path):
    server.answers = [redirect, whole]
    get(server, tmp_path)


def test_endless_redirects_end(server, tmp_path):
    server.answers = [redirect]
    with pytest.raises(PermanentHostError, match="redirects"):
        get(server, tmp_path)


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_what_the_server_does_not_have_is_not_asked_for_again(server, tmp_path, code):
    server.answers = [status(code)]
    with pytest.raises(PermanentHostError, match=f"HTTP status {code}"):
        get(server, tmp_path)
    assert len(server.requested_ranges) == 1


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(server, tmp_path, code):
    server.answers = [status(code), status(code), whole]
    messages = get(server, tmp_path)
    assert len(server.requested_ranges) == 3 and f"HTTP status {code}" in messages[0]


def test_a_server_that_stays_in_trouble_is_no_record_and_names_the_way_out(server, tmp_path):
    server.answers = [status(503)]
    with pytest.raises(TransientHostError) as caught:
        get(server, tmp_path)
    assert len(server.requested_ranges) == QUICK.attempts
    assert str(tmp_path / SHA256) in str(caught.value) and SHA256 in str(caught.value)


@pytest.mark.parametrize("answer", [portal, broken_chunks])
def test_a_captive_portal_is_no_record_and_no_traceback(server, tmp_path, answer):
    server.answers = [answer, answer, whole]
    get(server, tmp_path)
    assert len(server.requested_ranges) == 3


def test_offline_names_the_file_to_put_in_place(tmp_path):
    unreachable = Download("http://127.0.0.1:9/weights.bin", SHA256)
    with pytest.raises(TransientHostError) as caught:
        fetch(unreachable, tmp_path, lambda _: None, QUICK)
    text = str(caught.value)
    assert "there is no connection to 127.0.0.1" in text
    assert f"put the file (SHA-256 {SHA256}) in place as {tmp_path / SHA256}" in text
    (tmp_path / SHA256).write_bytes(CONTENT)
    assert fetch(unreachable, tmp_path, lambda _: None, QUICK) == tmp_path / SHA256


def test_a_wrong_file_put_in_place_is_named(tmp_path):
    (tmp_path / SHA256).write_bytes(b"other")
    with pytest.raises(PermanentHostError, match="delete it, or put the right file there"):
        fetch(Download("http://127.0.0.1:9/x", SHA256), tmp_path, lambda _: None, QUICK)


@pytest.mark.parametrize("url", ["http://", "gopher://127.0.0.1/x"])
def test_an_invalid_address_is_refused(tmp_path, url):
    with pytest.raises(PermanentHostError):
        fetch(Download(url, SHA256), tmp_path, lambda _: None, QUICK)


def test_a_disk_that_takes_nothing_is_told(server, tmp_path):
    folder = tmp_path / "a file"
    folder.write_text("")
    with pytest.raises(TransientHostError, match="cannot be written"):
        fetch(Download(server.url, SHA256), folder, lambda _: None, QUICK)


def test_a_recipe_says_what_it_wants_from_the_net():
    weights = {"kind": "pretrained", "url": "https://a/b", "sha256": SHA256, "format": "pth"}

    def download_of(**document: Any) -> Download | None:
        return weights_download(parse_recipe({"source": "timm", **document}))

    download = download_of(weights=weights)
    assert download == Download("https://a/b", SHA256)
    assert download_of(weights=weights | {"url": "https://a/c"}) != download
    assert download_of(weights={"kind": "random", "seed": 0}) is None
    assert download_of(source="file") is None
