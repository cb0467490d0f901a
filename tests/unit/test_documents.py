"""Reading YAML: every error names the file, the key and the expected value."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from cellfarm.base import documents
from cellfarm.base.errors import UserError
from cellfarm.libraries import Description
from cellfarm.wanted.configuration import Config
from cellfarm.wanted.devices import LocalDevice
from cellfarm.wanted.protocols import Protocol
from cellfarm.wanted.recipes import RecipeDocument
from cellfarm.wanted.variants import Variant
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from tests.support.projects import CONFIG

DOCUMENT_TYPES = [Config, RecipeDocument, Protocol, Variant, LocalDevice, Description]


class Weights(Struct, forbid_unknown_fields=True):
    kind: Literal["random"] | None = None


class Document(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(description="the file's own name")]
    threads: Annotated[tuple[int, ...], Meta(description="thread counts")]
    variant: Literal["fp32", "fp16", "int8"] | None = None
    seed: Annotated[int, Meta(ge=0, description="a seed from 0")] | None = None
    weights: Weights | None = None


def test_what_is_nested_too_deeply_is_said(tmp_path):
    path = tmp_path / "deep.yaml"
    path.write_text("a: " + "[" * 3000 + "]" * 3000)
    with pytest.raises(UserError, match=r"deep\.yaml: nested too deeply"):
        documents.load_yaml(path)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["a", "b", "a"], "'models': 'a' stands there twice"),
        ([], "'models': expected at least one entry"),
    ],
)
def test_lists_of_a_config_say_what_is_wrong_with_them(models, message):
    config = CONFIG | {"models": models}
    with pytest.raises(UserError, match=message):
        documents.parse(config, Config, "it")


def refusal(path: Path, text: str, kind: type[Document] | None = None) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        documents.read(path, kind) if kind else documents.load_yaml(path)
    message = str(caught.value)
    assert message.startswith(str(path)), "the message names the file first"
    assert caught.value.exit_code == 2
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("threads: [1]", "the key 'name' is missing (the file's own name)"),
        ("name: 3\nthreads: [1]", "key 'name': expected text (the file's own name); found 3"),
        ("name: a\nthreads: 1", "key 'threads': expected a list (thread counts); found 1"),
        ("name: a\nthreads: [1, two]", "key 'threads[1]': expected a whole number; found 'two'"),
        ("name: a\nthreads: [1]\nthraeds: [2]", "unknown key 'thraeds' (did you mean 'threads'?)"),
        ("name: a\nthreads: [1]\nvariant: fp23", "(did you mean 'fp32'?)"),
        ("name: a\nthreads: [1]\nvariant: fp64", "key 'variant': expected one of fp16, fp32, int8"),
        ("name: a\nthreads: [1]\nseed: -1", "key 'seed': expected a seed from 0; found -1"),
        ("name: a\nthreads: [1]\nseed: true", "expected a whole number (a seed from 0); found True"),
        ("name: a\nthreads: [1]\nweights: {knid: random}", "key 'weights': unknown key 'knid'"),
        ("name: a\nthreads: [1]\nweights: {kind: zero}", "key 'weights.kind': expected one of"),
        ("", "expected a mapping of keys to values, found an empty file"),
        ("- a\n- b", "expected a mapping of keys to values, found a list"),
        ("just words", "expected a mapping of keys to values, found text"),
    ],
)  # fmt: skip
def test_a_violation_names_key_and_expectation(tmp_path, text: str, expected: str):
    assert expected in refusal(tmp_path / "file.yaml", text, Document)


def test_a_valid_document_is_read(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text("name: ä\nthreads: [1, 2]\nvariant: int8\n", encoding="utf-8")
    assert documents.read(path, Document) == Document("ä", (1, 2), "int8")


def test_a_long_value_is_not_printed_whole(tmp_path):
    message = refusal(tmp_path / "f.yaml", f"name: a\nthreads: {'x' * 5000}", Document)
    assert len(message) < 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3:1: not valid YAML: the key 'a' stands here twice"),
        ("a: {b: 1, b: 2}\n", ":1:11: not valid YAML: the key 'b' stands here twice"),
        ("a: [1, 2\nb: 3\n", ":2:"),
        ("a:\n\t- b\n", ":2:1: not valid YAML"),
        ("? [a, b]\n: c\n", ":1:3: not valid YAML: a list or a mapping cannot be a key"),
        ("? {a: b}\n: c\n", "a list or a mapping cannot be a key"),
        ("a: !!python/object:os.system {}\n", ":1:4: not valid YAML"),
        ("a: *nowhere\n", ":1:4: not valid YAML: found undefined alias"),
        ("a: \x07\n", "not valid YAML"),
    ],
)
def test_what_is_no_yaml_names_its_place(tmp_path, text: str, expected: str):
    assert expected in refusal(tmp_path / "file.yaml", text)


def test_a_merged_mapping_may_be_overridden(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text("base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  b: 3\n")
    assert documents.load_yaml(path)["mine"] == {"a": 1, "b": 3}


def test_what_cannot_be_read_says_so(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file"):
        documents.load_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        documents.load_yaml(tmp_path)  # a folder
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(UserError, match=r"latin\.yaml: cannot be read.*utf-8"):
        documents.load_yaml(tmp_path / "latin.yaml")


def test_a_suggestion_is_close_or_not_made():
    assert documents.suggestion("mobilenet_v3", ["mobilenet_v2", "bert"]) == (
        " (did you mean 'mobilenet_v2'?)"
    )
    assert documents.suggestion("xyz", ["mobilenet_v2", "bert"]) == ""


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KNOWN = st.sampled_from(
    ["models", "libraries", "include", "tolerances", "fp32", "inputs", "shape", "launches", "min"]
)
DOCUMENTS: Any = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KNOWN | st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("kind", DOCUMENT_TYPES, ids=str)
@given(document=DOCUMENTS)
def test_any_document_passes_or_is_a_users_mistake(kind: Any, document: Any):
    try:
        documents.parse(document, kind, "where")
    except UserError as error:
        assert str(error).startswith("where: ")


@given(text=st.text(max_size=40) | DOCUMENTS.map(lambda value: yaml.safe_dump(value)))
def test_any_text_is_yaml_or_a_users_mistake(tmp_path_factory, text: str):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        documents.load_yaml(path)
    except UserError as error:
        assert str(error).startswith(str(path))
