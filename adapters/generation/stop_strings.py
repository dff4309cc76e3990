"""transformers' stop strings for one row, asked only where the newest token can end one of them."""

from torch import Tensor
from transformers.generation.stopping_criteria import StopStringCriteria

__all__ = ["RowStopStrings"]


class RowStopStrings:
    """A criterion over the ids [1, T] of one row with the verdict of ``criterion``.

    A match must overlap the newest token, so that most tokens cannot end a string: which can, its table tells once.
    """

    def __init__(self, criterion: StopStringCriteria) -> None:
        self.criterion = criterion
        table = criterion.embedding_vec
        ends = table[:, criterion.max_valid_positions * criterion.num_stop_strings : -1]
        self._can_end = (ends > 0).any(dim=1).cpu().numpy()

    def __call__(self, ids: Tensor, scores: object) -> bool:
        newest = min(int(ids[0, -1]), len(self._can_end) - 1)
        return bool(self._can_end[newest]) and bool(self.criterion(ids, None).any())
