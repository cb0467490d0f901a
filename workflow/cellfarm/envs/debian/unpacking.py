"""Unpacks a Debian package into a folder, without dpkg and without root.

A package (deb(5)) is an `ar` archive; its member `data.tar.*` holds the files. The scripts of an
installation are not run: who needs what they set up (alternatives, byte code) sets it up itself.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60
#: What tarfile reads by itself; Debian compresses with xz.
_COMPRESSED = frozenset({b"data.tar", b"data.tar.gz", b"data.tar.xz", b"data.tar.bz2"})
#: For people, not for programs.
_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info",
             "usr/share/lintian", "usr/share/bug")  # fmt: skip


class PackageError(Exception):
    """A file that is no Debian package, or that this reader cannot read."""


def unpack(package: Path, folder: Path) -> None:
    """Write the package's files below `folder`; absolute links then point into it.

    Raises:
        PackageError: no Debian package, an unknown compression, or a file that would lie outside.
    """
    with package.open("rb") as file:
        _seek_data(file, package)
        try:
            with tarfile.open(fileobj=file, mode="r|*") as archive:
                for member in archive:
                    _write(archive, member, folder)
        except (tarfile.TarError, EOFError) as error:
            raise PackageError(f"{package.name}: {error}") from error


def _seek_data(file: BinaryIO, package: Path) -> None:
    """Go to where the member with the files begins."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise PackageError(f"{package.name}: not a Debian package")
    while header := file.read(_HEADER_BYTES):
        # name, date, user, group, mode, size, and an end mark, each padded with blanks
        name, size = header[:16].strip().rstrip(b"/"), header[48:58].strip()
        if len(header) < _HEADER_BYTES or not size.isdigit():
            break
        if name in _COMPRESSED:
            return
        if name.startswith(b"data.tar"):
            raise PackageError(f"{package.name}: cannot read {name.decode(errors='replace')}")
        file.seek(int(size) + int(size) % 2, os.SEEK_CUR)
    raise PackageError(f"{package.name}: has no files")


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    relative = PurePosixPath(member.name)
    if relative == PurePosixPath() or any(map(relative.is_relative_to, _LEFT_OUT)):
        return
    path = _inside(folder, relative)
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        path.unlink()
    if member.issym():
        path.symlink_to(_target(folder, path, member.linkname))
    elif member.islnk():
        os.link(_inside(folder, PurePosixPath(member.linkname)), path)
    elif member.isfile():
        content = archive.extractfile(member)
        assert content is not None
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)
    # Devices and pipes are of no use without root.


def _inside(folder: Path, relative: PurePosixPath) -> Path:
    """The path in the folder; refuses names, and links in their parents, that lead out of it."""
    path = folder / relative
    is_inside = path.parent.resolve().is_relative_to(folder.resolve())
    if relative.is_absolute() or ".." in relative.parts or not is_inside:
        raise PackageError(f"a file would be written outside: {relative}")
    return path


def _target(folder: Path, link: Path, target: str) -> str:
    """A link's target; `/lib/x` means the `/lib/x` of the tree."""
    if not target.startswith("/"):
        return target
    return os.path.relpath(folder / target.lstrip("/"), link.parent)
