"""Whether top-p and min-p keep a token of one row, from its logit alone: two sums of weights instead of a sort.

Where a nucleus is most of the vocabulary its end lies among thousands of close logits. A token need not know it: it is
kept if the tokens below it weigh more than 1 - top_p together, and the sum of a row and of what is above a value are
one pass each. Near the end rounding decides, and nothing is said.

Source: FlashInfer asks the same of a proposed token (``TopPSamplingFromProbKernel``: the mass above its probability).
"""

import math

import torch
from torch import Tensor

from .decision import float32_border, nucleus_ends
from .error_bounds import EXP_ERROR, MASS_ERROR, NEAR, scaled_error

_LOG2_E = math.log2(math.e)


class Nucleus:
    """What top-p and min-p keep in a row of logits [V], the largest of which is ``top``.

    space: [V] float32, room to work in; the row's weights stay there as long as questions are asked.
    Cost: at most one exponential per logit, and two sums for each question.
    """

    def __init__(self, logits: Tensor, top: float, space: Tensor, temperature: float, top_p: float, min_p: float):
        self.logits, self.top, self.space = logits, top, space
        self.temperature, self.top_p, self.min_p = temperature, top_p, min_p
        self._total, self._outside, self._cleared_below = math.nan, -math.inf, math.inf

    def holds(self, logit: float) -> bool | None:
        """Whether a token with this logit is certainly kept (True), certainly dropped (False), or neither (None)."""
        weight = math.exp((logit - self.top) / self.temperature)
        if logit <= self._outside or weight < self.min_p * (1 - 2 * EXP_ERROR):
            return False
        kept = self._holds(weight)
        if kept is False:
            self._outside = logit
        return None if kept and weight <= self.min_p * (1 + 2 * EXP_ERROR) else kept

    def _holds(self, weight: float) -> bool | None:
        """Whether top-p keeps a token of this weight, exp((logit - top) / T): None where rounding might decide."""
        if self.top_p >= 1.0:
            return True
        divided = scaled_error(self.top / self.temperature)
        # Logits that the temperature makes equal stand in any order: this token comes first or last among them.
        near = NEAR + 1.5 * divided
        larger, total = self._above(weight * (1 - near)), self._total
        border, error = float32_border(self.top_p), 2 * (MASS_ERROR + divided)
        sure, limit = nucleus_ends(border, total, total, error, len(self.logits))
        if larger - weight * (1 - near) < sure:
            return True
        return False if self._above(weight * (1 + near)) >= limit else None

    def _above(self, weight: float) -> float:
        """The sum of the weights larger than this. The others are cleared: asked again for less, it forms them anew."""
        if weight < self._cleared_below:
            inverse = _LOG2_E / self.temperature  # powers of 2 cost torch half of what exp does
            bottom = torch.tensor([-self.top * inverse], dtype=torch.float32, device="cpu")
            torch.add(bottom, self.logits, alpha=inverse, out=self.space)
            self._total = self.space.exp2_().sum().item()
        self._cleared_below = weight
        return torch.threshold_(self.space, weight, 0.0).sum().item()
