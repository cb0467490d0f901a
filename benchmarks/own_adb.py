"""A benchmark's own adb server: it does not use the user's phones and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from unittest.mock import patch

import adbutils
from cellfarm.virtual.starting import free_port

from .figures import NotMeasurable

START_TIMEOUT_S = 30.0


@contextlib.contextmanager
def own_adb_server() -> Iterator[None]:
    """Connect adbutils and every process that starts in the block to a separate server.

    Raises:
        NotMeasurable: the server does not start.
    """
    with tempfile.TemporaryDirectory(prefix="cellfarm-adb-") as folder:
        address = {"ANDROID_ADB_SERVER_PORT": str(free_port())}
        # Where the server looks for keys and writes its log.
        variables = os.environ | address | {"ADB_MDNS": "0", "HOME": folder, "TMPDIR": folder}
        with patch.dict(os.environ, address):
            _adb("start-server", variables)
            try:
                yield
            finally:
                _adb("kill-server", variables)


def _adb(command: str, variables: dict[str, str]) -> None:
    try:
        subprocess.run(
            [adbutils.adb_path(), command], env=variables, stdin=subprocess.DEVNULL,
            # The server inherits the streams: a pipe would not end.
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=START_TIMEOUT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise NotMeasurable(f"adb {command}: {error}") from error
