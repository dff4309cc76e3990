"""Whether two token sequences part at a near tie: the logit gap there, measured by a forward of the row alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def first_difference(model: Any, inputs: Mapping[str, Any], row: int, one: list[int], other: list[int]) -> str:
    """Where ``one`` and ``other`` part and how far apart the logits of their tokens are, in words."""
    gap, place = logit_gap(model, inputs, row, one, other)
    return f"they part at token {place}, where the logits differ by {gap:.2e}"


def logit_gap(model: Any, inputs: Mapping[str, Any], row: int, one: list[int], other: list[int]) -> tuple[float, int]:
    """The gap between the logits of the first two tokens that differ, and their place.

    inputs: what ``generate`` was given, of which row ``row`` is meant; sequences with the prompt, as it returns them.
    """
    place = next(index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    before = torch.tensor([one[:place]])
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            prompt = {name: value[row : row + 1] for name, value in inputs.items()}
            logits = model(**prompt, decoder_input_ids=before).logits[0, -1]
        else:
            mask = torch.ones_like(before)
            mask[0, : inputs["input_ids"].shape[1]] = inputs["attention_mask"][row]
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            logits = model(before, attention_mask=mask, position_ids=positions).logits[0, -1]
    return abs(float(logits[one[place]] - logits[other[place]])), place


def assert_equal_up_to_near_ties(
    model: Any, inputs: Mapping[str, Any], actual: torch.Tensor, expected: torch.Tensor, *, copies: int = 1
) -> int:
    """Rows must be equal; one that is not must part where two logits differ by less than 1e-4, which is printed.

    Returns how many rows part. Matrices of other sizes are summed in another order, which decides such ties.
    """
    assert actual.shape == expected.shape
    parted = 0
    for row, (one, other) in enumerate(zip(actual.tolist(), expected.tolist(), strict=True)):
        if one == other:
            continue
        gap, place = logit_gap(model, inputs, row // copies, one, other)
        print(f"row {row} parts at token {place}: the logits differ by {gap:.2e}")
        assert gap < 1e-4, f"row {row}: {one} and {other}"
        parted += 1
    return parted
