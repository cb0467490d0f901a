"""mace_run without MACE: a script replays the logs of a real build; each trap has its log."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.experiments.deployed import Setting
from cellfarm.experiments.launch import launch
from cellfarm.libraries.mace import tool
from cellfarm.libraries.mace.vendor import tables
from cellfarm.libraries.vendor_tool import Task

from tests.support.native_tools import DATA, HELDOUT, Bench, write_script
from tests.support.protocols import SMALLEST, protocol_of
from tests.support.results import make_cell

LOGS = DATA / "mace"
PLAIN = (LOGS / "tiny-plain.log").read_text()
BENCHMARK = (LOGS / "mbv2_op13-bench.log").read_text()
ERRORS = (LOGS / "errors.txt").read_text()
TINY, LARGE = ([1, 3, 32, 32], [1, 16, 1, 1]), ([1, 3, 224, 224], [1, 1000])

#: Prints the log with the requested settings, and writes the output to the requested prefix.
REPLAY = """\
here = pathlib.Path(__file__).parent
text = (here / "log").read_text()
for name in ("round", "num_threads"):
    text = text.replace("] %s: %s" % (name, (here / name).read_text()), "] %s: %s" % (name, options[name]))
assert pathlib.Path(options["input_file"] + "_input").is_file()
output = pathlib.Path(options["output_file"] + "_output")
data = (here / "output").read_bytes()
(here / "asked").write_text("\\n".join(sys.argv[1:]))
pass  # hook
output.write_bytes(data)
print(text)
"""


@pytest.fixture
def mace(tmp_path) -> Any:
    """Makes a bench with a mace_run that prints `log`; `hook` is a line of its program."""

    def make(log: str = PLAIN, shapes: Any = TINY, hook: str = "pass") -> Bench:
        program = write_script(tmp_path / "mace_run", REPLAY.replace("pass  # hook", hook))
        (tmp_path / "log").write_text(log)
        for name in ("round", "num_threads"):
            echo = re.search(rf"\] {name}: (\d+)", log)
            (tmp_path / name).write_text(echo[1] if echo else "-")
        bench = Bench(tmp_path, "mace", shapes, {"run": str(program)})
        (tmp_path / "output").write_bytes(bench.reference["output"].tobytes())
        return bench

    return make


def with_frequencies(log: str) -> str:
    """The log of a system that reports the frequencies of its processors."""
    return "\n".join(line for line in log.splitlines() if "CPU core is empty" not in line) + "\n"


def excerpt(title: str) -> str:
    """The real tool's output in one of the cases of errors.txt."""
    section = ERRORS.split(f"## {title}\n")[1].split("\n## ")[0]
    return section.split("\n", 1)[1]


def test_a_launch_has_the_record_of_a_launch(mace) -> None:
    record = mace().launch()
    assert (record["status"], record["reason"]) == ("ok", None)
    assert record["library_version"] == "v1.1.1-23-g0fc55a5"
    assert record["phases"] == {"load": 4.57, "first": 0.204}
    assert record["warm_ms"] == [0.156]
    assert record["actual"] == {
        "threads": 1,
        "provider": "CPU",
        "sample": "the mean of 3 inferences",
    }
    assert record["comparison"]["cosine"] == 1.0
    assert record["page_cache_share"] is None or 0 <= record["page_cache_share"] <= 1


def test_nothing_of_a_launch_is_left(mace) -> None:
    bench = mace()
    bench.launch()
    assert bench.left() == []


def test_it_runs_on_the_cores_that_it_is_given(mace, tmp_path) -> None:
    core = min(os.sched_getaffinity(0))
    bench = mace(hook='(here / "cores").write_text(str(sorted(os.sched_getaffinity(0))))')
    record = bench.launch(cores=[core])
    assert record["affinity"] == record["asked_cores"] == [core]
    assert (tmp_path / "cores").read_text() == f"[{core}]"


def test_held_out_inputs_run_one_by_one(mace, tmp_path) -> None:
    record = mace(hook='(here / "count").open("a").write(options["input_file"][-1])').launch(
        "quality"
    )
    assert record["status"] == "ok", record
    assert (tmp_path / "count").read_text() == "012"
    assert (record["quality"]["samples"], record["quality"]["cosine"]) == (HELDOUT, 1.0)


@pytest.mark.parametrize("mode", ["cold", "start"])
def test_a_cold_start_has_its_phases(mace, mode: str) -> None:
    record = mace().launch(mode)
    assert (record["status"], record["phases"]) == ("ok", {"load": 4.57, "first": 0.204})


