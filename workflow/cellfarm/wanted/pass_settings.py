"""The settings of a pass, as its file declares them. The file is read and not run: it imports PyTorch,
which only the models' environment has."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: What a declaration may name in place of a default.
_TYPES: dict[str, type] = {kind.__name__: kind for kind in (str, int, float, bool, list, dict)}


def declared_settings(path: Path) -> dict[str, Any]:
    """The mapping ``SETTINGS`` of a pass: name -> the type of a required setting, or the default value.

    Raises:
        ValueError: it is not a mapping of names to types and literals.
    """
    for statement in ast.parse(path.read_bytes()).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == "SETTINGS" for target in targets):
                return _evaluate(statement.value)
    return {}


def fill_settings(declared: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a pass, with its defaults.

    Args:
        declared: see declared_settings.

    Raises:
        ValueError: a setting is unknown, missing or of another type.
    """
    for name in settings:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise ValueError(f"unknown setting '{name}'; known: {known}")
    filled = {}
    for name, declaration in declared.items():
        if name in settings:
            expected = declaration if isinstance(declaration, type) else type(declaration)
            filled[name] = _checked(name, settings[name], expected)
        elif isinstance(declaration, type):
            raise ValueError(f"the setting '{name}' is missing")
        else:
            filled[name] = declaration
    return filled


def _evaluate(mapping: ast.expr | None) -> dict[str, Any]:
    if not isinstance(mapping, ast.Dict):
        raise ValueError("SETTINGS must be a mapping")
    declared: dict[str, Any] = {}
    for key, value in zip(mapping.keys, mapping.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            raise ValueError("the names in SETTINGS must be texts")
        if isinstance(value, ast.Name) and value.id in _TYPES:
            declared[key.value] = _TYPES[value.id]
        else:
            try:
                default = ast.literal_eval(value)
                # As the plan would hold it: sets, bytes and infinity are no JSON.
                if json.loads(json.dumps(default, allow_nan=False)) != default:
                    raise ValueError(default)
                declared[key.value] = default
            except (TypeError, ValueError):
                kinds = ", ".join(_TYPES)
                raise ValueError(
                    f"SETTINGS['{key.value}'] must be one of the types {kinds}, "
                    "or a literal that JSON can hold"
                ) from None
    return declared


def _checked(name: str, value: Any, expected: type) -> Any:
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ValueError(
            f"the setting '{name}' must be of type {expected.__name__}; found {value!r}"
        )
    return value
