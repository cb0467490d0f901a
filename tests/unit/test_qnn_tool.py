"""qnn-net-run and snpe-net-run without a device: scripts write profiles of the known forms.

The CSV is real: the plugin wrote it on the simulator. The texts of snpe-diagview have the form of
published logs.
"""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.libraries.qnn import qnn_profile, tool
from cellfarm.libraries.qnn.vendor import diagview
from cellfarm.libraries.vendor_tool import Task

from tests.support.native_tools import DATA, HELDOUT, Bench, write_script

CSV = (DATA / "qnn" / "simulator-detailed.csv").read_text()
SHAPES = ([1, 3, 4, 4], [1, 10])

#: Each line of the list is an inference, whose outputs get a folder of their own.
NET_RUN = """\
tool_folder = pathlib.Path(__file__).parent
lines = open(options["input_list"]).read().splitlines()
out = pathlib.Path(options["output_dir"])
for number, line in enumerate(lines):
    name, _, path = line.partition(":=")
    assert name == "input" and len(open(path, "rb").read()) == 4 * 48, line
    folder = out / ("Result_%d" % number); folder.mkdir(parents=True)
    (folder / "output.raw").write_bytes((tool_folder / "output").read_bytes())
(tool_folder / "asked").write_text(os.environ.get("ADSP_LIBRARY_PATH", "") + "|" + " ".join(sys.argv[1:]))
(tool_folder / "inferences").write_text(str(len(lines)))
(out / LOG).write_text("binary")
pass  # hook
"""
#: It prints one execution for each inference of the tool, in QNN's own form.
VIEWER = """\
tool_folder = pathlib.Path(__file__).parent
assert open(options["input_log"]).read() == "binary"
header, *lines = (tool_folder / "csv").read_text().splitlines(keepends=True)
load, run = lines[:2], lines[2:54]
text = header + "".join(load) + "".join(run) * int((tool_folder / "inferences").read_text())
open(options["output"], "w").write(text)
(tool_folder / "viewed").write_text(os.environ.get("ADSP_LIBRARY_PATH", "none"))
print("Execute Stats (Average):")
"""
DIAGVIEW = """\
tool_folder = pathlib.Path(__file__).parent
assert open(options["input_log"]).read() == "binary"
print((tool_folder / "text").read_text(), end="")
"""
NEW = """\
Log File Created: Sun Oct  5 10:00:00 2025
Time Scale: 1e-06
Software library version: 2.37.0.250724175447_124859
------------------------------------------------------------

SNPE Create Statistics:
----------------------------------------
  Load: 1800 us
  Deserialize: 900 us
  Create: 150000 us

  Init: 158000 us
  De-Init: 6600 us

  Create Network(s): 152000 us
  RPC Init Time: 1158 us
  Snpe Accelerator Init Time: 1090 us
  Accelerator Init Time: 1009 us

SNPE Execute Statistics (Averaged):
----------------------------------------
  Total Inference Time: 1328 us
  Forward Propagate Time: 1315 us
  RPC Execute Time: 290 us
  Snpe Accelerator Time: 250 us
  Num times yield occurred: 0
  Accelerator Time: 60 us

  Per-Subnet Execution Times:\x20
  ------------------------------
    Subnet 0 (DSP) : 6000 cycles

  Per-Layer Execution Times:\x20
  ------------------------------
    0: Input OpId_2 (cycles) : 1000 cycles : DSP
    1: conv:OpId_18 (cycles) : 4000 cycles : DSP
    2: Output OpId_3 (cycles) : 1000 cycles : DSP

"""
OLD = """\
Interpreting file serialized with Flatbuffer
Software library version: 2.9.0.4462

Dnn Runtime Load/Deserialize/Create/De-Init Statistics:
--------------------------------------------------
Load: 369 us
Init: 283050 us
De-Init: 14744 us

RPC Init Time: 0 NONE

Average SNPE Statistics:
------------------------------
Total Inference Time: 3318 us
Forward Propagate Time: 3244 us
RPC Execute Time: 1777 us
Snpe Accelerator Time: 1735 us
Accelerator Time: 603 us
Misc Accelerator Time: 0 us

Layer Times:\x20
---------------
0: 0 cycles : DSP
1: 162014 cycles : DSP
"""


@pytest.fixture
def qnn(tmp_path) -> Any:
    """A bench with qnn-net-run and its viewer."""

    def make(hook: str = "pass", csv: str = CSV, **more: Any) -> Bench:
        body = NET_RUN.replace("LOG", '"qnn-profiling-data_0.log"').replace("pass  # hook", hook)
        run = write_script(tmp_path / "qnn-net-run", body)
        viewer = write_script(tmp_path / "qnn-profile-viewer", VIEWER)
        (tmp_path / "csv").write_text(csv)
        tools = {run.name: str(run), viewer.name: str(viewer), "dsp-libraries": "/dsp"}
        bench = Bench(tmp_path, "qnn", SHAPES, tools, **more)
        (tmp_path / "output").write_bytes(bench.reference["output"].tobytes())
        return bench

    return make