def test_a_profile_has_the_operators(mace) -> None:
    record = mace(BENCHMARK, LARGE).launch("profile")
    assert record["status"] == "ok", record
    operators = record["profile"]["operators"]
    assert len(operators) == 65
    # Convolution and Clip are one operator, named after the Clip.
    assert operators[0] | {"position": 0} == {
        "position": 0, "name": "/f/f.2/Clip", "type": "Conv", "library_type": "Conv2D",
        "node": "/f/f.2/Clip", "ms": 11.176,
    }  # fmt: skip
    assert record["profile"]["sum_ms"] == pytest.approx(826.594, abs=0.05)
    assert abs(record["profile"]["gap"]) < 0.01


@pytest.mark.parametrize("output", [b"", b"\0" * 60, b"\0" * 68])
def test_an_output_of_another_size_is_no_output(mace, tmp_path, output) -> None:
    bench = mace()
    (tmp_path / "output").write_bytes(output)
    record = bench.launch()
    assert record["status"] == "failed"
    assert "64 were expected" in record["reason"]


def test_a_wrong_output_is_told(mace, tmp_path) -> None:
    bench = mace()
    (tmp_path / "output").write_bytes((-bench.reference["output"]).tobytes())
    assert bench.launch()["comparison"]["cosine"] == pytest.approx(-1)


# -- the traps ------------------------------------------------------------------------------------


def test_trap_1_the_row_is_found_among_the_logs_and_must_be_one(mace) -> None:
    rows = PLAIN.splitlines()
    (row,) = [line for line in rows if line.startswith("time ")]
    record = mace(PLAIN + "\n" + row).launch()
    assert record["status"] == "failed"
    assert "2 rows of times" in record["reason"]


def test_trap_3_one_thread_whatever_is_asked(mace) -> None:
    record = mace().launch(threads=2)
    assert record["status"] == "unsupported"
    assert "1 thread" in record["reason"]
    assert "warm_ms" in record and not record["warm_ms"]


def test_trap_3_threads_where_the_system_tells_frequencies(mace) -> None:
    record = mace(with_frequencies(PLAIN)).launch(threads=2)
    assert (record["status"], record["actual"]["threads"]) == ("ok", 2)


@pytest.mark.parametrize("log", ["", "usage: mace_run --help\n", PLAIN.split("=====")[0]])
def test_trap_4_exit_code_0_is_no_proof(mace, log) -> None:
    record = mace(log).launch()
    assert record["status"] == "failed"
    assert not record["warm_ms"]


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("missing input file", "Open input file failed"),
        ("wrong input node", "Can not find flow's input: input"),
        ("wrong output node", "can not find output in model: [outx]"),
        ("truncated weights", "data_offset + data_size <= model_data_size"),
        ("garbage model", "load NetDef failed"),
        ("output_shape wrong (too small)", "Output size exceeds buffer size"),
        ("unwritable output", "Open output file failed"),
    ],
)
def test_trap_4_a_fatal_error_gives_its_first_line(mace, title, reason) -> None:
    bench = mace(excerpt(title), hook="print(text, flush=True); os.abort()")
    record = bench.launch()
    assert record["status"] == "failed"
    assert reason in record["reason"]
    assert "backtrace" not in record["reason"]


def test_trap_4_a_fatal_line_at_exit_code_0_is_fatal(mace) -> None:
    record = mace(PLAIN + "F /build/mace/x.cc:1] Check failed: y\n").launch()
    assert (record["status"], record["warm_ms"]) == ("failed", [])
    assert "Check failed: y" in record["reason"]


def test_trap_5_inputs_are_checked_before() -> None:
    spec = [{"name": "in/put:0", "shape": [1, 4], "dtype": "float32"}]
    files = tool.input_files("f", [[np.ones([1, 4], np.float32)]], spec)
    assert {name: len(data) for name, data in files.items()} == {"0_in_put_0": 16}
    with pytest.raises(ValueError, match="shape"):
        tool.input_files("f", [[np.ones([1, 3], np.float32)]], spec)
    with pytest.raises(tool.Refusal, match="float32"):
        tool.input_files("f", [[np.ones([1, 4], np.int64)]], spec)


def test_trap_6_lists_name_every_input_and_output() -> None:
    specs = [{"name": name, "shape": [1, 3, 8, 8], "dtype": "float32"} for name in ("a", "b")]
    task = Task("measure", "cpu", 2, specs, [specs[0] | {"shape": [1, 7]}, specs[1]], "A", "G", 1, 9,
                "S", {"run": "mace_run"}, {})  # fmt: skip
    (command,) = tool.commands(task)
    options = dict(part.removeprefix("--").split("=") for part in command.argv[1:])
    assert options["input_node"] == "a,b"
    assert options["input_shape"] == "1,3,8,8:1,3,8,8"
    assert (options["input_data_type"], options["input_data_format"]) == (
        "float32,float32",
        "NCHW,NCHW",
    )
    assert (options["output_data_type"], options["output_data_format"]) == (
        "float32,float32",
        "NONE,NCHW",
    )
    assert (options["round"], options["num_threads"], options["cpu_affinity_policy"]) == (
        "9",
        "2",
        "0",
    )
    assert "benchmark" not in options


