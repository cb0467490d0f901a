"""Keys and digests. test_import_closure_keys.py tests which files change which keys."""

from __future__ import annotations

from typing import Any

from cellfarm.base.digests import code_digest, digest
from cellfarm.planning.keys import CAUSES, cell_key, changes, result_key
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text(st.characters(codec="ascii", exclude_characters="\n"), min_size=1, max_size=8)


@given(st.sets(st.tuples(NAMES, NAMES, NAMES), min_size=2, max_size=6))
def test_no_two_results_share_a_key(parts: set[tuple[str, str, str]]):
    assert len({result_key(*part) for part in parts}) == len(parts)


@given(st.dictionaries(NAMES, NAMES, min_size=1, max_size=5))
def test_a_cells_key_is_that_of_its_results_in_whatever_order(results: dict[str, str]):
    assert cell_key(dict(reversed(results.items()))) == cell_key(results)
    for measure, key in results.items():
        assert cell_key(results | {measure: f"{key}x"}) != cell_key(results)


@given(
    st.dictionaries(st.sampled_from(list(CAUSES)), NAMES), st.sets(st.sampled_from(list(CAUSES)))
)
def test_a_change_names_every_cause_that_differs_and_no_other(
    before: dict[str, str], differing: set[str]
):
    after = before | {name: f"{before.get(name, '')}x" for name in differing}
    reasons = [text for text in changes(before, after).split("; ") if text]
    assert reasons == [text for name, text in CAUSES.items() if name in differing]


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, min_size=1))
def test_a_digest_ignores_the_order_of_mappings(value: dict[str, Any]):
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(st.lists(st.integers(), min_size=2, unique=True))
def test_a_digest_heeds_the_order_of_lists(value: list[int]):
    assert digest(value[::-1]) != digest(value)


def test_code_is_the_same_wherever_it_stands_and_not_when_it_differs(tmp_path):
    for name, text in (("one", "x = 1\n"), ("two", "x = 1\n"), ("three", "x = 2\n")):
        folder = tmp_path / name / "code"
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "module.py").write_text(text)
        (folder / "notes.txt").write_text(name)  # no source: does not count
        (folder / "__pycache__" / "module.py").write_text(name)
    original, copy, different = (
        code_digest(tmp_path / name / "code") for name in ("one", "two", "three")
    )
    assert original == copy != different
    (tmp_path / "two" / "code" / "module.py").rename(tmp_path / "two" / "code" / "other.py")
    code_digest.cache_clear()
    assert code_digest(tmp_path / "two" / "code") != original
