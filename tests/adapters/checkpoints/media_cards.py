"""The figures that the cards of the checkpoints state, and how near a smaller sample has to come."""

import re

import pytest

from afterlogits.adapters.checkpoints import path


def card(folder: str) -> dict[str, float]:
    """The table of held-out figures in a card."""
    rows = re.findall(r"^\| (?!measure|---)(.+?) \| ([\d.]+) \|$", (path(folder) / "README.md").read_text(), re.M)
    return {measure: float(value) for measure, value in rows}


def close_to(stated: dict[str, float], found: dict[str, float]) -> None:
    """Shares within 0.06 of the card; within 0.2 of the hardest label and of one kind of questions and captions, which
    have few items."""
    assert set(found) == set(stated)
    for measure, value in found.items():
        few = "hardest" in measure or measure.startswith(("answers right, ", "captions right, "))
        assert value == pytest.approx(stated[measure], abs=0.2 if few else 0.06), measure
