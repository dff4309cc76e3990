"""The promised versions say the same wherever they stand: pyproject.toml, the README, the constraint files of both
ends, and the page of what was run at them."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.clients.matrix import write_page
from tests.programs.version_table import COLUMNS, HEAD, folders, pairs, row, write, write_pairs

ROOT = Path(__file__).resolve().parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text()
# Ray Data has an environment of its own, of one version (constraints-ray.txt); these are no part of the quick suite.
ELSEWHERE = {"ray", "setuptools", "pdoc", "ruff", "mypy", "coverage"}


def least() -> dict[str, str]:
    """The lower end of every requirement of pyproject.toml."""
    return dict(re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)"', PROJECT))


def pinned(end: str) -> dict[str, str]:
    """The versions of a constraint file."""
    lines = (ROOT / f"constraints-{end}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_the_oldest_end_is_the_lower_end_of_every_requirement():
    """ "2.4" is run as 2.4.0; a requirement that allows less than what is run promises what nobody has seen."""
    names = {name.lower(): version for name, version in least().items() if name not in ELSEWHERE}
    run = pinned("oldest")
    assert {name: version for name, version in names.items() if not f"{run.get(name)}.".startswith(f"{version}.")} == {}


def test_the_newest_end_has_all_of_it():
    """But gradio, which does not take the newest Pillow."""
    assert {name.lower() for name in least() if name not in ELSEWHERE} - pinned("newest").keys() == {"gradio"}


def test_the_readme_promises_what_pyproject_requires():
    promised = " ".join((ROOT / "README.md").read_text().split())
    assert "Python 3.10+, torch 2.4+, transformers 4.57 and 5.x" in promised
    assert (least()["torch"], least()["transformers"]) == ("2.4", "4.57")
    assert 'requires-python = ">=3.10"' in PROJECT
    assert "Python :: 3.10" in PROJECT and "Python :: 3.13" in PROJECT


def test_the_page_names_the_versions_of_the_constraint_files():
    """What was run is what the files pin: no row of versions that are no longer the ends."""
    lines = [line for line in (ROOT / "docs" / "versions.md").read_text().splitlines() if line.startswith("| ")]
    head = [cell.strip() for cell in lines[0].strip("|").split("|")]
    for line in lines[1:]:
        cells = dict(zip(head, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        ends = pinned(cells["end"].split(",")[0])
        assert {name: cells[name] for name in ("torch", "transformers", "numpy")} == {
            name: ends[name] for name in ("torch", "transformers", "numpy")
        }


def test_a_run_with_options_of_pytest_s_alone_is_a_whole_one() -> None:
    assert folders(["-p", "no:cacheprovider", "-k", "a or b", "--tb=short"]) == ""
    assert folders(["-x", __file__, f"{__file__}::test"]) == f"{__file__} {__file__}::test"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "versions.md"


def test_a_whole_run_takes_the_place_of_the_parts_and_leaves_the_other_end(page: Path) -> None:
    """A part and the newest end are there; the oldest end is run whole, then a part of it again."""
    write(page, row("newest", "", Counter(passed=7, skipped=1), 3.0), Counter(["not there"]))
    write(page, row("oldest", "tests/decoding", Counter(passed=1), 2.0), Counter())
    assert "| oldest, a part |" in page.read_text()
    write(page, row("oldest", "", Counter(passed=5, skipped=2, failed=1), 9.4), Counter(["no ffmpeg", "no ffmpeg"]))
    text = page.read_text()
    assert text.startswith(HEAD)
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")] == [
        "| end",
        "| oldest",
        "| newest",
    ]
    assert next(line for line in text.splitlines() if line.startswith("| oldest")).endswith("| 5 | 2 | 1 | 9 |")
    assert "## Skipped at the newest end\n\n- 1: not there\n" in text
    assert text.endswith("## Skipped at the oldest end\n\n- 2: no ffmpeg\n")
    write(page, row("oldest", "tests/decoding", Counter(passed=1), 2.0), Counter())
    assert "- 2: no ffmpeg" in page.read_text() and page.read_text().count("| oldest") == 2
    assert all(line.count(" | ") == len(COLUMNS) - 1 for line in page.read_text().splitlines() if line.startswith("| "))


def test_the_page_of_clients_says_which_versions_met_and_when() -> None:
    """As docs/versions.md has them, though other runs have written the page since."""
    docs = ROOT / "docs"
    assert (docs / "clients.md").read_text().endswith(f"\n\n{pairs(docs / 'versions.md')}")


def test_the_pairs_stand_once_behind_the_clients(page: Path, tmp_path: Path) -> None:
    """Written twice, and kept where a run of the clients writes its own section anew."""
    clients = tmp_path / "clients.md"
    clients.write_text("# Clients\n\nTold.\n\n## transformers 4.57.6\n\n| a |\n")
    write(page, row("oldest", "", Counter(passed=5, skipped=2), 9.4), Counter())
    write_pairs(page, clients)
    write(page, row("newest", "", Counter(passed=7), 3.0), Counter())
    write_pairs(page, clients)
    text = clients.read_text()
    assert text.startswith("# Clients\n\nTold.\n\n## transformers 4.57.6\n\n| a |\n\n## The versions that met\n\n")
    assert [line.rsplit(" | ", 3)[1:] for line in text.splitlines()[-2:]] == [["5", "2", "0 |"], ["7", "0", "0 |"]]
    write_page(str(clients), complete=True)
    assert clients.read_text().endswith(f"\n\n{pairs(page)}")
    assert clients.read_text().count("## The versions that met") == 1
