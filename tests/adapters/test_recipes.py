"""The recipes of docs/scale-out.md: one class under ``datasets.map``, Daft and Spark, each where it is installed."""

import re
import shutil
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale-out.md"
RECIPES = dict(re.findall(r"<!-- recipe: (\w+) -->\n```py\n(.*?)```", PAGE.read_text(), re.DOTALL))
TEXTS = ["A wonderful film.", "", "The food was cold and bland."]


@pytest.mark.parametrize("name", ["datasets", "daft", "pyspark"])
@pytest.mark.filterwarnings("ignore")
def test_a_recipe_runs(name, tmp_path, monkeypatch):
    pytest.importorskip(name, reason=f"{name} is not installed: make test-ray")
    if name == "pyspark" and shutil.which("java") is None:
        pytest.skip("Spark needs a Java runtime, and there is none")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)  # Spark's workers take python3 otherwise
    monkeypatch.chdir(tmp_path)
    names = {"TEXTS": TEXTS}
    exec(compile(RECIPES[name], f"{PAGE.name}:{name}", "exec"), names)
    answered = names["answered"]
    assert [row["error"] for row in answered] == [None, "text must not be empty; got ''", None]
    assert "POSITIVE" in str(answered[0]["result"]) and "NEGATIVE" in str(answered[2]["result"])


def test_there_is_a_recipe_for_each():
    assert set(RECIPES) == {"datasets", "daft", "pyspark"}
