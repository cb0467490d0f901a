"""What a pass declares of its settings, and modules that are imported by name."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.project import PACKAGE

SETTINGS = {"layer": str, "share": float, "rounds": 3, "exact": False}


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """cellfarm/models/pass_context.py, imported by its bare name as in its worker."""
    monkeypatch.syspath_prepend(PACKAGE / "models")
    return importlib.import_module("pass_context")


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """cellfarm/models/protocol.py; tmp_path is on the path, too."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(PACKAGE / "models")
    return importlib.import_module("protocol")


def test_settings_are_filled_with_defaults(context: Any):
    filled = context.fill_settings(SETTINGS, {"share": 1, "layer": "stem"})
    assert filled == {"layer": "stem", "share": 1.0, "rounds": 3, "exact": False}
    assert type(filled["share"]) is float
    assert context.fill_settings({}, {}) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": 0.5}, "unknown setting 'shares'; known: layer, share, rounds, exact"),
        ({"layer": 3}, "the setting 'layer' must be of type str, not 3"),
        ({"rounds": 1.5}, "the setting 'rounds' must be of type int, not 1.5"),
        ({"rounds": True}, "the setting 'rounds' must be of type int, not True"),
        ({"share": True}, "the setting 'share' must be of type float, not True"),
        ({"exact": 1}, "the setting 'exact' must be of type bool, not 1"),
        ({"share": None}, "the setting 'share' must be of type float, not None"),
    ],
)
def test_a_wrong_setting_is_refused(context: Any, change: dict[str, Any], message: str):
    with pytest.raises(context.RecipeError) as refusal:
        context.fill_settings(SETTINGS, {"layer": "stem", "share": 0.5} | change)
    assert str(refusal.value) == message


def test_a_missing_setting_is_named(context: Any):
    with pytest.raises(context.RecipeError, match="the setting 'share' is missing"):
        context.fill_settings(SETTINGS, {"layer": "stem"})


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
