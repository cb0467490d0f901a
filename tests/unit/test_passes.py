"""Modules that are imported by name, such as passes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.project import PACKAGE


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """cellfarm/models/protocol.py; tmp_path is on the path, too."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(PACKAGE / "models")
    return importlib.import_module("protocol")


def test_a_module_is_imported_by_name(protocol: Any, tmp_path: Path):
    (tmp_path / "chains_of_test").mkdir()
    (tmp_path / "chains_of_test" / "double.py").write_text("factor = 2\n")
    assert protocol.import_named("chains_of_test.double", "pass 'double'").factor == 2


@pytest.mark.parametrize(
    "name", ["nothing_like_it", "no_package.pass", "../protocol", "os;path", ""]
)
def test_an_unknown_module_is_the_requests_mistake(protocol: Any, name: str):
    with pytest.raises(protocol.RecipeError, match=r"^unknown pass 'x'$"):
        protocol.import_named(name, "pass 'x'")


def test_a_module_that_lacks_another_is_not_called_unknown(protocol: Any, tmp_path: Path):
    (tmp_path / "broken_in_test.py").write_text("import nothing_like_it\n")
    with pytest.raises(ModuleNotFoundError, match="nothing_like_it"):
        protocol.import_named("broken_in_test", "pass 'broken'")