@pytest.fixture
def snpe(tmp_path) -> Any:
    """A bench with snpe-net-run and its viewer."""

    def make(text: str = NEW, hook: str = "pass") -> Bench:
        body = NET_RUN.replace("LOG", '"SNPEDiag_0.log"').replace("pass  # hook", hook)
        run = write_script(tmp_path / "snpe-net-run", body)
        viewer = write_script(tmp_path / "snpe-diagview", DIAGVIEW)
        (tmp_path / "text").write_text(text)
        bench = Bench(tmp_path, "qnn", SHAPES, {run.name: str(run), viewer.name: str(viewer)})
        (tmp_path / "output").write_bytes(bench.reference["output"].tobytes())
        return bench

    return make


def record_of(bench: Bench, mode: str = "measure", **more: Any) -> dict[str, Any]:
    return bench.launch(mode, processor="npu", **more)


# -- QNN ------------------------------------------------------------------------------------------


def test_qnn_reports_every_inference(qnn, tmp_path) -> None:
    record = record_of(qnn())
    assert (record["status"], record["reason"]) == ("ok", None)
    # One more than is timed: the first one.
    assert (tmp_path / "inferences").read_text() == "4"
    assert [*record["warmup_ms"], *record["warm_ms"]] == [1231.892] * 3
    assert record["phases"] == {"load": 9.965, "first": 1231.892}
    assert record["actual"]["provider"] == "HTP"
    assert record["comparison"]["cosine"] == 1.0
    library_path, _, arguments = (tmp_path / "asked").read_text().partition("|")
    assert library_path == "/dsp"
    assert "--backend=libQnnHtp.so" in arguments and "context_qnn.bin" in arguments


def test_qnn_on_a_pc_is_a_simulation(qnn) -> None:
    record = record_of(qnn(architecture="x86_64"))
    assert (record["status"], record["emulated"], record["warm_ms"]) == ("ok", True, [])


def test_qnn_runs_held_out_inputs_in_one_go(qnn) -> None:
    record = record_of(qnn(), "quality")
    assert record["status"] == "ok", record
    assert record["quality"]["samples"] == HELDOUT


def test_qnn_operators_share_the_accelerators_time(qnn) -> None:
    record = record_of(qnn(), "profile")
    assert record["status"] == "ok", record
    profile = record["profile"]
    assert profile["sum_ms"] == pytest.approx(1231.459, abs=1e-3)
    assert "shares" in profile["method"]


def test_qnn_that_failed_says_why(qnn) -> None:
    hook = 'print("ERROR: cannot load the context"); sys.exit(9)'
    record = record_of(qnn(hook))
    assert record["status"] == "failed"
    assert record["reason"] == "in phase tool: qnn-net-run: ERROR: cannot load the context"


def test_qnn_that_ran_elsewhere_is_refused(qnn) -> None:
    lines = [
        line for line in CSV.splitlines(keepends=True) if "Accelerator (execute) time" not in line
    ]
    padding = "0,BACKEND,1,COUNT,BACKEND,ROOT,x\n"
    csv = lines[0] + lines[1] + lines[2] + padding * 51 + lines[-1]
    assert "no time of the accelerator" in record_of(qnn(csv=csv))["reason"]


def test_a_viewer_of_this_machine_gets_the_log(qnn, tmp_path) -> None:
    bench = qnn()
    deployed_tool = bench.deployed.tool
    viewer = deployed_tool.tools.pop("qnn-profile-viewer")
    object.__setattr__(deployed_tool, "host_tools", {"qnn-profile-viewer": viewer})
    record = record_of(bench)
    assert (record["status"], record["reason"]) == ("ok", None)
    assert bench.left() == []
    # The device's libraries do not run on this machine.
    assert (tmp_path / "viewed").read_text() == "none"


def test_without_a_viewer_there_is_no_tool() -> None:
    assert not tool.usable({"qnn-net-run": "/x"}, {"qnn-net-run": "/x"})
    assert not tool.usable({"qnn-profile-viewer": "/x"}, {})
    assert tool.usable({"qnn-profile-viewer": "/x", "qnn-net-run": "/y"}, {"qnn-net-run": "/y"})


def test_a_real_profile_of_qnn_is_read() -> None:
    first_run, second_run = qnn_profile.read_runs(CSV)
    assert (first_run["execute_us"], second_run["execute_us"]) == (1231892, 1104588)
    assert len(first_run["operators"]) == len(second_run["operators"]) == 45
    operators = qnn_profile.operators_of(first_run, {"node_conv2d": "Conv"})
    assert sum(operator["ms"] for operator in operators) == pytest.approx(1231.459)
    by_name = {operator["name"]: operator for operator in operators}
    assert by_name["node_conv2d_token_1"]["node"] == "node_conv2d"
    assert by_name["input_QuantizeLinear"]["type"] == "QuantizeLinear"
    assert by_name["Transpose_token_172"] | {"ms": 0} == {
        "name": "Transpose_token_172", "node": None, "type": "Transpose", "ms": 0}  # fmt: skip


