"""The regression gate trips on what is worse beyond the noise, and on nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from afterlogits.benchmarks import gate, summary
from tests.benchmarks import synthetic


def summarised(*pairs: dict[str, Any], growths: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return summary.summarise(synthetic.raw(list(pairs), growths), command="make bench")


def run_of(*pairs: dict[str, Any]) -> gate.Run:
    return gate.Run(summarised(*pairs), gate.tests_of(synthetic.raw(list(pairs))))


def test_equal_runs_pass() -> None:
    assert gate.compare(summarised(synthetic.pair()), summarised(synthetic.pair())) == []


def test_noise_within_the_bound_passes_and_a_slower_implementation_does_not() -> None:
    """Spread q3/q1 = 1.21, times 1.5: a speed-up of 40 may fall to 22.04."""
    stored = summarised(synthetic.pair(speedup=40))
    assert gate.compare(stored, summarised(synthetic.pair(speedup=23))) == []
    (found,) = gate.compare(stored, summarised(synthetic.pair(speedup=21)))
    assert str(found) == "step: speed-up over transformers was 40, is 21; the bound is 22"


def test_a_higher_cost_trips_and_a_lower_one_does_not() -> None:
    """2 x read may rise to 2 * 1.5 * 1.21 = 3.63."""
    stored = summarised(synthetic.pair(cost=2))
    assert gate.compare(stored, summarised(synthetic.pair(cost=0.5))) == []
    assert gate.compare(stored, summarised(synthetic.pair(cost=3.5))) == []
    (found,) = gate.compare(stored, summarised(synthetic.pair(cost=3.8)))
    assert found.what == "time over read"


def test_a_noisier_run_has_wider_bounds() -> None:
    """Quartiles of a factor 2 around the median: q3/q1 = 4, so 40 may fall to 40 / 6."""
    stored = summarised(synthetic.pair(speedup=40))
    noisy = synthetic.pair() | {"speedups": {"transformers": synthetic.spread(10, width=2)}}
    assert gate.compare(stored, summarised(noisy)) == []


def test_memory_trips_at_a_quarter_more_than_stored_and_a_megabyte() -> None:
    stored = summarised(synthetic.pair(peak=8 << 20))
    assert gate.compare(stored, summarised(synthetic.pair(peak=9 << 20))) == []
    (found,) = gate.compare(stored, summarised(synthetic.pair(peak=11 << 20)))
    assert found.what == "peak bytes"


def test_new_and_dropped_entries_are_left_out() -> None:
    assert gate.compare(summarised(synthetic.pair("old")), summarised(synthetic.pair("new", speedup=1))) == []


def test_growth_beyond_the_documented_cost_is_named() -> None:
    measured = summarised(synthetic.pair(), growths=[synthetic.growth(exponent=2.0)])
    assert gate.growth_failures(measured) == [
        "step over vocabulary: grows with vocabulary as 2.00 in time and 1.00 in memory; documented 1 and 1"
    ]


def store(folder: Path, *pairs: dict[str, Any]) -> None:
    stored = summarised(*pairs)
    stored["machine"]["kind"] = summary.machine()["kind"]
    summary.save(stored, folder)


@pytest.mark.parametrize(("second", "status"), [(10.0, 1), (40.0, 0)])
def test_only_what_is_worse_twice_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: float, status: int
) -> None:
    store(tmp_path, synthetic.pair(speedup=40))
    runs = iter([run_of(synthetic.pair(speedup=10)), run_of(synthetic.pair(speedup=second))])
    monkeypatch.setattr(gate, "measure", lambda arguments: next(runs))
    assert gate.main(["--results", str(tmp_path)]) == status


def test_the_second_time_what_is_worse_is_measured_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path, synthetic.pair(speedup=40), synthetic.pair("other", speedup=40))
    asked: list[list[str]] = []

    def measure(arguments: list[str]) -> gate.Run:
        asked.append(arguments)
        return run_of(synthetic.pair(speedup=10), synthetic.pair("other", speedup=40))

    monkeypatch.setattr(gate, "measure", measure)
    assert gate.main(["--results", str(tmp_path), "--threads=1"]) == 1
    assert asked == [["--threads=1"], ["--threads=1", "--only=bench[step]"]]


def test_every_kind_of_entry_knows_its_test() -> None:
    cell = {"filter": "none", "vocab_size": 1000, "batch_size": 1, "dtype": "float32", "spread": 1}
    raw = synthetic.raw([synthetic.pair()], [synthetic.growth(exponent=2.0)])
    raw["benchmarks"].append({"name": "bench_grid", "extra_info": {"grid": [cell | {"stream": 0.5, "seeds": 4.0}]}})
    measured = summary.summarise(raw, command="make bench")
    suspects = {text: text for text in [*gate.growth_failures(measured), *gate.below(measured["grid"])]}
    assert gate.once_more(suspects, gate.tests_of(raw)) == ["--only=bench[step over vocabulary]", "--only=bench_grid"]


def test_growth_is_measured_again_against_what_it_was_worse_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Entries against several sizes share their name: neither test nor failure may stand for another's."""
    store(tmp_path, synthetic.pair())
    growths = [synthetic.growth(axis=axis, exponent=1.5) for axis in ("rows", "vocabulary", "classes")]
    growths[2]["met"] = True
    raw = synthetic.raw([synthetic.pair()], growths)
    for entry in raw["benchmarks"][1:]:
        entry["name"] = f"bench_growth[{entry['extra_info']['growth']['axis']}]"
    asked: list[list[str]] = []

    def measure(arguments: list[str]) -> gate.Run:
        asked.append(arguments)
        return gate.Run(summary.summarise(raw, command="make bench"), gate.tests_of(raw))

    monkeypatch.setattr(gate, "measure", measure)
    assert gate.main(["--results", str(tmp_path)]) == 1
    assert asked == [[], ["--only=bench_growth[rows]", "--only=bench_growth[vocabulary]"]]


def test_without_a_summary_the_gate_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as refusal:
        gate.main(["--results", str(tmp_path)])
    assert str(refusal.value) == f"no summary is stored in {tmp_path}: run `make bench-report`"


def test_another_kind_of_machine_doubles_the_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary.save(summarised(synthetic.pair(speedup=40)), tmp_path)  # kind "kind", which no machine is
    monkeypatch.setattr(gate, "measure", lambda arguments: run_of(synthetic.pair(speedup=12)))
    assert gate.main(["--results", str(tmp_path)]) == 0
    assert "bounds doubled" in capsys.readouterr().out
    assert json.loads((tmp_path / "kind.json").read_text())["pairs"][0]["name"] == "step"
