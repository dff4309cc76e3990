"""Speculation on a device: the host waits once a round, whatever drafts and however it is drawn."""

import pytest

from tests.programs.speculation_counts import ROUNDS, round_table

ALONE = ["prompt lookup, repetition penalty", "draft model, stream"]  # of one row, which transformers assists as well


@pytest.mark.parametrize(("rows", "cases"), [(1, ALONE), (3, list(ROUNDS))])
def test_a_round_waits_once(rows: int, cases: list[str]) -> None:
    """One read of what the round brought; late flags alone say when a draft model stops guessing.

    A draft model guesses up to 20 tokens a round here, each of which may leave a flag; prompt lookup leaves none.
    """
    for name, (waits, late, _) in round_table(rows, cases).items():
        assert waits == 1, (name, waits)
        assert late <= (0 if name.startswith("prompt lookup") else 20), (name, late)
