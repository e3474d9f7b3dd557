import re

import msgspec
import numpy as np
import pytest

from hwnas.cosearch.design_record import (
    DesignRecord,
    NetworkRecord,
    ScheduledLayer,
    SubAcceleratorRecord,
    write_design,
)
from hwnas.errors import RunError
from hwnas.report import write_report
from hwnas.search.front import Front
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import TargetRecord
from hwnas.search.run_tables import HistoryTable

TARGET = TargetRecord("accelerator", "0123456789abcdef", "chips", 1)
METRICS = ("latency_s", "energy_j", "area_mm2", "latency_cycles", "error_resnet9", "error_unet",
           "reward")  # fmt: skip
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}$x^2$"
LAYERS = (
    ("resnet9", "stem/conv", "sub1", 0, 300_000, 0.25, 0.5),
    ("unet", "level1/first", "sub2", 0, 200_000, 0.125, 0.25),
    ("resnet9", "stage1/add", "sub2", 300_000, 300_400, 0.0, 1e-5),
    ("resnet9", "classifier/classifier", "sub1", 300_400, 700_000, 0.75, 0.24999),
)


def design(**changes):
    networks = [
        NetworkRecord("resnet9", "resnet9", [0] * 7, {"stem.filters": 8}, 0.5, "accuracy",
                      0.25, 0.3, "measured"),
        NetworkRecord("unet", "unet", [0] * 6, {"height": 1}, 0.5, "IoU", 0.125, None, "measured"),
    ]  # fmt: skip
    hardware = [
        SubAcceleratorRecord("sub1", "dla", 1664, 48, 1500.0, 699_600.0, 0.999, 0.5),
        SubAcceleratorRecord("sub2", "shi", 128, 16, 12.5, 200_400.0, 0.286, 0.1),
    ]
    schedule = [
        ScheduledLayer(network, layer, sub, float(start), float(end), share, energy)
        for network, layer, sub, start, end, share, energy in LAYERS
    ]
    record = DesignRecord(
        strategy="nasaic",
        technology="maestro2020",
        clock_hz=1e9,
        architecture=[0, 1, 2],
        networks=networks,
        hardware=hardware,
        schedule=schedule,
        weighted_error=0.1875,
        latency_cycles=700_000.0,
        latency_s=7e-4,
        energy_j=1.0,
        area_mm2=1512.5,
        specs={"latency_cycles": 8e5, "energy_j": 2.0, "area_mm2": 4000.0},
        specs_met=True,
        missed={},
        energy_gap=0.0,
        latency_gap=None,
    )
    return msgspec.structs.replace(record, **changes)


def history(n=60, rewards=True):
    rng = np.random.default_rng(0)
    cycles = rng.uniform(1e5, 2e7, n)
    cycles[0] = np.inf
    rewarded = rng.random(n) if rewards else np.full(n, np.nan)
    amounts = [rng.uniform(0.1, 5.0, n), rng.uniform(10, 9000, n), cycles]
    costs = [cycles * 1e-9, *amounts, rng.random(n), rng.random(n), rewarded]
    violation = np.maximum(0.0, cycles / 8e5 - 1.0)
    error = np.where(violation > 0, np.nan, rng.uniform(0.05, 0.2, n))
    population = rng.integers(0, 3, (n, 3)).astype(np.uint8)
    steps = np.arange(n, dtype=np.int32) // 2
    return HistoryTable(steps, population, error, np.stack(costs, 1), METRICS, violation)


def new_run(folder, **arguments):
    arguments = {"command": "cosearch", "spaces": ["resnet9", "unet"], "hardware": "accelerator",
                 "technology": "maestro2020", "strategy": "nasaic", "spec": "latency=8e5cycles",
                 **arguments}  # fmt: skip
    origins = {"error": "measured", "error_unet": "measured", "latency_s": "modelled"}
    return RunDirectory.create(folder, arguments, target=TARGET, seed=1, provenance=origins)


