"""The record of a launch's events; no output of a device can break the reader."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from cellfarm.experiments.events import MAX_SAMPLES, Record
from hypothesis import given
from hypothesis import strategies as st

TIMEOUT_S = 60.0


def event(event: str, **fields: Any) -> str:
    return json.dumps({"event": event, **fields})


#: A launch that goes well, event by event.
GOOD = [
    event("start", ms=20.5, pid=7),
    event("phase", name="import"),
    event("done", name="import", ms=30.0, library_version="1.2.3"),
    event("phase", name="load"),
    event("done", name="load", ms=40.0, actual={"threads": 2, "provider": "cpu"}),
    event("phase", name="first"),
    event("done", name="first", ms=15.0),
    event("outputs"),
    event("phase", name="series"),
    event("samples", ms=[11.0, 10.0, 10.5], seconds=0.04),
    event("resources", peak_inference_rss_mb=120.0, cpu_utilisation=0.98, steal=None),
    event("end"),
]


def finish(
    lines: list[str], code: int = 0, timed_out: bool = False, mode: str = "measure"
) -> dict[str, Any]:
    record = Record(mode)
    for line in lines:
        record.take(line)
    document = record.finish(code, timed_out, TIMEOUT_S)
    json.dumps(document, allow_nan=False).encode()  # the journal and the store must take it
    return document


def verdict(lines: list[str], code: int = 0, timed_out: bool = False) -> tuple[str, str | None]:
    document = finish(lines, code, timed_out)
    return document["status"], document["reason"]


def without(name: str, lines: list[str] = GOOD) -> list[str]:
    return [line for line in lines if json.loads(line)["event"] != name]


def replaced(old: str, new: str) -> list[str]:
    """GOOD with one event's line replaced."""
    assert any(old in line for line in GOOD)
    return [new if old in line else line for line in GOOD]


def test_a_launch_that_went_well_is_ok_with_all_its_numbers():
    document = finish(GOOD)
    assert (document["status"], document["reason"]) == ("ok", None)
    assert document["phases"] == {"start": 20.5, "import": 30.0, "load": 40.0, "first": 15.0}
    assert (document["samples_ms"], document["seconds"]) == ([11.0, 10.0, 10.5], 0.04)
    assert document["resources"] == {
        "peak_inference_rss_mb": 120.0, "cpu_utilisation": 0.98, "steal": None,
    }  # fmt: skip
    assert document["library_version"] == "1.2.3"
    assert document["actual"] == {"threads": 2, "provider": "cpu"}


@pytest.mark.parametrize("count", range(len(GOOD)))
def test_a_launch_that_stops_early_is_never_ok(count: int):
    for code, timed_out in ((0, False), (1, False), (-9, False), (-9, True)):
        status, reason = verdict(GOOD[:count], code, timed_out)
        assert status == ("timeout" if timed_out else "failed") and reason


@pytest.mark.parametrize(
    ("lines", "code", "reason"),
    [
        ([], -11, "killed by SIGSEGV in phase process start"),
        (GOOD[:4], -11, "killed by SIGSEGV in phase load"),
        (GOOD[:6], -9, "killed by SIGKILL in phase first"),
        (GOOD[:2], -200, "killed by signal 200 in phase import"),
        ([], 127, "ended with code 127 in phase process start"),
        (GOOD[:4], 3, "ended with code 3 in phase load"),
        (GOOD[:9], 0, "ended with code 0 in phase series, before its work was done"),
        (without("outputs"), 0, "ended with code 0 but without samples or output"),
        (without("samples"), 0, "ended with code 0 but without samples or output"),
        (GOOD, 1, "ended with code 1 in phase series"),
        (GOOD, -6, "killed by SIGABRT in phase series"),
        ([*GOOD[:4], event("error", kind="RuntimeError", message="bad\n  model")], 1,
         "in phase load: RuntimeError: bad model"),
        ([*GOOD[:2], event("error", kind="ModuleNotFoundError", message="No module named 'x'")], 1,
         "the library cannot be imported: ModuleNotFoundError: No module named 'x'"),
        ([*GOOD[:2], event("error", kind="ImportError", message="libx.so")], 1,
         "the library cannot be imported: ImportError: libx.so"),
    ],
    ids=str,
)  # fmt: skip
def test_a_failure_says_how_and_where(lines: list[str], code: int, reason: str):
    assert verdict(lines, code) == ("failed", reason)