@pytest.mark.parametrize("length", range(0, len(CSV), 397))
def test_a_profile_that_is_cut_off_gives_no_number(length) -> None:
    text = CSV[:length]
    lines = text.splitlines(keepends=True)
    # Text that ends after a whole execution is a profile of fewer executions.
    if lines and lines[-1].endswith("QNN (execute) time\n"):
        assert len(qnn_profile.read_runs(text)) < 2
        return
    with pytest.raises(ValueError):
        qnn_profile.read_runs(text)


def test_fewer_executions_than_asked_are_no_profile(qnn) -> None:
    bench = qnn('(tool_folder / "inferences").write_text("2")')
    record = record_of(bench)
    assert (record["status"], record["warm_ms"]) == ("failed", [])
    assert "4 inferences were asked for; the profile holds 2" in record["reason"]


def test_the_tools_own_times_come_first() -> None:
    rows = "".join(f"0,EXECUTE,{time},US,NETRUN,ROOT,null\n" for time in (2000000, 2000001))
    assert [run["netrun_us"] for run in qnn_profile.read_runs(CSV + rows)] == [2000000, 2000001]
    with pytest.raises(ValueError, match="timed by the tool"):
        qnn_profile.read_runs(CSV + rows.splitlines(keepends=True)[0])


# -- SNPE -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [(NEW, (1.328, 158.0, "2.37.0.250724175447_124859")), (OLD, (3.318, 283.05, "2.9.0.4462"))],
)
def test_snpe_reports_a_mean(snpe, tmp_path, text, expected) -> None:
    record = record_of(snpe(text))
    assert (record["status"], record["reason"]) == ("ok", None)
    (sample,) = record["warm_ms"]
    assert (sample, record["phases"]["load"], record["library_version"]) == expected
    assert "first" not in record["phases"]
    assert record["actual"]["sample"] == "the mean of 3 inferences, the first among them"
    arguments = (tmp_path / "asked").read_text()
    assert (
        "--use_dsp" in arguments
        and "model.dlc" in arguments
        and "--perf_profile=burst" in arguments
    )


def test_one_inference_of_snpe_is_a_first_one(snpe) -> None:
    record = record_of(snpe(), "cold")
    assert (record["status"], record["phases"]) == ("ok", {"load": 158.0, "first": 1.328})


def test_snpe_operators(snpe) -> None:
    record = record_of(snpe(), "profile")
    assert record["status"] == "ok", record
    operators = [(operator["name"], operator["node"], operator["type"], operator["ms"])
                 for operator in record["profile"]["operators"]]  # fmt: skip
    assert operators == [("Input", None, "Copy", 0.01), ("conv", "conv", "Conv", 0.04),
                         ("Output", None, "Copy", 0.01)]  # fmt: skip


def test_snpe_on_the_cpu_is_refused(snpe) -> None:
    record = record_of(snpe(NEW.replace("Accelerator Time: 60 us", "Accelerator Time: 0 ")))
    assert record["status"] == "unsupported"
    assert "DSP" in record["reason"]


def test_layers_elsewhere_are_no_profile(snpe) -> None:
    record = record_of(snpe(NEW.replace("4000 cycles : DSP", "4000 us : CPU")), "profile")
    assert record["status"] == "failed"


@pytest.mark.parametrize("text", [NEW, OLD])
def test_no_part_of_a_text_is_a_number(text) -> None:
    full = diagview.read(text)
    for length in range(len(text)):
        try:
            part = diagview.read(text[:length])
        except ValueError:
            continue
        # A value that can be read is that of the full text. Without all layers there are no operators.
        assert (part.total_us, part.init_us, part.accelerator_us) == (
            full.total_us, full.init_us, full.accelerator_us)  # fmt: skip
        if part.layers != full.layers or full.subnet_cycles is None:
            with pytest.raises(ValueError):
                diagview.operators(part, {})


@pytest.mark.parametrize("text", ["", "error: no such file\n", NEW + NEW])
def test_texts_without_a_profile_are_refused(text) -> None:
    with pytest.raises(ValueError):
        diagview.read(text)


def test_inputs_of_any_type_are_written_as_float32() -> None:
    import numpy as np

    files = tool.input_files("f", [[np.array([7, 9], np.int64), np.zeros(1, np.float32)]], [])
    assert files["0/0.raw"] == np.array([7, 9], np.float32).tobytes()
    assert sorted(files) == ["0/0.raw", "0/1.raw"]


def test_the_list_names_every_input_of_every_sample() -> None:
    specs = [{"name": "a", "shape": [1]}, {"name": "b", "shape": [1]}]
    tools = {"snpe-net-run": "/x", "snpe-diagview": "/y"}
    task = Task("quality", "npu", 1, specs, [], "A", "G", 2, 5, "S", tools, {})
    assert tool.scratch_files(task)["inputs.txt"].decode().splitlines() == [
        "a:=G/0/0.raw b:=G/0/1.raw", "a:=G/1/0.raw b:=G/1/1.raw"]  # fmt: skip
