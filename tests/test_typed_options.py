"""What editors are told of options is what the code takes, and a wrong name is found by a type checker."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.versions import V4
from tests.programs.typed_options import drifted

ROOT = Path(__file__).resolve().parent.parent
CALLS = """
import torch
from afterlogits import generate, pipeline, sample

logits = torch.zeros(2, 10)
sample(logits, top_p=0.9, seeds=[1, 2])
sample(logits, top_q=0.9)
generate(object(), max_new_tokens=5, temperature=[0.5, 1.0])
pipeline("ner", aggregation_strategy="simple")
"""


@pytest.mark.skipif(V4, reason="the typed options are those of transformers 5")
def test_the_typed_options_are_those_of_the_code() -> None:
    """``python -m tests.programs.typed_options`` writes them anew."""
    assert drifted() == []


@pytest.mark.slow
def test_a_type_checker_finds_a_wrong_name(tmp_path: Path) -> None:
    """The one wrong name; every other call passes."""
    (tmp_path / "calls.py").write_text(CALLS)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
    found = subprocess.run([*command, str(tmp_path / "calls.py")], cwd=ROOT, capture_output=True, text=True)
    errors = [line for line in found.stdout.splitlines() if "calls.py" in line and " error: " in line]
    assert {line.split("calls.py:")[1].split(":")[0] for line in errors} == {"7"}, found.stdout
    assert "top_q" in errors[0]
