"""Drawn combinations of generate's arguments: a bounded part of ``python -m tests.programs.option_parity``."""

from typing import Any

import pytest
import torch

from tests.builders.architectures import PAD
from tests.programs import option_parity

TOP_H_IN_BEAMS = 176  # top-h has no smallest number of tokens in beam search; the other filters have
SHORTER_THAN_THE_NGRAM = 10386  # an encoder's text that holds no n-gram at all


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_twenty_drawn_calls(first: int) -> None:
    """The same tokens, random state, scores and errors as transformers, for whatever combination."""
    found = [option_parity.compare(seed)[1] for seed in range(first, first + 20)]
    assert [text for text in found if text] == []


@pytest.mark.parametrize("seed", [TOP_H_IN_BEAMS, SHORTER_THAN_THE_NGRAM])
def test_calls_that_once_differed(seed: int) -> None:
    """Found by the long run."""
    assert option_parity.compare(seed)[1] == ""


def test_a_difference_is_found_and_cut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another answer is noticed, with the one argument that made it."""

    def deaf(model: Any, **options: Any) -> Any:
        return model.generate(**{**options, "repetition_penalty": 1.0})

    monkeypatch.setattr(option_parity, "generate", deaf)
    options = {"max_new_tokens": 6, "pad_token_id": PAD, "repetition_penalty": 3.0, "min_length": 2}
    ids = torch.tensor([[5, 6, 7]])
    assert option_parity.difference("llama", ids, options)
    assert set(option_parity.fewest("llama", ids, options)) == {"repetition_penalty"}
