"""Published tables, from the file to a search without a device."""

import csv
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from hwnas.costs import CostTable
from hwnas.errors import TableError
from hwnas.pipeline.importing import import_table
from hwnas.pipeline.profiling import costs_of
from hwnas.pipeline.requests import Limit, SearchRequest
from hwnas.pipeline.searching import search
from hwnas.pipeline.summary import run_summary
from hwnas.profiling import profile_space
from hwnas.spaces import get_space
from hwnas.spaces.fbnet import OPERATORS
from hwnas.targets import get_target

PUBLISHED = "fbnet/latency.npz"


@pytest.fixture
def table(tmp_path):
    with CostTable(tmp_path / "costs.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def space():
    return get_space("mbconv-digits")


@pytest.fixture
def blocks(tmp_path, space):
    """A file with a latency of every choice of every block: 1 ms for each of its operators."""
    path = tmp_path / "board.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("block", "choice", "latency_ms"))
        for index, block in enumerate(space.blocks):
            for number, choice in enumerate(space.slots(index)):
                fragment = space.fragment(index, choice)
                if not fragment.is_empty:
                    writer.writerow((block.name, number, len(fragment.graph.nodes)))
    return path


@pytest.fixture(scope="module")
def published():
    root = Path(
        os.environ.get("HWNAS_PUBLISHED_DATA") or Path(__file__).parents[4] / "shared/data"
    )
    if not (root / PUBLISHED).is_file():
        pytest.skip(f"no {PUBLISHED}; set HWNAS_PUBLISHED_DATA")
    with np.load(root / PUBLISHED, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def test_what_was_exported_is_imported_with_its_provenance(tmp_path, table, space):
    path = tmp_path / "rows.csv"
    profile_space(space, get_target("simulated"), table, rng=np.random.default_rng(0))
    rows = table.export(path)
    with CostTable(tmp_path / "other.sqlite") as other:
        first = import_table(path, other)
        again = import_table(path, other)

        assert (first.kind, first.rows, again.rows) == ("rows", rows, 0)
        assert list(other.rows()) == list(table.rows())


def test_an_older_row_does_not_replace_a_newer_one(tmp_path, table, space):
    path, older = tmp_path / "rows.csv", tmp_path / "older.csv"
    profile_space(space, get_target("simulated"), table, rng=np.random.default_rng(0))
    table.export(path)
    text = path.read_text()
    older.write_text(text.replace(",20", ",19"))  # the year, a century earlier

    assert older.read_text() != text
    assert import_table(older, table).rows == 0


def test_blocks_become_published_rows_that_costs_are_compiled_from(blocks, table, space):
    target = get_target("raspberry_pi_4")

    summary = import_table(blocks, table, target=target, space=space, source="a paper")
    costs = costs_of(space, target, table)

    assert summary.published == summary.rows == summary.blocks
    assert costs.source.runtime == summary.source == "published: a paper"
    assert costs.provenance == ("published", "modelled", "modelled")
    assert costs.calibration[0].networks == 0
    smallest = space.network(space.smallest())
    nodes = sum(node.op_type != "Identity" for node in smallest.nodes)
    latency = costs.cost(space.smallest().row()[None])[0, 0]
    assert latency == pytest.approx(1e-3 * nodes)


def test_costs_of_the_targets_own_runtime_come_first(blocks, table, space):
    target = get_target("simulated")
    import_table(blocks, table, target=target, space=space)
    published = costs_of(space, target, table)
    profile_space(space, target, table, rng=np.random.default_rng(0))

    own = costs_of(space, target, table)

    assert published.source.runtime == "published: board"
    assert own.source.runtime == "roofline 1"


def test_a_table_of_some_blocks_says_how_many(blocks, table, space):
    lines = blocks.read_text().splitlines()
    blocks.write_text("\n".join(lines[:10]) + "\n")

    summary = import_table(blocks, table, target=get_target("raspberry_pi_4"), space=space)

    assert 0 < summary.rows < summary.blocks


@pytest.mark.parametrize("given", [{}, {"target": "raspberry_pi_4"}, {"space": "mbconv-digits"}])
def test_blocks_need_a_target_and_a_space(blocks, table, given):
    arguments = {
        name: get_target(value) if name == "target" else get_space(value)
        for name, value in given.items()
    }

    with pytest.raises(TableError, match="a table of blocks: give --target and --space"):
        import_table(blocks, table, **arguments)


@pytest.mark.parametrize("source", ["a\nb", "=1", "x" * 101, " "])
def test_a_source_is_a_plain_name(blocks, table, space, source):
    with pytest.raises(TableError, match="names no source"):
        import_table(blocks, table, target=get_target("simulated"), space=space, source=source)


def test_a_search_on_a_published_table_needs_no_device(
    tmp_path, blocks, table, space, monkeypatch
):
    monkeypatch.delenv("HWNAS_TRACKER", raising=False)
    import_table(blocks, table, target=get_target("raspberry_pi_4"), space=space)
    request = SearchRequest(
        "mbconv-digits",
        "raspberry_pi_4",
        limits=(Limit("latency_s", 0.8, is_share=True),),
        estimator="synthetic",
        evaluations=80,
    )

    run = search(request, tmp_path / "run", table)
    chosen = run.read_chosen()
    _, text = run_summary(run)

    assert chosen.not_measured.startswith("published table")
    assert chosen.measured == {}
    assert chosen.budget_kept
    assert chosen.predicted["latency_s"].provenance == "published"
    assert "not re-measured: published table" in text
    assert json.loads((run.path / "run.json").read_text())["state"] == "finished"


def write_networks(path, published, device):
    """The published networks as a table that `hwnas table import` takes."""
    column = published["devices"].tolist().index(device)
    with gzip.open(path, "wt", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("arch", "latency_ms"))
        for codes, ms in zip(published["arch"], published["latency_ms"][:, column], strict=True):
            writer.writerow((" ".join(OPERATORS[code] for code in codes), f"{ms:.7g}"))


def test_the_codes_of_the_published_networks_are_the_operators_in_order(published):
    assert tuple(published["ops"].tolist()) == OPERATORS


def test_the_published_raspberry_pi_networks_are_sums_of_blocks(tmp_path, published, table):
    path = tmp_path / "hw-nas-bench.csv.gz"
    write_networks(path, published, "raspi4")
    space, target = get_space("fbnet-cifar"), get_target("raspberry_pi_4")

    summary = import_table(path, table, target=target, space=space, source="HW-NAS-Bench v1.0")
    costs = costs_of(space, target, table)

    assert summary.fit.networks == len(published["arch"])
    assert summary.fit.w10 == summary.fit.left_out_w10 == 1.0
    assert summary.fit.left_out_error < 1e-3
    assert summary.modelled == 0
    rows = np.array(
        [
            [
                decision.options.index(OPERATORS[code])
                for decision, code in zip(space.decisions, codes, strict=True)
            ]
            for codes in published["arch"][:100]
        ],
        dtype=np.uint8,
    )
    column = published["devices"].tolist().index("raspi4")
    wanted = 1e-3 * published["latency_ms"][:100, column]
    np.testing.assert_allclose(costs.cost(rows)[:, 0], wanted, rtol=1e-3)