def test_a_deadline_says_which_and_where():
    assert verdict(GOOD[:4], -9, True) == ("timeout", "no end within 60 s (in phase load)")
    error = event("error", kind="ValueError", message="x")
    assert verdict([*GOOD[:4], error], -9, True)[0] == "timeout"


def test_samples_of_zero_are_no_measurement():
    lines = replaced('"samples"', event("samples", ms=[1.0, 0.0], seconds=1.0))
    assert verdict(lines) == ("failed", "a latency of 0: nothing was measured")


def test_chatter_between_the_events_changes_nothing():
    chatter = ["", "Loading model...", "{", "[]", "null", "3", '"end"', "{}", '{"event": 1}', "\x00",
               '{"event": null}', '{"event": "boom", "x": 1}', '{"event": "take"}', '{"event": ["end"]}',
               '{"event": "_init__"}', '{"event": "end", "more": 1}', "\ufffd" * 50]  # fmt: skip
    noisy_lines = [line for good_line in GOOD for line in (*chatter, good_line)] + chatter
    assert finish(noisy_lines) == finish(GOOD)


BAD_LATENCIES = ["NaN", "Infinity", "-Infinity", "-1", "-0.001", '"5"', "true", "null", "[1]", "{}",
                 "1" + "0" * 400, "1" + "0" * 5000, "1e999"]  # fmt: skip


@pytest.mark.parametrize("value", BAD_LATENCIES, ids=lambda value: value[:12])
def test_an_invalid_latency_is_not_taken(value: str):
    samples = f'{{"event": "samples", "ms": [10.0, {value}], "seconds": 1}}'
    assert verdict(replaced('"samples"', samples))[0] == "failed"
    line = f'{{"event": "done", "name": "first", "ms": {value}}}'
    document = finish(replaced('"name": "first", "ms"', line))
    assert "first" not in document["phases"]
    assert all(math.isfinite(ms) and ms >= 0 for ms in document["phases"].values())


@pytest.mark.parametrize("ms", ['"123"', "{}", "5", "null", '{"0": 1}'])
def test_samples_that_are_no_list_are_not_taken(ms: str):
    line = f'{{"event": "samples", "ms": {ms}, "seconds": 1}}'
    assert verdict(replaced('"samples"', line))[0] == "failed"


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"90"', "true", "[]", "1" + "0" * 400])
def test_a_resource_that_is_no_number_is_not_known(value: str):
    line = f'{{"event": "resources", "peak_rss_mb": {value}, "steal": 0.5}}'
    resources = finish(replaced('"resources"', line))["resources"]
    assert resources.get("peak_rss_mb") is None


def test_settings_that_were_read_back_are_plain_values():
    actual = '{"a": NaN, "b": {"c": [1]}, "d": true, "e": null, "f": "\\ud800", "g": 2.5}'
    line = f'{{"event": "done", "name": "load", "ms": 1.0, "actual": {actual}}}'
    assert finish(replaced('"actual"', line))["actual"] == {
        "a": None, "b": {"c": "[1]"}, "d": True, "e": None, "f": "?", "g": 2.5,
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["start", "cold", "quality", "accuracy"])
def test_a_launch_on_an_emulated_processor_is_emulated_whatever_it_did(mode: str):
    load = event("done", name="load", ms=1.0, actual={"emulated": True})
    lines = [load if '"actual"' in line else line for line in without("samples")]
    assert finish(lines, mode=mode)["emulated"] is True
    assert "emulated" not in finish(without("samples"), mode=mode)


