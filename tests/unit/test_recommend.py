"""`cellfarm recommend` answers with measurements or else with a prediction, and says which."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import duckdb
import pytest
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.cli import recommend as command
from cellfarm.selection.evaluation import evaluate
from cellfarm.selection.graphs import Graphs
from cellfarm.selection.material import compared, examples_of
from cellfarm.selection.questions import MEASURED, OVERALL, PREDICTED, Question
from cellfarm.selection.recommending import recommend

from tests.support.projects import make_project
from tests.support.selection import DENSE, DEPTHWISE, FACTS, cell, cells, graph, results
from tests.support.synthetic_warehouse import create

TRAINED = (*DEPTHWISE[:3], *DENSE[:3])


def never():
    raise AssertionError("the graph is not needed")


def ask(rows, model="deep3", device="host", devices=None, graph_of=None, **options):
    stored = results(rows, devices)
    question = Question(model, device, **{"variant": "fp32", **options})
    graphs = {name: graph(name) for name in stored.models}
    return recommend(
        stored,
        question,
        lambda names: {name: graphs[name] for name in names},
        graph_of or (lambda: graph(model)),
    )


def test_what_was_measured_is_not_predicted():
    answer = ask(cells(), "wide0", graph_of=never)
    assert (answer.source, answer.regret, answer.ties) == (MEASURED, None, ())
    first, second, third = answer.choices
    assert (first.library, first.latency_ms, first.times_best) == ("heavy", 6.0, 1.0)
    assert (second.library, second.times_best, third.times_best) == ("even", 1.5, 3.0)
    assert (first.size_mb, first.error, first.tried) == (4.0, pytest.approx(1e-3), None)


def test_ties_are_named():
    rows = [
        cell("deep0", "light", 10, 1),
        cell("deep0", "heavy", 10.5, 1),
        cell("deep0", "even", 20, 1),
    ]
    assert ask(rows, "deep0", graph_of=never).ties == ("heavy",)


def pair(light_ms, heavy_ms, **more):
    return [cell("deep0", "light", light_ms, **more), cell("deep0", "heavy", heavy_ms, **more)]


def test_most_threads_and_the_newest_protocol():
    rows = [
        *pair(1, 2, threads=1, measured_at=9),
        *pair(1, 2, threads=2, measured_at=1),
        *pair(3, 2, threads=2, measured_at=2, protocol="quick"),
    ]
    answer = ask(rows, "deep0", graph_of=never)
    assert (answer.threads, answer.choices[0].library) == (2, "heavy")
    assert answer.notes == ("protocol quick",)
    assert ask(rows, "deep0", threads=1).choices[0].library == "light"


def test_limits_of_what_was_measured():
    rows = [
        cell("deep0", "light", 1, artifact_bytes=9_000_000), cell("deep0", "heavy", 2, cosine=0.9),
        cell("deep0", "even", 3), cell("deep0", "unknown", 0.5, artifact_bytes=None),
    ]  # fmt: skip
    assert ask(rows, "deep0").choices[0].library == "unknown"
    answer = ask(rows, "deep0", size_limit_mb=5)
    # An artifact of unknown size is not known to be within the limit.
    assert [choice.library for choice in answer.choices] == ["heavy", "even"]
    assert "2 of 4 measured are not within the limits" in answer.notes
    answer = ask(rows, "deep0", size_limit_mb=5, error_limit=0.01)
    assert [choice.library for choice in answer.choices] == ["even"]
    with pytest.raises(UserError, match="nothing measured is within the limits"):
        ask(rows, "deep0", size_limit_mb=1)


def test_held_out_inputs_count_more_than_the_one_of_a_launch():
    rows = [cell("deep0", "light", 1, heldout_cosine=0.5), cell("deep0", "heavy", 2)]
    assert [choice.library for choice in ask(rows, "deep0", error_limit=0.1).choices] == ["heavy"]


def test_a_new_model_is_predicted_with_what_it_may_cost():
    for model, best in (("deep3", "light"), ("wide3", "heavy")):
        answer = ask(cells(TRAINED), model)
        first = answer.choices[0]
        assert (answer.source, first.library, first.times_best) == (PREDICTED, best, 1.0)
        assert (first.latency_ms, first.size_mb, first.error) == (None, None, None)
        assert (first.ran, first.tried) == (6, 6)
        assert answer.regret.axis == "model" and answer.regret.mean == pytest.approx(0)
        assert answer.notes == ("learned from 6 models on 1 device",)


def test_a_predictor_that_is_worse_than_the_overall_best_does_not_answer():
    """Latencies are random, so there is nothing to learn."""
    generator = random.Random(3)
    sources = set()
    for _ in range(3):
        rows = [
            cell(model, library, generator.uniform(1, 3))
            for model in TRAINED
            for library in ("light", "heavy", "even")
        ]
        stored = results(rows)
        examples = examples_of(
            stored,
            compared(stored, Question("", "", "fp32")),
            {model: graph(model) for model in TRAINED},
        )
        means = {score.strategy: score.mean for score in evaluate(examples, "model")}
        answer = ask(rows)
        assert answer.regret.mean == min(means["predictor"], means["overall best"])
        sources.add(answer.source)
    assert OVERALL in sources


def test_a_single_library_is_no_measured_answer():
    answer = ask([*cells(TRAINED), cell("deep3", "even", 1)])
    assert (answer.source, answer.choices[0].library) == (PREDICTED, "light")


def test_flagged_results_answer_only_when_asked():
    rows = cells(TRAINED, flags=["noisy"])
    with pytest.raises(UserError, match="18 results are flagged, --flagged takes them"):
        ask(rows)
    assert ask(rows, flagged=True).source == PREDICTED
    assert ask(rows, "deep0", flagged=True).source == MEASURED
    flagged_rows = [cell("deep3", name, 5.0, flags=["noisy"]) for name in ("light", "heavy")]
    answer = ask([*cells(TRAINED), *flagged_rows])
    assert answer.source == PREDICTED
    assert answer.notes[-1] == "2 results of it on host are flagged: --flagged takes them"


def test_a_new_device_is_answered_but_its_regret_is_not_known():
    phone = {"host": FACTS, "phone": FACTS | {"cores": 8}}
    answer = ask(cells(), "deep0", "phone", phone)
    assert (answer.source, answer.choices[0].library) == (PREDICTED, "light")
    assert (answer.regret.axis, answer.regret.mean, answer.regret.left_out) == ("device", None, 1)
    # The artifact is the same everywhere.
    assert answer.choices[0].size_mb == 4.0
    unknown = ask(cells(), "deep0", "phone", {"host": FACTS})
    assert any(note.startswith("nothing is known of phone") for note in unknown.notes)


def test_a_new_model_on_a_new_device_costs_what_the_worse_of_both_does():
    """Every model has a fastest library of its own, the same on both devices."""
    rates = random.Random(1)
    times = {(model, library): rates.uniform(1, 4) for model in (*DEPTHWISE, *DENSE)
             for library in ("light", "heavy", "even")}  # fmt: skip
    rows = [
        cell(*names, ms, device=device) for device in ("host", "pi") for names, ms in times.items()
    ]
    devices = {"host": FACTS, "pi": FACTS | {"cores": 2}, "phone": FACTS | {"cores": 8}}
    regret = ask(rows, "deep9", "phone", devices, lambda: graph("deep9")).regret
    by_model = ask(rows, "deep9", "host", devices, lambda: graph("deep9")).regret
    by_device = ask(rows, "deep0", "phone", devices).regret
    assert (by_model.axis, by_device.axis) == ("model", "device")
    assert regret.mean == max(by_model.mean, by_device.mean)
    single_device = ask(cells(), "deep9", "phone", devices, lambda: graph("deep9")).regret
    assert single_device.mean is None  # one device tells nothing of others


def test_what_the_device_refused_with_every_model_is_no_choice_there():
    refused = [cell(model, "light", None, status="unsupported", device="host") for model in TRAINED]
    accepted = [row for row in cells(TRAINED, device="host") if row["library"] != "light"]
    rows = [*accepted, *refused, *cells(TRAINED, device="pi")]
    devices = {"host": FACTS, "pi": FACTS | {"cores": 2}}
    choices = {device: {choice.library for choice in ask(rows, "deep3", device, devices).choices}
               for device in devices}  # fmt: skip
    assert choices == {"host": {"heavy", "even"}, "pi": {"light", "heavy", "even"}}


def test_what_the_model_refused_elsewhere_is_no_choice():
    rows = [row for row in cells() if (row["model"], row["library"]) != ("deep0", "light")]
    rows.append(cell("deep0", "light", None, status="unsupported"))
    answer = ask(rows, "deep0", "phone", {"host": FACTS, "phone": FACTS})
    assert "light" not in [choice.library for choice in answer.choices]


def test_limits_of_a_prediction():
    answer = ask(cells(TRAINED), size_limit_mb=1)
    assert answer.notes[-1].startswith("not available: whether that is within the limits")
    phone = {"host": FACTS, "phone": FACTS}
    with pytest.raises(UserError, match="nothing that runs it is within the limits"):
        ask(cells(), "deep0", "phone", phone, size_limit_mb=1)
    assert "not available" not in " ".join(
        ask(cells(), "deep0", "phone", phone, size_limit_mb=5).notes
    )


def test_threads_that_were_not_measured_are_said_to_be_extrapolated():
    assert "extrapolated" not in " ".join(ask(cells(TRAINED)).notes)
    assert "extrapolated: threads measured are 1, not 3" in ask(cells(TRAINED), threads=3).notes


def test_too_few_models_give_the_overall_best_and_say_so():
    answer = ask(cells(("deep0", "deep1", "wide0", "wide1")), graph_of=never)
    assert (answer.source, answer.regret) == (OVERALL, None)
    assert [choice.library for choice in answer.choices] == ["heavy", "even", "light"]
    assert answer.choices[1].times_best == pytest.approx(1.5 / math.sqrt(2))
    assert "4 models with two candidates that rank; 5 needed" in answer.notes[0]


def test_models_without_a_graph_are_not_enough():
    stored = results(cells(TRAINED))
    answer = recommend(
        stored, Question("deep3", "host", "fp32"), lambda names: {"deep0": graph("deep0")}, never
    )
    assert (
        answer.source == OVERALL
        and "6 models" in answer.notes[0]
        and "1 of them exported" in answer.notes[0]
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a warehouse of eight models, whose graphs are known without an environment."""
    project = make_project(tmp_path)
    project.results.mkdir()
    create(project.warehouse, models=8, libraries=3, iterations=0)
    names = ("deep0", "wide0", "deep1", "wide1", "deep2", "wide2", "deep3", "wide3")
    monkeypatch.setattr(
        Graphs, "of_models", lambda _, models: dict(zip(models, map(graph, names), strict=False))
    )
    monkeypatch.setattr(Graphs, "of_model", lambda *_: graph("deep4"))
    monkeypatch.setattr(Graphs, "of_file", lambda *_: graph("wide4"))
    return project


