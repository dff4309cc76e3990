"""``make gpu-check`` without a GPU: every line runs on the CPU, a step that fails does not stop the rest."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from afterlogits.benchmarks.gpu.check import STEPS, main
from afterlogits.benchmarks.gpu.findings import LOST, Check, findings_of
from afterlogits.benchmarks.gpu.supervisor import begun, supervise


@pytest.fixture
def findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Run the check's dry form, or steps of it; give its rows and what it printed last."""

    def run(*arguments: str) -> tuple[list[dict], str]:
        out = tmp_path / "found.jsonl"
        main(["--dry", "--out", str(out), *arguments])
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        return [row for row in rows if "begin" not in row], capsys.readouterr().out

    return run


def test_every_step_runs_dry(findings) -> None:
    """Verdicts mean nothing on the CPU, but nothing raises, and the same tokens are the same tokens."""
    rows, printed = findings()
    assert [row for row in rows if row["name"] == "failed"] == []
    assert {row["step"] for row in rows} == {name for name, *_ in STEPS}
    assert all(row["met"] for row in rows if row["step"] == "generation" and row["met"] is not None)
    assert all(row["met"] for row in rows if row["step"] == "tokens" and row["met"] is not None)
    assert "tokens/s, beam 4" in printed.replace(" | ", ", ")
    assert printed.strip().splitlines()[-1].endswith("met")


def test_a_failing_step_is_a_row_and_the_rest_run() -> None:
    def broken(check: Check) -> None:
        raise ValueError("no such thing")

    check = Check(torch.device("cpu"), dry=True)
    check.run("broken", broken)
    check.run("next", lambda check: check.equal("one", True))
    failed, took, one, _ = check.findings
    assert failed.found.startswith("ValueError: no such thing (test_gpu.py:")
    assert failed.met is False and took.name == "took" and one.found == "equal"
    assert check.table().splitlines()[-3].startswith("| broken | failed")
    assert check.table().endswith("1 of 2 met")


def test_a_step_that_does_not_fit_is_left_out() -> None:
    check = Check(torch.device("cpu"), dry=True, seconds=0.0)
    check.run("long", lambda check: check.equal("one", True), needs=1.0)
    assert check.findings[0].name == "left out" and check.findings[0].met is False


def test_without_a_device_it_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    assert main(["--out", str(tmp_path / "none")]) == 2
    assert "needs a CUDA device" in capsys.readouterr().out


CHILD = """
import json, os, sys, time
path, first = sys.argv[1], int(sys.argv[2])
for index in range(first, 5):
    with open(path, "a") as file:
        file.write(json.dumps({"begin": index}) + "\\n")
    if index == 1:
        os.abort()
    if index == 3:
        time.sleep(60)
    with open(path, "a") as file:
        file.write(json.dumps({"step": "s", "name": str(index), "found": "ran"}) + "\\n")
"""


def test_a_step_that_ends_its_process_costs_only_itself(tmp_path: Path) -> None:
    """Of five steps the second kills its process and the fourth hangs: the others run."""
    path = tmp_path / "found.jsonl"

    def command(first: int) -> list[str]:
        return [sys.executable, "-c", CHILD, str(path), str(first)]

    ended = supervise(command, [9, 9, 9, 9, 9], path, seconds=60, patience=3)
    assert [index for index, _ in ended] == [1, 3]
    assert ended[0][1] == "the process ended with -6"
    assert "no word for 3 s, killed" in ended[1][1]
    assert [finding.name for finding in findings_of(path)] == ["0", "2", "4"]
    assert begun(path) == 4


def test_a_step_has_its_own_time(tmp_path: Path) -> None:
    """The hanging step is ended by its own limit; what it left of a line is not read."""
    path = tmp_path / "found.jsonl"

    def command(first: int) -> list[str]:
        child = CHILD.replace("os.abort()", "pass").replace(
            "time.sleep(60)", "open(path, 'a').write('{\"ste\\n'); time.sleep(60)"
        )
        return [sys.executable, "-c", child, str(path), str(first)]

    ended = supervise(command, [9, 9, 9, 1, 9], path, seconds=60, patience=30)
    assert [index for index, _ in ended] == [3] and ended[0][1].startswith("ran for ")
    assert [finding.name for finding in findings_of(path)] == ["0", "1", "2", "4"]


def test_a_lost_device_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure the device is asked for a number; one that does not answer is left."""
    codes = list[int]()
    monkeypatch.setattr("os._exit", codes.append)

    def broken(check: Check) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    Check(torch.device("cpu")).run("on the CPU", broken)
    assert codes == []
    check = Check(torch.device("cuda"))
    check.run("on a device", broken)
    assert codes == ([] if torch.cuda.is_available() else [LOST])
    assert check.findings[0].found.startswith("RuntimeError: CUDA error")