def fill(run, **changes):
    write_design(run.path / "chosen.json", design(**changes))
    table = history()
    run.write_history(table)
    met = np.flatnonzero(table.violation <= 0)
    objectives = np.stack((table.error, table.costs[:, 1]), 1)[met]
    front = Front.of(table.population[met], objectives, None, ("error", "energy_j"))
    costs = np.zeros((len(front), len(METRICS) - 1))
    run.write_front(front, dict(zip(METRICS[:-1], costs.T, strict=True)))
    run.finish()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The page of a finished run."""
    made = new_run(tmp_path_factory.mktemp("cosearch") / "run")
    fill(made)
    return read(write_report(made))


def read(path):
    return path.read_text(encoding="utf-8")


def words_of(page):
    return " ".join(page.words.replace("\xa0", " ").split())


def test_the_page_is_well_formed_and_refers_to_nothing_outside(text, parse):
    page = parse(text)
    assert page.open == []
    assert all(reference.startswith("#") for reference in page.references)
    assert len(page.ids) == len(set(page.ids))
    for word in ("http://", "https://", "<script", "@import", "url(//", "src="):
        assert word not in text


def test_the_page_tells_specs_networks_chip_and_schedule(text, parse):
    words = words_of(parse(text))

    for wanted in (
        "resnet9, unet on accelerator",
        "latency ≤ 800 kcycles and energy ≤ 2 J and area ≤ 4000 mm²",
        "Specs met (modelled)",
        "700 kcycles",
        "700 us",
        "87.5 %",
        "in units of the technology maestro2020",
        "75.00 %",
        "IoU",
        "weight-stationary (dla)",
        "1,664",
        "2 of resnet9",
        "1 of resnet9, 1 of unet",
        "no schedule of this design within the latency spec takes less energy",
        "stage1/add",
        "<0.1 %",
        "All 4 layers",
        "Energy against latency",
        "Area against latency",
        "Progress of the search",
        "Error of unet",
        "0123456789abcdef",
    ):
        assert wanted in words


def test_the_chart_has_a_bar_for_each_layer_that_says_what_it_is(text):
    chart = text[text.index('aria-labelledby="gantt') :]
    chart = chart[: chart.index("</svg>")].replace("\xa0", " ")
    assert chart.count("<rect") == len(LAYERS)
    assert (
        "<title>unet level1/first on sub2: 0 cycles to 200 kcycles, utilisation 12.50 %, 250 mJ"
        in chart
    )
    assert chart.count("fill: var(--series1)") == 3
    assert "spec, 800 kcycles" in chart


def test_the_page_is_accessible(text, parse):
    page = parse(text)

    captions = sum(tag == "caption" for tag, _ in page.tags)
    assert captions == sum(tag == "table" for tag, _ in page.tags)
    images = [a for tag, a in page.tags if tag == "div" and a.get("role") == "img"]
    assert len(images) == sum(tag == "figcaption" for tag, _ in page.tags) == 4
    for _, attributes in page.tags:
        for name in attributes.get("aria-labelledby", "").split():
            assert name in page.ids


def test_names_from_the_run_are_escaped(tmp_path, parse):
    run = new_run(tmp_path / "run", spaces=[HOSTILE], hardware=HOSTILE, technology=HOSTILE)
    layer = ScheduledLayer(HOSTILE, HOSTILE, HOSTILE, 0.0, 1e6, 0.5, 1.0)
    fill(
        run,
        strategy=HOSTILE,
        technology=HOSTILE,
        networks=[NetworkRecord(HOSTILE, HOSTILE, [0], {HOSTILE: HOSTILE}, 1.0, HOSTILE, 0.1, 0.2,
                                "measured")],
        hardware=[SubAcceleratorRecord(HOSTILE, HOSTILE, 1, 1, 1.0, 1.0, 1.0, 1.0)],
        schedule=[layer],
    )  # fmt: skip

    text = read(write_report(run))

    assert "<script" not in text
    page = parse(text)
    assert page.open == []
    assert page.words.count(HOSTILE) >= 10


def test_a_run_that_has_just_started_is_reported(tmp_path, parse):
    page = parse(read(write_report(new_run(tmp_path / "run"))))

    words = words_of(page)
    assert "Run not finished" in words
    assert "No design chosen yet" in words
    assert "latency=8e5cycles" in words
    assert not any(tag == "svg" for tag, _ in page.tags)


def test_a_design_that_cannot_run_is_said(tmp_path, parse):
    run = new_run(tmp_path / "run")
    fill(
        run,
        latency_cycles=None,
        latency_s=None,
        energy_j=None,
        specs_met=False,
        missed={"latency_cycles": None, "energy_j": None},
        schedule=[],
        energy_gap=None,
    )

    words = words_of(parse(read(write_report(run))))

    assert "Specs not met" in words
    assert "cannot run" in words
    assert "What runs where" not in words


def test_a_gap_is_told_as_what_another_schedule_could_save(tmp_path, parse):
    run = new_run(tmp_path / "run")
    fill(run, energy_gap=0.031)

    words = words_of(parse(read(write_report(run))))

    assert "could take at most 3.1 % less energy" in words


def test_a_strategy_without_rewards_has_a_panel_less(tmp_path, parse):
    run = new_run(tmp_path / "run", strategy="nsga2")
    run.write_history(history(rewards=False))

    words = words_of(parse(read(write_report(run))))

    assert "Designs evaluated" in words
    assert "Reward " not in words


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_short_history_is_reported(tmp_path, parse, rows):
    run = new_run(tmp_path / "run")
    run.write_history(history(rows) if rows else cut(history(1), 0))

    assert parse(read(write_report(run))).open == []


def cut(table, rows):
    return HistoryTable(table.generation[:rows], table.population[:rows], table.error[:rows],
                        table.costs[:rows], table.metrics, table.violation[:rows])  # fmt: skip


def test_a_very_long_schedule_gives_a_page_of_bounded_size(tmp_path, parse):
    run = new_run(tmp_path / "run")
    layers = [
        ScheduledLayer("unet", f"block{i}/conv", "sub1", 100.0 * i, 100.0 * i + 100, 0.5, 1e-3)
        for i in range(20_000)
    ]
    fill(run, schedule=layers)

    path = write_report(run)

    assert path.stat().st_size < 4 << 20
    words = words_of(parse(read(path)))
    assert "The first 500 of 20000 layers" in words
    assert "The first 2000 layers are drawn" in words


def test_a_record_of_another_kind_is_refused(tmp_path):
    run = new_run(tmp_path / "run")
    (run.path / "chosen.json").write_text('{"schema": 1, "kind": "other"}')

    with pytest.raises(RunError):
        write_report(run)


def test_the_same_run_gives_the_same_page(text, tmp_path):
    run = new_run(tmp_path / "run")
    fill(run)

    again = read(write_report(run))

    created = r"<dd>\d{4}-\d\d-\d\dT[^<]*</dd>"
    assert re.sub(created, "", again) == re.sub(created, "", text)


def test_labels_of_logarithmic_axes_are_plain_numbers(text):
    assert "mathdefault" not in text
    assert "\u2212" not in text[: text.index("Progress of the search")]
