"""Speculation on a device: the host waits once a round, whatever drafts and however it is drawn."""

import pytest

from tests.builders.versions import V4
from tests.programs.speculation_counts import ROUNDS, round_table, token_table

ALONE = ["prompt lookup, repetition penalty", "draft model, stream"]  # of one row, which transformers assists as well


@pytest.mark.parametrize(("rows", "cases"), [(1, ALONE), (3, list(ROUNDS))])
def test_a_round_waits_once(rows: int, cases: list[str]) -> None:
    """One read of what the round brought; late flags alone say when a draft model stops guessing.

    A draft model guesses up to 20 tokens a round here, each of which may leave a flag; prompt lookup leaves none.
    """
    for name, (waits, late, _) in round_table(rows, cases).items():
        assert waits == 1, (name, waits)
        assert late <= (0 if name.startswith("prompt lookup") else 20), (name, late)


@pytest.mark.skipif(V4, reason="the operations counted are those beside transformers 5")
def test_a_token_takes_no_more_operations_than_in_transformers() -> None:
    """Of one row, which transformers speculates for as well, seeds among the options."""
    cases = ["prompt lookup", "prompt lookup, seeds, top-p 0.9", "draft model, seeds", "first layers, stream"]
    for name, (ours, theirs) in token_table(cases).items():
        assert ours <= theirs, (name, ours, theirs)