def test_trap_7_no_round_no_latency(mace) -> None:
    log = re.sub(r"0\.156$", "-1.000", PLAIN, flags=re.MULTILINE)
    record = mace(log).launch()
    assert (record["status"], record["warm_ms"]) == ("failed", [])
    assert "-1 ms as its average" in record["reason"]


def test_trap_7_without_the_tables_there_is_no_profile(mace) -> None:
    record = mace(BENCHMARK.split("I /build/mace/utils/statistics")[0], LARGE).launch("profile")
    assert record["status"] == "failed"
    assert "Sort by Run Order" in record["reason"]


def test_trap_8_what_goes_on_for_ever_is_killed(mace) -> None:
    record = mace(hook='print("E retry", flush=True); time.sleep(60)').launch(launch_timeout_s=1.5)
    assert (record["status"], record["warm_ms"]) == ("timeout", [])
    assert "retry" in record["log"]


@pytest.mark.parametrize("lost_lines", range(1, 160, 13))
def test_trap_9_half_a_log_is_no_profile(lost_lines) -> None:
    lines = BENCHMARK.splitlines(keepends=True)
    with pytest.raises(ValueError):
        tables.operators("".join(lines[:-lost_lines]).removesuffix("65 ops total.\n"), 5)


def test_trap_9_a_lost_row_is_noticed() -> None:
    lines = BENCHMARK.splitlines(keepends=True)
    row = next(n for n, line in enumerate(lines) if "/f/f.22/Clip" in line)
    with pytest.raises(ValueError, match="64 operators"):
        tables.operators("".join(lines[:row] + lines[row + 1 :]), 5)


def test_another_number_of_rounds_is_noticed(mace, tmp_path) -> None:
    bench = mace()
    (tmp_path / "round").write_text("99")  # the log still says 10
    assert "does not say 'round: 3'" in bench.launch()["reason"]


def test_another_processor_is_a_refusal(mace) -> None:
    record = mace(PLAIN.replace("runtimes: [CPU]", "runtimes: [GPU]")).launch()
    assert record["status"] == "unsupported"


@pytest.mark.parametrize("kind", ["spaced", "sustained"])
def test_unsupported_patterns_are_refused(mace, kind) -> None:
    pattern = {"interval_ms": 5} if kind == "spaced" else {"window_s": 1}
    settings = SMALLEST["measures"]["latency"] | pattern
    record = mace().launch(measures={"latency": None, kind: settings})
    assert (record["status"], record["reason"]) == (
        "unsupported", f"the library's own tool cannot run with the pattern {kind}")  # fmt: skip


def test_launches_of_other_measures_are_refused(mace) -> None:
    """A measure that no tool knows has no numbers; it does not get those of a single inference."""
    bench = mace()
    setting = Setting(bench.transport, protocol_of(), 2)
    record = launch(
        setting, bench.deployed, make_cell(library="mace"), mode="unheard_of", measure="unheard_of",
        measure_request={}, cores=None, scratch="launches/one",
    )  # fmt: skip
    assert (record["status"], record["reason"]) == (
        "unsupported", "the library's own tool has no launches of mode unheard_of")  # fmt: skip


def test_no_path_of_a_machine_is_in_the_data() -> None:
    for path in LOGS.iterdir():
        assert not re.search(r"/(home|root|work|tmp)/", path.read_text()), path


def test_the_help_knows_every_option() -> None:
    task = Task("profile", "cpu", 1, [], [], "A", "G", 1, 5, "S", {"run": "mace_run"}, {})
    options = re.findall(r"^    -(\w+)", (LOGS / "help.txt").read_text(), re.MULTILINE)
    for argument in tool.commands(task)[0].argv[1:]:
        assert argument.removeprefix("--").partition("=")[0] in options


def test_paths_may_hold_spaces(mace, tmp_path: Path) -> None:
    bench = mace()
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name in ("mace_run", "log", "round", "num_threads", "output"):
        (tmp_path / name).rename(folder / name)
    vendor_tool = bench.deployed.tool
    object.__setattr__(vendor_tool, "tools", {"run": str(folder / "mace_run")})
    assert bench.launch()["status"] == "ok"
