"""pip's configuration, handed on to uv."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cellfarm.envs import pip_options
from cellfarm.envs.pip_options import parse, uv_options

LISTING = """\
:env:.disable-pip-version-check='1'
global.extra-index-url='https://two.example.org/simple'
global.find-links='/wheels /more'
global.index-url='https://one.example.org/simple'
global.timeout='60'
install.find-links='/wheels'
"""


@pytest.fixture
def configured(monkeypatch):
    def set_listing(listing: str) -> None:
        monkeypatch.setattr(pip_options, "_pip_config", lambda: listing)

    return set_listing


def test_sources_of_packages_are_handed_on_each_once():
    assert parse(LISTING) == [
        "--index", "https://two.example.org/simple", "--find-links", "/wheels", "--find-links", "/more",
        "--default-index", "https://one.example.org/simple",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (":env:.index-url='https://e.example.org/'", ["--default-index", "https://e.example.org/"]),
        ("global.index-url=https://bare.example.org", ["--default-index", "https://bare.example.org"]),
        ("global.index-url='https://u:a=b@x.example.org/?q=1'",
         ["--default-index", "https://u:a=b@x.example.org/?q=1"]),
        ("global.find-links='\\n/a\\n/b'", ["--find-links", "/a", "--find-links", "/b"]),
        ("global.find-links='/a", ["--find-links", "'/a"]),
        ("global.find-links=''", []),
        ("global.extra-index-url='file:///srv/simple'", []),
        ("global.index-url", []),
        ("global.trusted-host='x.example.org'", []),
        ("", []),
    ],
    ids=str,
)  # fmt: skip
def test_a_line_gives_its_options_or_none(line: str, expected: list[str]):
    assert parse(line) == expected


def test_one_kind_alone_can_be_asked_for(configured):
    configured(LISTING)
    assert uv_options(only="--find-links") == ["--find-links", "/wheels", "--find-links", "/more"]
    assert uv_options(only="--index") == ["--index", "https://two.example.org/simple"]
    assert uv_options(only="--nothing") == []
    assert uv_options() == parse(LISTING)


@pytest.mark.parametrize("error", [OSError("no pip"), subprocess.TimeoutExpired("pip", 60)])
def test_without_pip_there_is_nothing_to_hand_on(monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    pip_options._pip_config.cache_clear()
    try:
        assert uv_options() == []
    finally:
        pip_options._pip_config.cache_clear()


def test_the_module_runs_as_a_script_before_anything_is_installed():
    argv = [sys.executable, "-I", "-S", str(pip_options.__file__)]
    completed = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
