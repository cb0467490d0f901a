"""Trees of Debian packages are fetched from a local server, checked, and unpacked inside their folder."""

from __future__ import annotations

import hashlib
import io
import socketserver
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.errors import PermanentHostError, TransientHostError
from cellfarm.envs.debian import fetching, mirrors, trees
from cellfarm.envs.debian.mirrors import VARIABLE
from cellfarm.envs.debian.trees import library_folders, make_tree, python_script
from cellfarm.envs.debian.unpacking import PackageError, unpack

HEAD = "debian bookworm at 20260712T101637Z\n\n[amd64]\n"


def entry(
    name: str, content: bytes | str | None = None, **attributes: Any
) -> tuple[tarfile.TarInfo, Any]:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    data = content.encode() if isinstance(content, str) else content
    info.size = len(data or b"")
    return info, None if data is None else io.BytesIO(data)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, Any]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def package(path: Path, *entries: tuple[tarfile.TarInfo, Any], data: str = "data.tar.xz") -> Path:
    """A .deb in Debian's format: an ar archive of two tar files and a version."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for info, content in entries:
            archive.addfile(info, content)
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", data: packed.getvalue()}
    text = b"!<arch>\n"
    for name, content in members.items():
        text += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        text += content + b"\n" * (len(content) % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return path


def test_files_and_links_are_written_and_what_is_for_people_is_not(tmp_path: Path):
    tree = tmp_path / "tree"
    tree.mkdir()
    program_entry = entry("./usr/bin/tool", "#!", mode=0o4755)
    unpack(
        package(
            tmp_path / "a.deb",
            entry("./usr", type=tarfile.DIRTYPE),
            program_entry,
            entry("./usr/lib/data", "x", mode=0o600),
            link("./usr/lib/alias", "data"),
            link("./lib64", "/usr/lib"),
            entry("./usr/lib/hard", type=tarfile.LNKTYPE, linkname="./usr/lib/data"),
            entry("./usr/share/doc/tool/README", "read me"),
            entry("./dev/null", type=tarfile.CHRTYPE),
        ),
        tree,
    )
    assert (tree / "usr/bin/tool").stat().st_mode & 0o7777 == 0o755
    assert (tree / "usr/lib/data").stat().st_mode & 0o7777 == 0o644
    assert (tree / "usr/lib/alias").read_text() == (tree / "usr/lib/hard").read_text() == "x"
    assert (tree / "lib64").resolve() == (tree / "usr/lib").resolve()
    assert not (tree / "usr/share").exists() and not (tree / "dev/null").exists()


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../evil", "x")],
        [entry("/evil", "x")],
        [link("out", "../.."), entry("out/evil", "x")],
        [entry("hard", type=tarfile.LNKTYPE, linkname="../secret")],
    ],
)
def test_nothing_is_written_outside(tmp_path: Path, entries):
    (tmp_path / "secret").write_text("")
    tree = tmp_path / "below" / "tree"
    tree.mkdir(parents=True)
    with pytest.raises(PackageError, match="outside"):
        unpack(package(tmp_path / "a.deb", *entries), tree)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"!<arch>\n", "has no files"),
        (b"PK", "not a Debian package"),
        (None, "cannot read data.tar.zst"),
    ],
)
def test_what_is_no_package_is_said(tmp_path: Path, content, message):
    path = package(tmp_path / "a.deb", data="data.tar.zst")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PackageError, match=message):
        unpack(path, tmp_path)


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder that is served as the only mirror; the architecture is amd64."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("cellfarm.envs.debian.fetching.mirrors", lambda moment: [address])
    monkeypatch.setattr(mirrors, "_PAUSE_S", 0.0)
    monkeypatch.setattr(trees, "architecture", lambda: "amd64")
    yield folder
    server.shutdown()
    server.server_close()


def lock_text(mirror: Path, *paths: Path) -> str:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_size} "
        f"{path.relative_to(mirror).as_posix()}\n"
        for path in paths
    ]
    return HEAD + "".join(lines)


@pytest.fixture
def python_package(mirror) -> Path:
    return package(
        mirror / "pool/main/p/python/python_3.11_amd64.deb",
        entry("./usr/bin/python3.11", "#!", mode=0o755),
        entry("./usr/bin/python3.11-config", "#!"),
        entry("./lib/x86_64-linux-gnu/libc.so.6", ""),
    )


def test_a_tree_is_planted_once_for_all_locks_of_the_same_packages(
    mirror, python_package, tmp_path
):
    blas_package = package(
        mirror / "pool/main/b/blas/blas_1_amd64.deb",
        entry("./usr/lib/x86_64-linux-gnu/openblas/libblas.so.3", ""),
        entry("./usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", ""),
    )
    lock = lock_text(mirror, python_package, blas_package)
    tree = make_tree(lock, tmp_path / "envs")
    (tree / "seen").touch()
    python_package.unlink()
    assert make_tree(f"# another comment\n{lock}", tmp_path / "envs") == tree
    assert (tree / "seen").exists()
    assert sorted(path.name for path in (tmp_path / "envs").glob("debian*")) == [tree.name]
    assert library_folders(tree, "x86_64-linux-gnu") == [
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu",
        "lib",
        "usr/lib",
        "usr/lib/x86_64-linux-gnu/openblas",
    ]
    script = python_script(tree, tmp_path / "envs" / "a")
    assert f"/../../{tree.name}" in script and str(tmp_path) not in script
    assert '"$tree/usr/bin/python3.11" "$@"' in script


def test_a_tree_without_python_is_no_environment(mirror, tmp_path):
    data = package(mirror / "pool/main/d/data/data_1_all.deb", entry("./usr/share/x", "x"))
    tree = make_tree(lock_text(mirror, data), tmp_path / "envs")
    with pytest.raises(PermanentHostError, match="no Python"):
        python_script(tree, tmp_path / "envs" / "a")


def test_a_package_that_is_another_one_is_refused(mirror, python_package, tmp_path):
    lock = lock_text(mirror, python_package)
    python_package.write_bytes(python_package.read_bytes().replace(b"odd", b"new"))
    with pytest.raises(PermanentHostError, match=r"python_3\.11_amd64\.deb: has the SHA-256"):
        make_tree(lock, tmp_path / "envs")
    assert not list((tmp_path / "envs").glob("debian-????????????"))


def test_a_package_that_no_mirror_has_is_said(mirror, python_package, tmp_path):
    lock = lock_text(mirror, python_package)
    python_package.unlink()
    with pytest.raises(PermanentHostError, match="404"):
        make_tree(lock, tmp_path / "envs")


def test_a_download_that_breaks_off_may_work_later_and_goes_on(mirror, python_package, tmp_path):
    other_package = package(mirror / "pool/main/o/other/other_1_all.deb", entry("./x", "x"))
    lock, content = lock_text(mirror, other_package, python_package), python_package.read_bytes()
    python_package.write_bytes(content[:-4])
    with pytest.raises(TransientHostError, match=rf"ended after .*{VARIABLE}"):
        make_tree(lock, tmp_path / "envs")
    python_package.write_bytes(content)
    other_package.unlink()  # already fetched: not requested again
    assert make_tree(lock, tmp_path / "envs").is_dir()


def test_a_mirror_without_an_answer_is_a_transient_error(
    mirror, python_package, tmp_path, monkeypatch
):
    lock = lock_text(mirror, python_package)
    silent_mirrors = ["http://127.0.0.1:9", "file:///etc"]
    monkeypatch.setattr("cellfarm.envs.debian.fetching.mirrors", lambda moment: silent_mirrors)
    with pytest.raises(TransientHostError, match=r"127\.0\.0\.1:9"):
        make_tree(lock, tmp_path / "envs")


class Portal(socketserver.StreamRequestHandler):
    """Answers every request with the bytes that the server holds."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(self.server.answer)  # type: ignore[attr-defined]


