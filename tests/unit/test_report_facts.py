"""What the report says of a device."""

from __future__ import annotations

from cellfarm.report.facts import flat


def test_nested_facts_are_flat_and_unknown_ones_left_out():
    facts = {"cpu": "made up", "load": 0.12345, "siblings": [], "isa": ["a", "b"], "os": {"build": 3},
             "battery": None}  # fmt: skip
    assert flat(facts) == [
        ("cpu", "made up"), ("load", "0.123"), ("siblings", "none"), ("isa", "a, b"), ("os.build", "3"),
    ]  # fmt: skip