def printed(project, capsys, form="json", **question):
    full_question = Question(
        **{"model": "mobilenet_v2", "device": "host", "variant": "fp32", **question}
    )
    command.print_recommendation(project, full_question, form)
    text = capsys.readouterr().out
    return json.loads(text) if form == "json" else text


def test_the_answer_as_json(project, capsys):
    answer = printed(project, capsys, threads=2)
    assert (answer["schema"], answer["source"], answer["question"]["model"]) == (
        1,
        MEASURED,
        "mobilenet_v2",
    )
    latencies = [choice["latency_ms"] for choice in answer["choices"]]
    assert len(latencies) == 3 and min(latencies) == latencies[0]
    answer = printed(project, capsys, model="squeezenet1_1")
    assert answer["source"] == PREDICTED and answer["regret"]["left_out"] == 8


def test_the_answer_as_a_table(project, capsys):
    text = printed(project, capsys, "table")
    assert "mobilenet_v2 on host (cpu, 2 threads)" in text and "measured: protocol standard" in text
    text = printed(project, capsys, "table", model="squeezenet1_1")
    assert "predicted: learned from 8 models on 1 device" in text
    assert "each of 8 models left out in turn" in text and "n/a" in text
    text = printed(project, capsys, "table", model="squeezenet1_1", device="host", flagged=True)
    assert "flagged results were taken" in text


