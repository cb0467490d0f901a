"""YAML files as typed documents, with errors that name file, key and what was expected.

The type is the schema: msgspec makes a JSON schema of it, which finds what is wrong and has the words to
say it, and then the object.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from .errors import UserError

T = TypeVar("T")


def read(path: Path, kind: type[T]) -> T:
    """A YAML file as an object of a type.

    Raises:
        UserError: unreadable, not YAML, or not what the type asks for.
    """
    return parse(load_yaml(path), kind, str(path))


def parse(document: Any, kind: type[T], where: str) -> T:
    """A parsed document as an object of a type.

    Raises:
        UserError: it is not what the type asks for; the message names the most telling violation.
    """
    _check(document, kind, where)
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:  # a rule that no schema can say
        raise UserError(f"{where}: {str(error).rpartition(' - at ')[0] or error}") from None


def load_yaml(path: Path) -> Any:
    """The parsed file; a repeated key is an error, as the second would silently win.

    Raises:
        UserError: unreadable or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    try:
        return yaml.load(text, Loader=_loader(text))  # noqa: S506 (SafeLoaders)
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise UserError(f"{path}{place}: not valid YAML: {problem}") from error


def _check(document: Any, kind: Any, where: str) -> None:
    if not isinstance(document, Mapping):
        raise UserError(f"{where}: expected a mapping of keys to values, found {_kind(document)}")
    try:
        _check_finite(document, where)
    except RecursionError:
        raise UserError(f"{where}: an alias (*) stands within what it stands for (&)") from None
    errors = list(_validator(kind).iter_errors(document))
    # A misspelt key is also missing under its right name: its spelling is what to mend.
    misspelt = [error for error in errors if error.validator == "additionalProperties"]
    error = best_match(misspelt or errors)
    if error is not None:
        raise UserError(f"{where}: {_explain(error)}")


#: The tag of `<<`, whose mapping is merged into this one: its keys may be given again.
_MERGE = "tag:yaml.org,2002:merge"


def _check_finite(value: Any, where: str, key: str = "") -> None:
    """NaN and infinity pass every bound of a schema, and mean nothing in any of our files."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: key '{key}': expected a finite number; found {value}")
    if isinstance(value, Mapping):
        for name, entry in value.items():
            _check_finite(entry, where, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for position, entry in enumerate(value):
            _check_finite(entry, where, f"{key}[{position}]")


class _Strict(yaml.constructor.SafeConstructor):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a list or a mapping cannot be a key", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


class _Loader(_Strict, yaml.SafeLoader):
    pass


#: By libyaml's parser, where PyYAML was built with it: a start reads a hundred files.
_FastLoader: Any = (
    type("_FastLoader", (_Strict, yaml.CSafeLoader), {}) if yaml.__with_libyaml__ else _Loader
)


def _loader(text: str) -> Any:
    """libyaml's parser crashes the process where nesting is deeper than its stack."""
    openers = sum(text.count(opener) for opener in ("[", "{", "- -", "? ?"))
    return _FastLoader if len(text) < 20_000 and openers < 500 else _Loader


@cache
def _validator(kind: Any) -> Draft202012Validator:
    return Draft202012Validator(_without_null(msgspec.json.schema(kind)))


def _without_null(schema: Any) -> Any:
    """A schema in which a key that may be left out may not be null: null in YAML is a slip."""
    if isinstance(schema, list):
        return [_without_null(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _without_null(value) for key, value in schema.items()}
    if kept.get("default", ...) is None and "anyOf" in kept:
        branches = [part for part in kept.pop("anyOf") if part != {"type": "null"}]
        del kept["default"]
        return {**(branches[0] if len(branches) == 1 else {"anyOf": branches}), **kept}
    return kept


def _explain(error: Any) -> str:
    choice = error.parent
    if isinstance(choice, ValidationError) and choice.absolute_path == error.absolute_path:
        return _explain(choice)  # "a number, or all" says more than what one of the two lacks
    key = _path(error)
    at = f"key '{key}': " if key else ""
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [name for name in error.instance if name not in known]
        hints = [suggestion(str(name), known) for name in unknown]
        named = ", ".join(f"'{name}'{hint}" for name, hint in zip(unknown, hints, strict=True))
        return f"{at}unknown key {named}; expected one of: {', '.join(known)}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{at}the key '{missing[0]}' is missing{_described(error, missing[0])}"
    actual = f"found {_shown(error.instance)}"
    if error.validator == "enum":
        values = [str(value) for value in error.validator_value]
        hint = suggestion(str(error.instance), values)
        return f"{at}expected one of {', '.join(values)}; {actual}{hint}"
    if error.validator == "type":
        return f"{at}expected {_types(error.validator_value)}{_described(error)}; {actual}"
    if error.validator == "uniqueItems":
        twice = next(entry for entry in error.instance if error.instance.count(entry) > 1)
        return f"{at}{_shown(twice)} stands there twice"
    if error.validator == "minItems":
        return f"{at}expected at least one entry{_described(error)}; {actual}"
    if isinstance(error.schema, Mapping) and "description" in error.schema:
        return f"{at}expected {error.schema['description']}; {actual}"
    return f"{at}{error.message}"


def _described(error: Any, name: str | None = None) -> str:
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    if name is not None:
        schema = schema.get("properties", {}).get(name, {})
    text = schema.get("description") if isinstance(schema, Mapping) else None
    return f" ({text})" if text else ""


def _path(error: Any) -> str:
    text = ""
    for part in error.absolute_path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def _types(types: str | list[str]) -> str:
    names = {"object": "a mapping", "array": "a list", "string": "text", "integer": "a whole number",
             "number": "a number", "boolean": "true or false", "null": "nothing"}  # fmt: skip
    listed = [types] if isinstance(types, str) else types
    return " or ".join(names.get(name, name) for name in listed)


def _kind(value: Any) -> str:
    if value is None:
        return "an empty file"
    names: dict[type, str] = {list: "a list", str: "text"}
    return names.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def suggestion(name: str, known: list[str]) -> str:
    """` (did you mean 'x'?)`, or nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
