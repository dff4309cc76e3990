"""The page on the architecture says what the code says."""

import re
from pathlib import Path

from afterlogits.decoding.sampling.ladder import LADDER
from tests.programs.house import rooms_of

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


MOST_SILENT = 8  # of the private functions of more than ten lines of adapters and benchmarks: none is
MOST_ABOVE = 50  # of the functions of adapters and benchmarks: 44 are


def test_functions_are_short_and_branch_little() -> None:
    """``MOST_BRANCHES`` and ``MOST_LINES`` of the house program, kept everywhere in what takes and returns tensors."""
    found = {name: {text.split(" (")[0] for text in room.branched + room.long} for name, room in rooms_of(ROOT).items()}
    strict = [names for room, names in found.items() if room.startswith(("decoding", "postprocess"))]
    others = [names for room, names in found.items() if not room.startswith(("decoding", "postprocess"))]
    assert not set().union(*strict)
    assert sum(map(len, others)) <= MOST_ABOVE, sorted(set().union(*others))


def test_functions_say_what_they_do() -> None:
    """Every public function of what takes and returns tensors, and every private one of more than ten lines; in the
    other parts all but a few, the code that trained the checkpoints left out."""
    rooms = {name: room for name, room in rooms_of(ROOT).items() if not name.endswith("training")}
    tensors = [room for name, room in rooms.items() if name.startswith(("decoding", "postprocess"))]
    assert not [name for room in tensors for name in room.undocumented]
    assert not [name for room in tensors for name in room.silent]
    silent = [name for room in rooms.values() for name in room.silent]
    assert len(silent) <= MOST_SILENT, silent


# Comments to a hundred lines: five where the numerics are; loops, grammars and options need fewer.
COMMENTED = {"filters": 5, "grammar": 4, "kernels": 5, "processors": 5, "speculation": 4.5, "triton_kernels": 5}
COMMENTED |= {"watermark": 5, "sampling": 2.4, "search": 1.9, "options": 2.2}


def test_numerics_are_commented() -> None:
    rooms = rooms_of(ROOT)
    found = {name: 100 * rooms[f"decoding/{name}"].comments / rooms[f"decoding/{name}"].code for name in COMMENTED}
    assert not {name: share for name, share in found.items() if share < COMMENTED[name]}
    assert COMMENTED.keys() == {name.removeprefix("decoding/") for name in rooms if name.startswith("decoding/")}