PAGE = b"<html>Please log in</html>\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        PAGE,
        OK + b"Content-Length: 28\r\n\r\n" + PAGE,
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + PAGE,
        OK + b"X: 1\r\n" * 200 + b"\r\n" + PAGE,
        b"HTTP/1.1 302 Found\r\nLocation: http://[login\r\n\r\n",
        b"",
    ],
    ids=[
        "no HTTP",
        "a page",
        "a broken page",
        "many headers",
        "an address that is none",
        "nothing",
    ],
)
def test_what_a_captive_portal_answers_leads_to_the_next_mirror(
    mirror, python_package, tmp_path, monkeypatch, answer
):
    lock = lock_text(mirror, python_package)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Portal) as portal:
        portal.answer = answer  # type: ignore[attr-defined]
        threading.Thread(target=portal.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{portal.server_address[1]}"
        working_mirrors = fetching.mirrors("")
        monkeypatch.setattr(fetching, "mirrors", lambda moment: [address])
        with pytest.raises(TransientHostError, match=f"{address}.*{VARIABLE}"):
            make_tree(lock, tmp_path / "envs")
        monkeypatch.setattr(fetching, "mirrors", lambda moment: [address, *working_mirrors])
        assert make_tree(lock, tmp_path / "envs").is_dir()
        portal.shutdown()


@pytest.mark.parametrize("name", [None, "riscv64"])
def test_a_machine_that_the_lock_lacks_is_said(mirror, python_package, tmp_path, monkeypatch, name):
    monkeypatch.setattr(trees, "architecture", lambda: name)
    with pytest.raises(PermanentHostError, match="locked for x86_64, aarch64 only"):
        make_tree(lock_text(mirror, python_package), tmp_path / "envs")
