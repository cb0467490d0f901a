"""From a config to cells."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cellfarm.base.cells import Cell
from cellfarm.base.errors import UserError
from cellfarm.planning.matrix import AXES, expand
from cellfarm.wanted.configuration import Config
from hypothesis import given
from hypothesis import strategies as st

VERSIONS = {"ncnn": "1.0", "mnn": "3.6", "litert": "2.3"}
CORES = {"host": 2, "phone": 8}
CONFIG: dict[str, Any] = {
    "models": ["small", "large"],
    "libraries": ["ncnn", "mnn"],
    "variants": ["fp32", "int8"],
    "devices": ["host", "phone"],
    "processors": ["cpu"],
    "threads": [1, "all"],
}


def resolve(reference: str) -> tuple[str, str]:
    name, separator, version = reference.partition("@")
    if name not in VERSIONS:
        raise UserError(f"unknown library '{name}'")
    return name, version if separator else VERSIONS[name]


def cells(**changes: Any) -> list[Cell]:
    return expand(config_of(CONFIG | changes), resolve, CORES, "test.yaml")


def config_of(document: dict[str, Any]) -> Config:
    return msgspec.convert(document | {"protocol": "quick"}, Config)


def test_the_axes_are_multiplied():
    expanded = cells()
    assert len(expanded) == 2 * 2 * 2 * 2 * 1 * 2
    assert Cell("small", "ncnn", "1.0", "int8", "phone", "cpu", 8) in expanded
    assert {cell.library_version for cell in expanded if cell.library == "mnn"} == {"3.6"}


def test_all_is_every_core_of_each_device():
    expanded = cells(threads=["all"])
    assert {(cell.device, cell.threads) for cell in expanded} == {("host", 2), ("phone", 8)}


def test_a_count_that_equals_all_is_measured_once():
    expanded = cells(devices=["host"], threads=[2, "all"])
    assert len(expanded) == len(set(expanded)) == 2 * 2 * 2


@pytest.mark.parametrize("processor", ["gpu", "npu"])
def test_a_processor_without_threads_is_measured_once_whatever_they_are(processor: str):
    counts: list[list[Any]] = [[1], [1, "all"], [2, 4, 7], ["all"]]
    cell_lists = [cells(processors=["cpu", processor], threads=threads) for threads in counts]
    cell_sets = [
        {cell for cell in selected if cell.processor == processor} for selected in cell_lists
    ]
    # So are their keys and their folders.
    assert all(cell_set == cell_sets[0] for cell_set in cell_sets)
    assert len(cell_sets[0]) == 2 * 2 * 2 * 2
    assert {(cell.device, cell.threads) for cell in cell_sets[0]} == {("host", 2), ("phone", 8)}
    assert {cell.threads for cell in cell_lists[2] if cell.processor == "cpu"} == {2, 4, 7}


def test_include_of_a_processor_without_threads_is_one_cell():
    entry = {"processor": "gpu", "library": "ncnn", "threads": [1, 4]}
    added = set(cells(include=[entry])) - set(cells())
    assert len(added) == 2 * 2 * 2
    assert {(cell.processor, cell.threads) for cell in added} == {("gpu", 2), ("gpu", 8)}


def test_a_version_that_is_the_default_is_measured_once():
    assert len(cells(libraries=["ncnn", "ncnn@1.0"])) == len(cells(libraries=["ncnn"]))


def test_two_versions_of_a_library_are_two_columns():
    expanded = cells(libraries=["ncnn", "ncnn@0.9"])
    assert {cell.versioned_library for cell in expanded} == {"ncnn@1.0", "ncnn@0.9"}


def test_the_cells_are_sorted():
    expanded = cells()
    assert expanded == sorted(expanded)


def test_exclude_takes_away_what_matches_all_its_axes():
    entry = {"model": "small", "device": "phone"}
    kept = cells(exclude=[entry])
    excluded = set(cells()) - set(kept)
    assert excluded == {
        cell for cell in cells() if cell.model == "small" and cell.device == "phone"
    }


def test_exclude_with_lists_matches_any_of_their_values():
    kept = cells(exclude=[{"variant": ["fp32", "int8"], "threads": "all", "model": "large"}])
    assert {cell.threads for cell in kept if cell.model == "large"} == {1}
    assert {cell.threads for cell in kept if cell.model == "small"} == {1, 2, 8}


def test_a_bare_name_excludes_every_version():
    kept = cells(libraries=["ncnn", "ncnn@0.9", "mnn"], exclude=[{"library": "ncnn"}])
    assert {cell.library for cell in kept} == {"mnn"}


def test_a_version_excludes_itself_only():
    kept = cells(libraries=["ncnn", "ncnn@0.9"], exclude=[{"library": "ncnn@0.9"}])
    assert {cell.library_version for cell in kept} == {"1.0"}


@pytest.mark.parametrize(
    "entry",
    [{"model": "smal"}, {"library": "litert"}, {"library": "ncnn@7"}, {"threads": 3}],
    ids=str,
)
def test_an_exclude_that_matches_nothing_is_a_mistake(entry: dict[str, Any]):
    with pytest.raises(UserError, match=r"test\.yaml: exclude\[1\].*matches no cell") as caught:
        cells(exclude=[{"variant": "int8"}, entry])
    assert str(next(iter(entry.values()))) in str(caught.value)


def test_an_exclude_of_what_an_earlier_one_took_is_a_mistake():
    with pytest.raises(UserError, match=r"exclude\[1\]"):
        cells(exclude=[{"model": "small"}, {"model": "small"}])


def test_an_unknown_library_is_a_mistake_wherever_it_stands():
    for changes in ({"libraries": ["nccn"]}, {"exclude": [{"library": "nccn"}]},
                    {"include": [{"library": "nccn"}]}):  # fmt: skip
        with pytest.raises(UserError, match="nccn"):
            cells(**changes)


def test_include_adds_what_it_describes_and_takes_the_rest_from_the_config():
    expanded = cells(include=[{"library": "litert", "model": "small", "threads": 4}])
    added = set(expanded) - set(cells())
    assert {(cell.library, cell.model, cell.threads) for cell in added} == {("litert", "small", 4)}
    assert {(cell.variant, cell.device) for cell in added} == {
        (variant, device) for variant in CONFIG["variants"] for device in CONFIG["devices"]
    }


def test_include_comes_after_exclude():
    expanded = cells(
        exclude=[{"library": "mnn"}], include=[{"library": "mnn", "model": "large", "threads": 1}]
    )
    assert {(cell.model, cell.threads) for cell in expanded if cell.library == "mnn"} == {
        ("large", 1)
    }


def test_include_of_what_is_there_changes_nothing():
    assert cells(include=[{"model": "small"}]) == cells()


def _subsets(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=4)


CONFIGS = st.fixed_dictionaries(
    {
        "models": _subsets(["a", "b", "c"]),
        "libraries": _subsets(["ncnn", "ncnn@0.9", "mnn", "litert", "litert@2.3"]),
        "variants": _subsets(["fp32", "fp16", "int8"]),
        "devices": _subsets(["host", "phone"]),
        "processors": _subsets(["cpu", "gpu"]),
        "threads": _subsets([1, 2, 4, "all"]),
    }
)


@given(config=CONFIGS, data=st.data())
def test_the_order_and_repetition_of_a_list_do_not_matter(config: dict[str, Any], data: Any):
    shuffled = {name: data.draw(st.permutations(config[name])) for name in AXES.values()}
    repeated = {name: values + values[:1] for name, values in shuffled.items()}
    expected = expand(config_of(config), resolve, CORES)
    assert expand(config_of(shuffled), resolve, CORES) == expected
    assert expand(config_of(repeated), resolve, CORES) == expected


@given(config=CONFIGS, data=st.data())
def test_exclude_and_what_is_left_are_the_whole(config: dict[str, Any], data: Any):
    all_cells = expand(config_of(config), resolve, CORES)
    chosen = data.draw(st.sampled_from(all_cells))
    axes = data.draw(
        st.sets(st.sampled_from(["model", "variant", "device", "threads"]), min_size=1)
    )
    entry = {axis: getattr(chosen, axis) for axis in axes}
    kept = expand(config_of(config | {"exclude": [entry]}), resolve, CORES)
    excluded = {
        cell for cell in all_cells if all(getattr(cell, axis) == entry[axis] for axis in axes)
    }
    assert chosen in excluded
    assert set(kept) == set(all_cells) - excluded
