"""The page on the architecture says what the code says."""

import re
from pathlib import Path

from afterlogits.decoding.sampling.ladder import LADDER

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_ladder_of_the_page_is_the_sampler_s() -> None:
    table = PAGE.split("<!-- ladder")[1].split("\n\n")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines()[3:]]
    assert rows == [(way.name, way.when) for way in LADDER]


def test_every_room_is_on_the_page() -> None:
    """Folders of the three parts, but for what only holds weights or training code."""
    named = set(re.findall(r"`([a-z_]+)/`", PAGE))
    rooms = {
        folder.name
        for part in ("decoding", "postprocess", "adapters")
        for folder in (ROOT / part).iterdir()
        if (folder / "__init__.py").exists()
    }
    assert rooms <= named, rooms - named


def test_the_glossary_is_short() -> None:
    words = PAGE.split("## Words")[1].strip().splitlines()[2:]
    assert len(words) <= 15
