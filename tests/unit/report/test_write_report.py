import dataclasses
import re

import msgspec
import numpy as np
import pytest

from hwnas.errors import RunError
from hwnas.report import write_report
from hwnas.search.front import Front
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import Candidate, ChosenRecord, CostFigure, ErrorRecord, TargetRecord
from hwnas.search.run_tables import HistoryTable
from hwnas.spaces import get_space

TARGET = TargetRecord("cpu", "0123456789abcdef", "a processor", 1)
SPACE = get_space("mbconv-digits")


def history(metrics=("latency_s",), n=60):
    rng = np.random.default_rng(0)
    population = SPACE.sample(n, rng)
    costs = rng.uniform(1e-3, 3e-3, (n, len(metrics)))
    violation = np.maximum(0.0, costs[:, 0] / 2e-3 - 1.0)
    error = np.where(violation > 0, np.nan, rng.uniform(0.05, 0.2, n))
    generation = np.zeros(n, np.int32)
    return HistoryTable(generation, population, error, costs, metrics, violation)


def chosen_of(table, row, **changes):
    architecture = SPACE.architecture(table.population[row])
    latency = float(table.costs[row, 0])
    predicted = {"latency_s": CostFigure(latency, "modelled")}
    measured = {
        "latency_s": CostFigure(1.1 * latency, "measured", 1.05 * latency, 1.2 * latency, 1e-5, 40)
    }
    record = ChosenRecord(
        "knee",
        list(architecture.indices),
        dict(SPACE.options(architecture)),
        predicted,
        measured,
        {"latency_s": 2e-3},
        True,
        ErrorRecord(0.04, 0.05, 270, 360),
        [Candidate(list(architecture.indices), predicted, measured, True)] * 2,
    )
    return msgspec.structs.replace(record, **changes)


def new_run(folder, **arguments):
    arguments = {"space": "mbconv-digits", "latency_s": "2ms", **arguments}
    return RunDirectory.create(
        folder, arguments, target=TARGET, seed=1, provenance={"latency_s": "modelled"}
    )


def fill(run, metrics=("latency_s",)):
    table = history(metrics)
    objectives = np.stack((table.error, table.costs[:, 0]), axis=1)
    front = Front.of(table.population, objectives, table.violation, ("error", "latency_s"))
    rows = [
        int(np.flatnonzero((table.population == member).all(1))[0]) for member in front.population
    ]
    run.write_history(table)
    run.write_front(front, dict(zip(metrics, table.costs[rows].T, strict=True)))
    run.write_chosen(chosen_of(table, rows[front.pick("knee")]))
    run.add_timing("search", 1.25)
    run.finish()
    return table


@pytest.fixture
def run(tmp_path):
    made = new_run(tmp_path / "run")
    fill(made)
    return made


def read(path):
    return path.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_refers_to_nothing_outside(run, parse):
    text = read(write_report(run))

    page = parse(text)
    assert page.open == []
    assert all(reference.startswith("#") for reference in page.references)
    assert len(page.ids) == len(set(page.ids))
    for word in ("http://", "https://", "<script", "@import", "url(//", "src="):
        assert word not in text


def test_the_page_tells_what_was_asked_and_what_was_found(run, parse):
    words = " ".join(parse(read(write_report(run))).words.replace("\xa0", " ").split())

    for wanted in (
        "mbconv-digits on cpu",
        "latency ≤ 2 ms",
        "60 architectures were evaluated",
        "Budget kept (measured)",
        "95.00 %",
        "360",
        "40 runs",
        "+10.0 %",
        "measured",
        "modelled",
        "0123456789abcdef",
        "1.25 s",
        "onnxruntime",
        "left out",
    ):
        assert wanted in words


def test_the_page_is_accessible(run, parse):
    page = parse(read(write_report(run)))

    assert ("html", {"lang": "en"}) in page.tags
    captions = sum(tag == "caption" for tag, _ in page.tags)
    assert captions == sum(tag == "table" for tag, _ in page.tags)
    figures = [a for tag, a in page.tags if tag == "div" and a.get("role") == "img"]
    assert len(figures) == sum(tag == "figcaption" for tag, _ in page.tags) == 2
    for attributes in page.tags:
        for name in attributes[1].get("aria-labelledby", "").split():
            assert name in page.ids


def test_energy_and_memory_have_a_plot_each_where_they_are_there(tmp_path, parse):
    run = new_run(tmp_path / "run")
    fill(run, ("latency_s", "energy_j", "memory_bytes"))

    words = parse(read(write_report(run))).words

    assert "Error against predicted energy" in words
    assert "Error against predicted peak memory" in words


HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}$x^2$"


