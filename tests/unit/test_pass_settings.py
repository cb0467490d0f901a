"""The settings of passes: read from their files, filled and checked when a variant is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.errors import UserError
from cellfarm.wanted import variants
from cellfarm.wanted.pass_settings import declared_settings, fill_settings
from cellfarm.wanted.variants import read_variants

PASS = """
import torch_that_is_not_here

SETTINGS = {"layer": str, "share": float, "rounds": 3, "exact": False, "sizes": [1, 2]}


def apply(module, context):
    SETTINGS = 5
"""
DECLARED = {"layer": str, "share": float, "rounds": 3, "exact": False, "sizes": [1, 2]}


@pytest.fixture
def passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the passes, with `prune`, and beside it that of the variants."""
    monkeypatch.setattr(variants, "PACKAGE", tmp_path)
    folder = tmp_path / "passes"
    folder.mkdir()
    (folder / "prune.py").write_text(PASS, encoding="utf-8")
    return folder


def chain_of(passes: Path, settings: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The chain of a variant with `prune`; its settings are YAML."""
    (passes.parent / "pruned.yaml").write_text(
        "name: pruned\nprecision: fp32\n"
        "tolerance: {min_cosine: 0.99, max_relative_error: 0.1}\n"
        f"passes: [prune: {settings}]\n",
        encoding="utf-8",
    )
    return read_variants(passes.parent, ["pruned"], "config.yaml")["pruned"].chain


def test_a_file_declares_its_settings_without_being_run(passes: Path):
    assert declared_settings(passes / "prune.py") == DECLARED


@pytest.mark.parametrize("text", ["", "import torch\nOTHER = {'a': 1}\n"])
def test_a_file_may_declare_none(tmp_path: Path, text: str):
    (tmp_path / "plain.py").write_text(text)
    assert declared_settings(tmp_path / "plain.py") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SETTINGS = dict(share=float)", "SETTINGS must be a mapping"),
        ("SETTINGS: dict", "SETTINGS must be a mapping"),
        ("SETTINGS = {**OTHER}", "the names in SETTINGS must be texts"),
        ("SETTINGS = {'share': {1, 2}}", "a literal that JSON can hold"),
        ("SETTINGS = {'share': {3: 1}}", "a literal that JSON can hold"),
        ("SETTINGS = {'share': 1e999}", "a literal that JSON can hold"),
        ("SETTINGS = {'share': b'x'}", "a literal that JSON can hold"),
        ("SETTINGS = {'share': 2 * x}", r"SETTINGS\['share'\] must be one of the types str, int"),
    ],
)
def test_a_declaration_that_cannot_be_read_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "odd.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        declared_settings(tmp_path / "odd.py")


def test_settings_are_filled_with_defaults():
    filled = fill_settings(DECLARED, {"share": 1, "layer": "stem"})
    assert filled == DECLARED | {"layer": "stem", "share": 1.0}
    assert type(filled["share"]) is float
    assert fill_settings({}, {}) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": 0.5}, "unknown setting 'shares'; known: layer, share, rounds, exact, sizes"),
        ({"layer": 3}, "the setting 'layer' must be of type str; found 3"),
        ({"rounds": 1.5}, "the setting 'rounds' must be of type int; found 1.5"),
        ({"rounds": True}, "the setting 'rounds' must be of type int; found True"),
        ({"share": True}, "the setting 'share' must be of type float; found True"),
        ({"exact": 1}, "the setting 'exact' must be of type bool; found 1"),
        ({"share": None}, "the setting 'share' must be of type float; found None"),
    ],
)
def test_a_wrong_setting_is_refused(change: dict[str, Any], message: str):
    with pytest.raises(ValueError) as refusal:
        fill_settings(DECLARED, {"layer": "stem", "share": 0.5} | change)
    assert str(refusal.value) == message


def test_a_variant_has_all_settings_of_its_passes(passes: Path):
    ((name, settings),) = chain_of(passes, "{layer: stem, share: 1}")
    assert (name, settings) == ("prune", DECLARED | {"layer": "stem", "share": 1.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{layer: stem}", "key 'passes[0].prune': the setting 'share' is missing"),
        ("{layer: 1, share: 1}", "key 'passes[0].prune': the setting 'layer' must be of type str"),
    ],
)
def test_a_mistake_is_one_message_that_names_the_file(passes: Path, settings: str, message: str):
    with pytest.raises(UserError) as refusal:
        chain_of(passes, settings)
    assert str(refusal.value).startswith(f"{passes.parent / 'pruned.yaml'}: {message}")


def test_a_pass_that_is_no_python_is_the_users_mistake(passes: Path):
    (passes / "prune.py").write_text("SETTINGS = {")
    with pytest.raises(UserError, match=r"passes/prune\.py:1: not valid Python: .*never closed"):
        chain_of(passes, "{}")
