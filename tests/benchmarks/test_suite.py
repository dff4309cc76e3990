"""The command that runs the suite, in a process of its own as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from afterlogits.benchmarks import suite
from afterlogits.benchmarks.pairing import device_name
from afterlogits.benchmarks.summary import machine


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "afterlogits.benchmarks", str(suite.HERE / "bench_selection.py"), *arguments]
    # A suite that a user starts is no worker of the run that tests it: pytest-benchmark would stay silent.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=alone)


def test_a_selected_entry_prints_its_page_and_leaves_a_summary(tmp_path: Path) -> None:
    raw = tmp_path / "run.json"
    done = bench("--quick", "-k", "bench_part and argmax", "--threads", "1", f"--benchmark-json={raw}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch: argmax, B=8" in done.stdout and "x the time of read" in done.stdout
    written = json.loads(raw.read_text())
    (entry,) = [benchmark["extra_info"]["pair"] for benchmark in written["benchmarks"]]
    assert entry["threads"] == 1 and entry["rounds"] >= 3
    assert written["afterlogits"]["versions"]["torch"]
    # pytest-benchmark's own statistics are of our side of the pair.
    assert written["benchmarks"][0]["stats"]["median"] == pytest.approx(entry["seconds"]["ours"])


def test_the_help_is_of_this_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Not the hundreds of lines of pytest's."""
    assert suite.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: afterlogits bench [-h] [-k WORDS] [--quick]")
    assert all(name in text for name, _ in suite.OPTIONS) and len(text.splitlines()) < 30


def test_an_unknown_dtype_is_refused() -> None:
    done = bench("--quick", "-k", "bench_part and argmax", "--dtype", "float31")
    assert done.returncode != 0
    assert "--dtype must be the name of a torch dtype; got 'float31'" in done.stdout + done.stderr


def test_on_a_device_all_but_the_cpu_s_own_entries_are_collected() -> None:
    """Rivals in processes of the CPU's and work of the host are left out; whole tasks and kernels are not."""
    command = [sys.executable, "-m", "afterlogits.benchmarks", "--device", "cuda", "--collect-only", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for entry in ("bench_ner", "bench_detection[", "bench_ctc_clips", "bench_text_generation", "bench_semantic["):
        assert entry in done.stdout, entry
    for entry in ("bench_removed_mode", "bench_run_lengths", "bench_written_task", "bench_select_spans"):
        assert entry not in done.stdout, entry


def test_a_device_s_figures_have_a_machine_kind_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    name = device_name(torch.device("cuda"))
    assert machine(name)["kind"] == "nvidia-h100-80gb-hbm3"
    assert machine(device_name(torch.device("cpu")))["kind"] != machine(name)["kind"]
