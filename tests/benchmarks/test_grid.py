"""The grid: which cells it has, its verdicts, its picture, and its place in the stored summary and the gate."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from afterlogits.benchmarks import gate, grid, summary
from afterlogits.benchmarks.answers import UnequalAnswers
from afterlogits.benchmarks.heat_map import heat_map
from tests.benchmarks import synthetic


def record(stream: float = 2.0, seeds: float = 9.0, **changes) -> dict:
    cell = {"vocab_size": 1000, "batch_size": 4, "spread": 1.0, "filter": "top-p .9", "dtype": "float32"}
    return {**cell, "threads": 2, "milliseconds": 1.0, "stream": stream, "seeds": seeds, **changes}


def raw(*cells: dict) -> dict:
    run = synthetic.raw([synthetic.pair()])
    run["benchmarks"].append({"extra_info": {"grid": list(cells)}})
    return run


# golden


def test_the_bounded_grid_meets_every_vocabulary_spread_and_filter_once() -> None:
    """6 * 9 * 8 cells; every vocabulary takes part with every batch that fits, and both dtypes with every filter."""
    cells = list(grid.bounded_cells())
    places = {(cell.vocab_size, cell.spread, cell.filter) for cell in cells}
    assert len(cells) == len(places) == 6 * 9 * 8
    assert len(list(grid.every_cell())) == 6 * 5 * 9 * 8 * 2
    fits = {(v, b) for v in grid.VOCABULARIES for b in grid.BATCHES if v * b <= grid.LARGEST}
    assert {(cell.vocab_size, cell.batch_size) for cell in cells} == fits
    assert {(cell.filter, cell.dtype) for cell in cells} == {
        (f, d) for f in grid.FILTERS for d in ("float32", "bfloat16")
    }


def test_rows_of_a_mixed_batch_are_dealt_their_options_in_turn() -> None:
    options = grid.Cell(1000, 5, 1.0, "mixed rows", "float32").options()
    assert options == {
        "top_k": [50, 0, 0, 40, 50],
        "top_p": [1.0, 0.9, 1.0, 0.95, 1.0],
        "min_p": [0.0, 0.0, 0.05, 0.0, 0.0],
        "temperature": [1.0, 1.0, 1.0, 0.7, 1.0],
    }


def test_what_is_below_the_floor_is_named() -> None:
    found = grid.lines([record(), record(stream=0.5, spread="model")])
    assert found[0] == "stream: 2 cells, median 1.25 x faster (asked 1.5), least 0.5 (asked 0.95), most 2"
    assert found[2:] == [
        "top-p .9, stream, V=1,000, B=4, float32, spread model: 0.5 x transformers' speed, the floor is 0.95"
    ]


def test_the_picture_shows_the_least_ratio_of_a_place() -> None:
    svg = heat_map("grid", [record(stream=3.0), record(stream=0.7, batch_size=8), record(spread="model")], "stream")
    root = ElementTree.fromstring(svg)
    shown = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "ratio"]
    assert shown == ["0.7", "2"]


# the summary and the gate


def test_a_stored_grid_stays_until_another_is_measured(tmp_path: Path) -> None:
    first = summary.summarise(raw(record(stream=1.0)), command="make bench")
    path = summary.save(first, tmp_path)
    assert summary.load(path)["grid"] == first["grid"]
    without = summary.summarise(synthetic.raw([synthetic.pair()]), command="make bench")
    assert [cell["stream"] for cell in summary.merge(first, without)["grid"]] == [1.0]
    again = summary.merge(first, summary.summarise(raw(record(stream=4.0)), command="make bench"))
    assert [(cell["stream"], again["runs"][cell["run"]]["command"]) for cell in again["grid"]] == [(4.0, "make bench")]


def test_the_gate_fails_below_the_floor() -> None:
    stored = summary.summarise(raw(record()), command="make bench")
    slow = summary.summarise(raw(record(seeds=0.9)), command="make bench")
    assert gate._failures(stored, stored, 1.5) == {}
    (text,) = gate._failures(stored, slow, 1.5).values()
    assert text.endswith("0.9 x transformers' speed, the floor is 0.95")


# a run


def test_a_cell_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of filter at a small size: the answers are compared, and wrong ones are not timed."""
    for name in grid.FILTERS:
        measured = grid.measure(grid.Cell(600, 5, 1.0, name, "bfloat16"), rounds=1, least_seconds=0.0)
        assert measured["stream"] > 0 and measured["seeds"] > 0
    monkeypatch.setattr(grid, "sample", lambda logits, **_: logits.argmin(-1))
    with pytest.raises(UnequalAnswers):
        grid.measure(grid.Cell(600, 5, 1.0, "none", "float32"))
