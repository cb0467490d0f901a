"""What the report says of a device, and of libraries."""

from __future__ import annotations

from cellfarm.report.heading import flat, libraries
from cellfarm.report.panels import Arrangement


def test_nested_facts_are_flat_and_unknown_ones_left_out():
    facts = {"cpu": "made up", "load": 0.12345, "siblings": [], "isa": ["a", "b"], "os": {"build": 3},
             "battery": None}  # fmt: skip
    assert flat(facts) == [
        ("cpu", "made up"), ("load", "0.123"), ("siblings", "none"), ("isa", "a, b"), ("os.build", "3"),
    ]  # fmt: skip


def test_a_version_is_not_said_twice():
    cells = [
        {"label": "ncnn 1.0.1", "library_version": "1.0.1"},
        {"label": "ncnn 1.0.2", "library_version": "1.0.2"},
        {"label": "mnn", "library_version": "3.6.1"},
        {"label": "mace", "library_version": None},
    ]
    labels = ["mace", "mnn", "ncnn 1.0.1", "ncnn 1.0.2"]
    assert libraries(Arrangement(cells, [], [], labels, [])) == [
        ("mace", []), ("mnn", ["3.6.1"]), ("ncnn 1.0.1", []), ("ncnn 1.0.2", []),
    ]  # fmt: skip