def test_names_from_the_run_are_escaped(tmp_path, parse):
    target = TargetRecord(HOSTILE, HOSTILE, HOSTILE, 1)
    run = RunDirectory.create(
        tmp_path / "run", {"space": HOSTILE, HOSTILE: [HOSTILE]}, target=target, seed=1
    )
    table = dataclasses.replace(history(), metrics=(HOSTILE,))
    run.write_history(table)
    figures = {HOSTILE: CostFigure(1.0, "measured", 0.9, 1.1)}
    run.write_chosen(
        chosen_of(
            table,
            0,
            pick=HOSTILE,
            options={HOSTILE: HOSTILE},
            predicted=figures,
            measured=figures,
            budgets={HOSTILE: 2.0},
        )
    )
    run.write_front(Front.of(table.population[:1], [[1.0]], None, (HOSTILE,)), {HOSTILE: [1.0]})
    run.add_timing(HOSTILE, 1.0)

    text = read(write_report(run))

    assert "<script" not in text
    page = parse(text)
    assert page.open == []
    assert page.words.count(HOSTILE) >= 8


def test_a_run_that_has_just_started_is_reported(tmp_path, parse):
    page = parse(read(write_report(new_run(tmp_path / "run"))))

    assert "Run not finished" in page.words
    assert "No network chosen yet" in page.words
    assert not any(tag == "svg" for tag, _ in page.tags)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_short_history_is_reported(tmp_path, rows, parse):
    run = new_run(tmp_path / "run")
    table = history()
    parts = {
        field.name: getattr(table, field.name)[:rows]
        for field in dataclasses.fields(table)
        if field.name != "metrics"
    }
    run.write_history(HistoryTable(**parts, metrics=table.metrics))

    assert parse(read(write_report(run))).open == []


def test_a_history_without_errors_is_reported_without_plots(tmp_path, parse):
    run = new_run(tmp_path / "run")
    table = history()
    run.write_history(dataclasses.replace(table, error=np.full(len(table), np.nan)))

    assert not any(tag == "svg" for tag, _ in parse(read(write_report(run))).tags)


def test_numbers_that_are_not_known_are_called_so(tmp_path, parse):
    run = new_run(tmp_path / "run")
    figure = CostFigure(None, "modelled")
    run.write_chosen(
        chosen_of(history(), 0, predicted={"latency_s": figure}, measured={}, error=ErrorRecord())
    )

    words = parse(read(write_report(run))).words

    assert "not known" in words
    assert "not measured" in words


def test_a_broken_budget_is_said(run, parse):
    run.write_chosen(msgspec.structs.replace(run.read_chosen(), budget_kept=False))

    assert "Budget not kept" in parse(read(write_report(run))).words


def test_a_network_that_was_not_measured_again_says_why(run):
    before = read(write_report(run))
    reason = "published table (no tracker <is> named)"
    run.write_chosen(msgspec.structs.replace(run.read_chosen(), measured={}, not_measured=reason))

    page = read(write_report(run))

    assert "Not re-measured" not in before
    assert "Not re-measured</strong>: published table (no tracker &lt;is&gt; named)" in page


def test_a_large_history_gives_a_page_of_bounded_size(tmp_path):
    run = new_run(tmp_path / "run")
    rng = np.random.default_rng(0)
    n = 50_000
    run.write_history(
        HistoryTable(
            np.zeros(n, np.int32),
            SPACE.sample(n, rng),
            rng.random(n),
            rng.random((n, 1)),
            ("latency_s",),
            np.zeros(n),
        )
    )

    assert write_report(run).stat().st_size < 8 << 20


def test_a_long_front_is_cut_and_the_cut_is_said(tmp_path, parse):
    run = new_run(tmp_path / "run")
    x = np.linspace(0.1, 0.9, 250)
    front = Front.of(SPACE.sample(250, np.random.default_rng(0)), np.stack((x, 1 - x), 1), None,
                     ("error", "latency_s"))  # fmt: skip
    run.write_front(front, {"latency_s": front.objectives[:, 1]})

    assert "The first 200 of 250 members" in parse(read(write_report(run))).words


def test_the_same_run_gives_the_same_page(run, tmp_path):
    first = read(write_report(run, tmp_path / "a.html"))
    second = read(write_report(run, tmp_path / "deep" / "b.html"))

    assert first == second
    assert not re.search(r"\.part", "".join(file.name for file in tmp_path.iterdir()))


def test_a_malformed_run_is_a_run_error(run):
    (run.path / "front.csv").write_text("nonsense")

    with pytest.raises(RunError, match=r"front\.csv is malformed"):
        write_report(run)


def test_a_page_that_cannot_be_written_is_a_run_error(run, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RunError, match="cannot write the report"):
        write_report(run, tmp_path / "file" / "report.html")
