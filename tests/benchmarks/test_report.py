"""The report from a small run; the documents in the repository agree with the stored summary."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from afterlogits.benchmarks import pictures, report, summary
from tests.benchmarks import synthetic

ROOT = Path(__file__).parents[2]
README = f"# x\n\n{report.README_MARKS[0]}\n{report.README_MARKS[1]}\n\nEnd.\n"


def run_report(folder: Path, name: str, raw: object, *arguments: str) -> int:
    (folder / name).write_text(json.dumps(raw))
    places = ["--root", str(folder), "--results", str(folder / "results")]
    return report.main([str(folder / name), *places, *arguments])


def test_a_run_becomes_a_summary_a_page_pictures_and_figures(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(README)
    slow = synthetic.pair("slow step", speedup=12.345678, readme="a slow step")
    assert run_report(tmp_path, "run.json", synthetic.raw([synthetic.pair(), slow], [synthetic.growth()])) == 0

    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert (
        "| slow step | 12.3 x transformers (11.2 - 13.6) |  | 2 read (1.82 - 2.2) | ours 1 kB, transformers 10 kB |"
        in page
    )
    assert "Some CPU, 2 cores (kind)" in page and "vLLM" in page and "asked figures" not in page
    gains = {line.split("(benchmarks/")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")}

    page = (tmp_path / "docs" / "benchmarks-asked.md").read_text()
    assert "**3 of 4 asked figures met.**" in page
    assert "| step | >= 30 x transformers | 40 | 36.4 - 44 | yes |" in page
    assert "| slow step | >= 30 x transformers | 12.3 | 11.2 - 13.6 | NO |" in page
    assert "| step | 20 | 1 ms | 4 | 2 | ours 1 kB, transformers 10 kB |" in page
    assert "| step over vocabulary | vocabulary 1,000 - 4,000 | 1 | 1.00 | 1 | 1.00 | yes |" in page
    assert "Some CPU, 2 cores (kind)" in page and "2026-11-20" in page and "torch 2.13.0" in page

    readme = (tmp_path / "README.md").read_text()
    assert "| a slow step | 12.3x faster than transformers | 2x read |" in readme
    assert readme.startswith("# x\n") and readme.endswith("End.\n")
    assert report.stray_figures(readme) == []

    linked = {line.split("(benchmarks/")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")}
    drawn = {path.name for path in (tmp_path / "docs" / "benchmarks").iterdir()}
    assert linked == {"kind-growth.svg"}
    assert linked | gains == drawn == {"kind-kernels-speedups.svg", "kind-kernels-costs.svg", "kind-growth.svg"}
    for name in drawn:
        ElementTree.parse(tmp_path / "docs" / "benchmarks" / name)
    assert len((tmp_path / "results" / "kind.json").read_text()) < 4000


def test_drift_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A figure edited by hand in the README, or a new summary without its documents."""
    (tmp_path / "README.md").write_text(README)
    raw = synthetic.raw([synthetic.pair(readme="a step")])
    assert run_report(tmp_path, "run.json", raw) == 0
    places = ["--root", str(tmp_path), "--results", str(tmp_path / "results"), "--check"]
    assert report.main(places) == 0
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text().replace("40x faster", "400x faster"))
    assert report.main(places) == 1
    assert "README.md differs from the stored summary" in capsys.readouterr().err


def test_figures_written_by_hand_are_found() -> None:
    text = f"It is 40x as fast, 3.5 x faster, 12 times faster.\n{README}It needs Python 3.10 and 2 cores, 64 x 151,936."
    assert report.stray_figures(text) == ["40x", "3.5 x faster", "12 times faster"]


def test_a_second_run_adds_to_the_first(tmp_path: Path) -> None:
    """The peers' run keeps the suite's entries; an entry measured again is replaced, and its run is named."""
    run_report(tmp_path, "run.json", synthetic.raw([synthetic.pair("a"), synthetic.pair("b")]))
    later = synthetic.raw([synthetic.pair("b", speedup=50), synthetic.pair("c", table="peers")])
    run_report(tmp_path, "peers.json", later, "--command", "make bench-peers")
    merged = summary.load(tmp_path / "results" / "kind.json")
    assert [(entry["name"], entry["run"]) for entry in merged["pairs"]] == [("a", 0), ("b", 1), ("c", 1)]
    assert [run["command"] for run in merged["runs"]] == ["make bench", "make bench-peers"]
    assert merged["pairs"][1]["speedups"]["transformers"]["median"] == 50


def test_growth_over_two_sizes_of_one_call_stays_two_entries() -> None:
    both = [synthetic.growth("spans", axis=axis) for axis in ("length", "windows")]
    first, again = (summary.summarise(synthetic.raw([], both), command="make bench") for _ in range(2))
    assert [entry["axis"] for entry in summary.merge(first, again)["growth"]] == ["length", "windows"]


def test_replace_forgets_what_was_not_measured(tmp_path: Path) -> None:
    run_report(tmp_path, "run.json", synthetic.raw([synthetic.pair("a")]))
    run_report(tmp_path, "run.json", synthetic.raw([synthetic.pair("b")]), "--replace")
    assert [entry["name"] for entry in summary.load(tmp_path / "results" / "kind.json")["pairs"]] == ["b"]


def test_bars_lie_in_the_picture_and_name_both_colour_schemes() -> None:
    rows = [synthetic.spread(0.2) | {"name": "a < b", "asked": 40, "met": False}, synthetic.spread(900) | {"name": "c"}]
    drawn = pictures.ratio_bars("title", rows)
    svg = ElementTree.fromstring(drawn)
    for rect in svg.iter("{http://www.w3.org/2000/svg}rect"):
        x, width = float(rect.get("x") or 0), float(rect.get("width") or 0)
        assert x >= 0 and x + width <= pictures.WIDTH
    assert "prefers-color-scheme: dark" in drawn and "prefers-color-scheme: light" in drawn
    assert "a &lt; b" in drawn


def test_a_flat_curve_is_drawn_flat() -> None:
    """Ten per cent over three sizes: less than a tenth of the height."""
    curve = synthetic.growth() | {"seconds": [0.001, 0.00105, 0.0011], "documented": {"time": 0, "memory": 0}}
    svg = ElementTree.fromstring(pictures.growth_curves("growth", [curve]))
    heights = [float(dot.get("cy") or 0) for dot in svg.iter("{http://www.w3.org/2000/svg}circle")]
    assert max(heights) - min(heights) < 11


def test_the_documents_of_this_repository_agree_with_the_stored_summary() -> None:
    if not summary.stored():
        pytest.skip("no summary is stored yet (make bench-report)")
    assert report.main(["--check", "--root", str(ROOT)]) == 0


def test_the_readme_has_no_figures_of_its_own() -> None:
    """Every speed figure of the README stands between the marks, where the report writes it."""
    assert report.stray_figures((ROOT / "README.md").read_text(encoding="utf-8")) == []