def test_the_path_of_a_file(project, capsys, tmp_path):
    (tmp_path / "my.onnx").write_bytes(b"x")
    path = str(tmp_path / "my.onnx")
    assert printed(project, capsys, model=path)["source"] == PREDICTED
    (project.models / "mine.yaml").write_text("name: mine\nsource: file\nfile: my.onnx\n")
    with duckdb.connect(str(project.warehouse)) as connection:
        connection.execute("UPDATE results SET model = 'mine' WHERE model = 'mobilenet_v2'")
    answer = printed(project, capsys, model=path)
    assert (answer["source"], answer["question"]["model"]) == (MEASURED, "mine")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"model": "mobilenet_v"}, "unknown model 'mobilenet_v'.*did you mean"),
        ({"model": "gone.onnx"}, "there is no file gone.onnx"),
        ({"device": "hosst"}, "unknown device 'hosst'.*did you mean"),
        ({"variant": "int9"}, "--variant int9: expected one of fp16, fp32, int8"),
        ({"variant": "int8"}, "nothing to choose by"),
    ],
)
def test_what_cannot_be_answered_is_one_message(project, capsys, question, message):
    with pytest.raises(UserError, match=message):
        printed(project, capsys, **question)


def test_the_evaluation(project, capsys, monkeypatch):
    question = Question("", "", variant="fp32")
    command.print_evaluation(project, question, "json")
    evaluation = json.loads(capsys.readouterr().out)
    assert [score["strategy"] for score in evaluation["model"]][-1] == "oracle"
    assert evaluation["model"][0]["left_out"] == 8 and evaluation["device"][0]["mean"] is None
    command.print_evaluation(project, question, "table")
    text, errors = capsys.readouterr()
    assert errors == ""
    assert "8 models" in text and "Leave one device out: not available, 1 device" in text
    graphs = Graphs.of_models(Graphs(project), [f"model{number}" for number in range(8)])
    monkeypatch.setattr(
        Graphs, "of_models", lambda _, models: dict(zip(models[1:], graphs.values(), strict=False))
    )
    command.print_evaluation(project, question, "table")
    text, errors = capsys.readouterr()
    assert "7 models" in text and "left out, as their graphs are not known: " in errors
    monkeypatch.setattr(Graphs, "of_models", lambda *_: {})
    with pytest.raises(UserError, match="too few data"):
        command.print_evaluation(project, question, "table")


def test_a_model_that_was_never_exported(tmp_path):
    project = make_project(tmp_path)
    with pytest.raises(UserError, match="snakemake converted --config models=vit_tiny"):
        Graphs(project).of_model("vit_tiny")
    assert Graphs(project).of_models(["vit_tiny"]) == {}
