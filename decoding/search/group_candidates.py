"""The candidates of a group of beams, whose scores depend on what the groups before it just took.

The penalty lowers the scores of a few tokens. So all groups are searched at once without it, for as many more
candidates as it can lower, and each group's own are put in order among them once the groups before it have chosen.
Where two of a group's best are equal, or rules of the caller's act on the scores, every group's scores are formed.
Source of the penalty: diverse beam search, Vijayakumar et al. 2016, arXiv:1610.02424.
Axes: B items, G groups, S beams of a group, K = G * S, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .beam_candidates import Candidates, top_candidates
from .score_rules import ScoreRule

__all__ = ["Few", "Whole", "apply_diversity_penalty"]


def apply_diversity_penalty(scores: Tensor, taken: Tensor, diversity_penalty: float) -> Tensor:
    """Subtract ``diversity_penalty`` from a token's score once for every time an earlier group took it at this step.

    scores: [B, S, V]. taken: [B, N] token ids, N may be 0. Returns [B, S, V].
    Cost: one copy of the scores.
    >>> import torch
    >>> apply_diversity_penalty(torch.zeros(1, 1, 3), torch.tensor([[2, 2]]), 0.5)
    tensor([[[ 0.,  0., -1.]]])
    """
    if taken.shape[1] == 0:
        return scores
    counts = (taken[:, :, None] == taken[:, None, :]).sum(dim=2)
    places = taken[:, None, :].expand(-1, scores.shape[1], -1)
    return scores.scatter(2, places, scores.gather(2, places) - (diversity_penalty * counts)[:, None, :])


@dataclass
class Few:
    """Each group's candidates among the best of all groups without the penalty; ``tied`` where they do not decide.

    log_probs: [B * K, V]. beam_scores: [B, K]. count: candidates of a group.
    """

    log_probs: Tensor
    beam_scores: Tensor
    diversity_penalty: float
    num_groups: int
    count: int
    tied: list[Tensor] = field(default_factory=list)  # per group [B]

    def __post_init__(self) -> None:
        batch_size, num_beams = self.beam_scores.shape
        group_size, vocab_size = num_beams // self.num_groups, self.log_probs.shape[1]
        # One more than asked for shows a tie at the end. A token lowers the score of each of the group's beams.
        lowered = (num_beams - group_size) * group_size if self.diversity_penalty else 0
        listed = self.count + 1 + lowered
        self.enough = listed <= group_size * vocab_size
        if not self.enough:
            return
        scores = self.beam_scores.view(-1, group_size)
        _, parent, token = top_candidates(self.log_probs, scores, listed)
        values = self.log_probs.view(len(scores), -1).gather(1, parent * vocab_size + token)
        shape = (batch_size, self.num_groups, listed)
        self._values, self._parent, self._token = values.view(shape), parent.view(shape), token.view(shape)
        self._scores = scores.gather(1, parent).view(shape)

    def of_group(self, group: int, taken: Tensor) -> Candidates:
        """Accumulated score, parent beam and token of the group's best continuations, each [B, C], best first."""
        values, parent, token = self._values[:, group], self._parent[:, group], self._token[:, group]
        if self.diversity_penalty and taken.shape[1]:
            values = values - self.diversity_penalty * (token[:, :, None] == taken[:, None, :]).sum(dim=2)
        best, where = (values + self._scores[:, group]).topk(self.count + 1, dim=1)
        self.tied.append((best[:, 1:] == best[:, :-1]).any(dim=1) | best[:, 0].isnan())
        where = where[:, : self.count]
        return best[:, : self.count], parent.gather(1, where), token.gather(1, where)


@dataclass
class Whole:
    """Each group's candidates from its scores of all tokens, through the caller's rules.

    log_probs: [B * K, V]. ids: [B * K, T], what the rules see. processed: [B, G, S, V], filled with the scores.
    """

    log_probs: Tensor
    beam_scores: Tensor
    diversity_penalty: float
    num_groups: int
    count: int
    ids: Tensor
    before: Sequence[ScoreRule] = ()
    after: Sequence[ScoreRule] = ()
    processed: Tensor | None = None

    def of_group(self, group: int, taken: Tensor) -> Candidates:
        """The same as ``Few.of_group``."""
        batch_size, num_beams = self.beam_scores.shape
        size = num_beams // self.num_groups
        scores = self._rows(self.log_probs, group)
        ids = self._rows(self.ids, group) if self.before or self.after else self.ids
        for rule in self.before:
            scores = rule(ids, scores)
        if self.diversity_penalty:
            wide = scores.view(batch_size, size, -1)
            scores = apply_diversity_penalty(wide, taken, self.diversity_penalty).flatten(0, 1)
        for rule in self.after:
            scores = rule(ids, scores)
        if self.processed is not None:
            self.processed[:, group] = scores.view(batch_size, size, -1)
        beams = slice(group * size, (group + 1) * size)
        return top_candidates(scores, self.beam_scores[:, beams].contiguous(), self.count)

    def _rows(self, values: Tensor, group: int) -> Tensor:
        """One group's rows of every item: [B * K, X] -> [B * S, X]."""
        batch_size, num_beams = self.beam_scores.shape
        return values.view(batch_size, self.num_groups, num_beams // self.num_groups, -1)[:, group].flatten(0, 1)
