"""Labelled pictures with a library's native tool; a script replaces mace_run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from cellfarm.experiments import vendor_tools
from cellfarm.measures.accuracy.pictures import Pictures

from tests.support.native_tools import DATA, Bench, write_script

#: Reads raw floats and writes scores of sixteen classes; the brightest channel is the class.
RUN = """\
import array, re
here = pathlib.Path(__file__).parent
text = (here / "log").read_text()
for name in ("round", "num_threads"):
    text = re.sub(r"(\\] %s: )\\d+" % name, r"\\g<1>" + options[name], text)
values = array.array("f", pathlib.Path(options["input_file"] + "_input").read_bytes())
side = len(values) // 3
scores = [sum(values[side * c : side * (c + 1)]) for c in range(3)] + [-1e6] * 13
pathlib.Path(options["output_file"] + "_output").write_bytes(array.array("f", scores).tobytes())
print(text)
"""
FACTS = {
    "input": "input",
    "layout": "NCHW",
    "dtype": "float32",
    "mean": [0, 0, 0],
    "std": [1, 1, 1],
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    program = write_script(tmp_path / "mace_run", RUN)
    (tmp_path / "log").write_text((DATA / "mace/tiny-plain.log").read_text())
    bench = Bench(tmp_path, "mace", ([1, 3, 32, 32], [1, 16, 1, 1]), {"run": str(program)})
    pixels = np.zeros((4, 32, 32, 3), np.uint8)
    for number, channel in enumerate((2, 0, 1, 2)):
        pixels[number, :, :, channel] = 200
    np.save(tmp_path / "labelled.npy", pixels)
    pictures = Pictures(tmp_path / "labelled.npy", FACTS, [2, 0, 1, 0], 16, 1.0)
    bench.deployed = dataclasses.replace(bench.deployed, pictures=pictures)
    return bench


def test_a_tool_runs_every_picture(bench: Bench) -> None:
    deployed, tool = bench.deployed, bench.deployed.tool
    assert tool and deployed.pictures
    arrays, inputs = deployed.pictures.arrays(), deployed.description["inputs"]
    assert vendor_tools.put_inputs(tool.module, bench.transport, "labelled", arrays, inputs)
    tool = dataclasses.replace(tool, labelled="labelled", labelled_samples=4)
    bench.deployed = dataclasses.replace(deployed, tool=tool)
    record = bench.launch("accuracy")
    assert (record["status"], record["reason"]) == ("ok", None)
    assert (record["accuracy"]["images"], record["accuracy"]["top1"]) == (4, 3)
    assert [top[0] for top in record["accuracy"]["top"]] == [2, 0, 1, 2]
    assert bench.left() == []


def test_more_pictures_than_fit_are_not_run(bench: Bench) -> None:
    record = bench.launch("accuracy")
    assert (record["status"], "accuracy" in record) == ("unsupported", False)
    assert record["reason"].startswith("too many for the library's own tool")
