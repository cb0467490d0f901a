"""The table of accuracy below the ranking."""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.cli.measured import columns, print_measured, value_text
from cellfarm.measures import all_columns
from rich.console import Console


def row(**changes: Any) -> dict[str, Any]:
    values = {
        "model": "resnet18", "library": "ncnn", "library_version": "1.0", "variant": "fp32",
        "processor": "cpu", "device": "host", "labelled_images": 500, "top1_accuracy": 0.7,
        "top1_accuracy_low": 0.658, "top1_accuracy_high": 0.739, "top5_accuracy": 0.9,
        "top5_accuracy_low": 0.865, "top5_accuracy_high": 0.923,
        "reference_top1_accuracy": 0.702,
    }  # fmt: skip
    return dict.fromkeys(columns()) | values | changes


def printed(capsys: pytest.CaptureFixture[str], *rows: dict[str, Any]) -> list[str]:
    print_measured(Console(highlight=False, soft_wrap=True), rows)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_the_most_accurate_come_first_and_threads_make_no_lines(capsys):
    lines = printed(capsys, row(), row(variant="int8", top1_accuracy=0.71), row(), row())
    expected = "ncnn@1.0 fp32 cpu host 70.0 % 65.8 % to 73.9 % 90.0 % 86.5 % to 92.3 %"
    assert lines[0] == "resnet18, accuracy"
    assert [line.split()[1] for line in lines[2:4]] == ["int8", "fp32"]
    assert lines[3].split() == expected.split()
    note = "500 labelled pictures; FP32 in the model's own runtime: 70.2 %"
    assert lines[4].strip() == note and len(lines) == 5


def test_without_labelled_pictures_nothing_is_printed(capsys):
    empty_row = dict.fromkeys(columns()) | {"model": "m", "library": "ncnn"}
    assert printed(capsys, empty_row) == []


def test_why_there_is_no_accuracy_is_told_once(capsys):
    timed_out = dict.fromkeys(columns(), None) | row(labelled_images=None, top1_accuracy=None)
    timed_out["accuracy_reason"] = "labelled pictures: no end within 120 s (in phase accuracy)"
    lines = printed(capsys, timed_out, dict(timed_out))
    assert lines == [
        f"no accuracy  resnet18 · ncnn@1.0 · fp32 cpu host: {timed_out['accuracy_reason']}"
    ]


def test_an_unknown_value_is_printed_as_na():
    column = all_columns()["top1_accuracy"]
    texts = [value_text(column, value) for value in (None, 0.0, 0.12345)]
    assert texts == ["n/a", "0.0 %", "12.3 %"]