def test_a_message_with_half_a_surrogate_pair_keeps_its_reason():
    line = '{"event": "error", "kind": "OSError", "message": "no file weights-\\udcff.bin"}'
    status, reason = verdict([*GOOD[:4], line], 1)
    assert (status, reason) == ("failed", "in phase load: OSError: no file weights-?.bin")


def test_texts_and_lists_are_cut():
    long_text = "x" * 100_000
    lines = [event("phase", name=long_text), event("error", kind="E", message=long_text)]
    assert len(verdict(lines, 1)[1] or "") < 700
    samples = event("samples", ms=[1.0] * (MAX_SAMPLES + 5), seconds=1.0)
    assert len(finish(replaced('"samples"', samples))["samples_ms"]) == MAX_SAMPLES


def test_conditions_are_columns_of_numbers_as_long_as_their_times():
    metrics = {"rss_mb": [10.0, None], "steal": ["x", 1]}
    conditions = event("conditions", t_s=[0.1, 0.2], metrics=metrics, interval_s=0.1)
    assert finish([*GOOD, conditions])["conditions"] == {
        "t_s": [0.1, 0.2], "metrics": {"rss_mb": [10.0, None], "steal": [None, 1.0]},
        "interval_s": 0.1, "power_meter": None,
    }  # fmt: skip
    for t_s, metrics in (([0.1], {"a": []}), (["x"], {}), (3, {}), ([0.1], [1]), ([None], {})):
        assert "conditions" not in finish([*GOOD, event("conditions", t_s=t_s, metrics=metrics)])


def test_each_mode_has_its_own_proof_of_work():
    lines = without("samples")
    for mode in ("cold", "start"):
        assert finish(lines, mode=mode)["status"] == "ok"
        assert finish(without("outputs", lines), mode=mode)["status"] == "failed"
        without_first = [line for line in lines if '"done", "name": "first"' not in line]
        assert finish(without_first, mode=mode)["status"] == "failed"
    assert finish(GOOD[:3] + GOOD[-1:], mode="profile")["status"] == "failed"
    profile = [event("operators", operators=[]), event("end")]
    assert finish(profile, mode="profile")["status"] == "ok"


@pytest.mark.parametrize("line", ["[" * 200_000, '{"event":' * 50_000, '{"a":' * 50_000 + "1"])
def test_a_line_nested_without_end_is_chatter(line: str):
    assert finish([line, *GOOD]) == finish(GOOD)


EVENTS = st.sampled_from(
    [
        "start",
        "phase",
        "done",
        "outputs",
        "samples",
        "resources",
        "error",
        "end",
        "x",
        "pinned",
        "page_cache",
        "conditions",
        "after",
        "operators",
    ]
)
FIELDS = st.sampled_from(
    [
        "ms",
        "name",
        "phase",
        "pid",
        "rss_mb",
        "actual",
        "library_version",
        "kind",
        "message",
        "self",
        "seconds",
        "t_s",
        "metrics",
        "cores",
        "resident_share",
    ]
)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    | st.sampled_from(["warm", "warmup", "load", "\ud800", 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
LINES = (
    st.text(max_size=60)
    | st.sampled_from(GOOD)
    | st.builds(lambda name, fields: json.dumps({"event": name} | fields), EVENTS,
                st.dictionaries(FIELDS, VALUES, max_size=4))
)  # fmt: skip


@given(lines=st.lists(LINES, max_size=8), code=st.integers(-300, 300), timed_out=st.booleans())
def test_whatever_a_device_prints_gives_a_record_that_json_can_hold(lines, code, timed_out):
    document = finish(lines, code, timed_out)
    assert document["status"] in ("ok", "failed", "timeout")
    assert (document["reason"] is None) == (document["status"] == "ok")
    assert document["status"] != "ok" or (code == 0 and not timed_out and document["samples_ms"])
