"""Locks of Debian packages: selecting, refusing and reading, without a network."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from cellfarm.envs import debian
from cellfarm.envs.debian import indices, resolving
from cellfarm.envs.debian.indices import Index
from cellfarm.envs.debian.mirrors import ARCHIVE, DEFAULT, VARIABLE, mirrors
from cellfarm.envs.debian.resolving import (
    ResolveError,
    dependency_closure,
    is_lock,
    make_lock,
    read_lock,
)
from cellfarm.envs.locks import LockError, compile_debian_lock

PACKAGES = {
    "python3-thing": ("1:1.13.1+dfsg-4", "python3:any (>= 3.11), libthing (= 1.13.1) | libother"),
    "python3": ("3.11.2-1+b1", "libc6 (>= 2.36)"),
    "libthing": ("1.13.1+dfsg-4", "libblas3 | libblas.so.3, libc6, data"),
    "libother": ("1", ""),
    "libblas3": ("3.11.0-2", "libc6"),
    "libopenblas0": ("0.3.21+ds-4", "libc6"),
    "libc6": ("2.36-9+deb12u14", "libgcc-s1, gone"),
    "libgcc-s1": ("12.2.0-14", "libc6"),
    "really-gone": ("1", ""),
    "data": ("1", "more-data"),
    "more-data": ("1", ""),
}
PROVIDES = {"libopenblas0": "libblas.so.3, other (= 3)", "really-gone": "gone"}


def listing(packages: dict[str, tuple[str, str]] = PACKAGES) -> str:
    paragraphs = []
    for name, (version, depends) in packages.items():
        fields = {"Package": name, "Version": version, "Description": "of no interest"}
        if depends:
            fields["Depends"] = depends
        if name in PROVIDES:
            fields["Provides"] = PROVIDES[name]
        fields["Filename"] = f"pool/main/{name[0]}/{name}/{name}_{version}_all.deb"
        fields |= {"Size": "1234", "SHA256": f"{len(paragraphs):064x}"}
        paragraphs.append("".join(f"{key}: {value}\n" for key, value in fields.items()))
    return "\n".join(paragraphs)


@pytest.fixture
def index() -> Index:
    return Index(listing())


@pytest.fixture
def lock(monkeypatch, index) -> str:
    monkeypatch.setattr(resolving, "fetch_index", lambda release, architecture: index)
    monkeypatch.setattr(resolving, "fetch_moment", lambda release: "20260712T101637Z")
    return make_lock(["deb:bookworm/python3-thing==1.13.1"], exclude=["data"])


def names(packages: list[object]) -> list[str]:
    return [package.name for package in packages]  # type: ignore[attr-defined]


def test_all_that_is_needed_comes_along_in_one_order(index):
    selected = names(dependency_closure(index, {"python3-thing": "1.13.1"}, []))
    assert selected == sorted(set(PACKAGES) - {"libother", "libopenblas0"})


def test_what_was_asked_for_decides_between_alternatives(index):
    selected = names(dependency_closure(index, {"python3-thing": None, "libopenblas0": None}, []))
    assert "libopenblas0" in selected and "libblas3" not in selected


def test_what_is_left_out_takes_along_what_only_it_needs(index):
    selected = names(dependency_closure(index, {"python3-thing": None}, ["data", "libgcc-s1"]))
    assert not {"data", "more-data", "libgcc-s1"} & set(selected)


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"nothing": None}, "no package nothing"),
        ({"python3-thing": "1.14"}, "python3-thing is there at version 1.13.1 only, not 1.14"),
    ],
)
def test_what_is_not_there_is_said(index, requested, message):
    with pytest.raises(ResolveError, match=message):
        dependency_closure(index, requested, [])


def test_a_release_that_lacks_a_dependency_is_refused():
    incomplete = Index(listing({"a": ("1", "b | c (>= 2)")}))
    with pytest.raises(ResolveError, match="a needs b or c, which the release lacks"):
        dependency_closure(incomplete, {"a": None}, [])


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("1.13.1+dfsg-4", "1.13.1"),
        ("1:1.24.2-1+deb12u1", "1.24.2"),
        ("0.0~git20220216.ae108ef-2", "0.0"),
        ("12", "12"),
        ("1.2-3-1", "1.2-3"),
    ],
)
def test_the_version_of_what_was_packaged(version, upstream):
    assert Index(listing({"a": (version, "")})).packages["a"].upstream == upstream


def test_a_lock_lists_each_package_for_each_architecture(lock):
    parsed = read_lock(lock)
    assert is_lock(lock)
    assert (parsed.release, parsed.moment) == ("bookworm", "20260712T101637Z")
    assert list(parsed.packages) == ["amd64", "arm64"]
    package = parsed.packages["amd64"][0]
    assert package.filename.startswith("pool/main/l/libblas3/") and package.size == 1234
    assert len(package.sha256) == 64


@pytest.mark.parametrize(
    "requirements",
    [["deb:bookworm"], ["deb:bookworm/a", "deb:trixie/b"], ["deb:../a"], ["deb:bookworm/a>=1"]],
)
def test_a_requirement_has_one_form_and_one_release(requirements):
    with pytest.raises(ResolveError, match="expected deb:RELEASE/PACKAGE"):
        make_lock(requirements)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("debian bookworm", "debian Bookworm"),
        lambda text: text.replace("pool/main/l", "pool/../l"),
        lambda text: text.replace("[amd64]\n", ""),
        lambda text: text.replace(" 1234 ", " many "),
        lambda text: text + "rm -rf\n",
        lambda text: "# nothing\n",
    ],
)
def test_a_damaged_lock_is_refused(lock, damage):
    with pytest.raises(ValueError, match="not a"):
        read_lock(damage(lock))


def test_a_lock_says_what_was_asked_and_is_written_at_once(lock, tmp_path: Path):
    destination = tmp_path / "envs" / "a.txt"
    compile_debian_lock(["deb:bookworm/python3-thing"], destination, ["data"])
    text = destination.read_text(encoding="utf-8")
    assert "#   deb:bookworm/python3-thing\n# Left out:\n#   data\n" in text
    assert is_lock(text)
    with pytest.raises(LockError, match="no package other"):
        compile_debian_lock(["deb:bookworm/other"], destination)
    assert destination.read_text(encoding="utf-8") == text
    assert [path.name for path in destination.parent.iterdir()] == ["a.txt"]


def test_debian_packages_and_others_do_not_mix():
    assert debian.are_debian(["deb:bookworm/a"])
    assert not debian.are_debian(["numpy==2.0"])
    with pytest.raises(ValueError, match="in one environment"):
        debian.are_debian(["deb:bookworm/a", "numpy==2.0"])


def test_mirrors_are_the_user_s_the_host_s_and_debian_s(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "deb [signed-by=/k.gpg] http://near.example/debian/ bookworm main contrib\n"
        "deb https://packages.example.org/linux/debian bookworm stable\n"
        "# deb http://old.example/debian bookworm main\n"
        "deb http://ubuntu.example/ubuntu jammy main\n"
    )
    (tmp_path / "sources.list.d" / "more.sources").write_text(
        "Types: deb\nURIs: http://two.example/debian http://two.example/debian-security\n"
        "Suites: bookworm\nComponents: main\n\n"
        "Types: deb\nURIs: http://three.example/debian\nSuites: bookworm\nComponents: stable\n"
    )
    addresses = mirrors("20260712T101637Z", apt=tmp_path)
    assert addresses[:4] == [
        "http://near.example/debian",
        "http://two.example/debian",
        DEFAULT,
        ARCHIVE,
    ]
    assert addresses[4:] == ["https://snapshot.debian.org/archive/debian/20260712T101637Z"]
    monkeypatch.setenv(VARIABLE, "http://mine.example/debian/")
    assert mirrors(apt=tmp_path / "none") == ["http://mine.example/debian", DEFAULT, ARCHIVE]


@pytest.mark.parametrize(
    "answer",
    [b"<html>Please log in</html>", lzma.compress(b"Package: thing\n")],
    ids=["a page", "half a package"],
)
def test_an_answer_that_is_no_package_list_is_named(monkeypatch, tmp_path, answer):
    """A captive portal answers in place of the archive."""
    indices.fetch_moment.cache_clear()
    indices.fetch_index.cache_clear()
    released = b"Date: Sat, 11 Jul 2026 10:16:37 UTC\n"
    monkeypatch.setattr(
        indices, "read", lambda path: released if path.endswith("/Release") else answer
    )
    with pytest.raises(LockError, match=r"Packages\.xz: not a list of packages"):
        compile_debian_lock(["deb:bookworm/python3-thing==1.13.1"], tmp_path / "lock.txt")
    indices.fetch_moment.cache_clear()
