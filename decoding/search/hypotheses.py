"""The n-best list of the older beam searches: finished hypotheses in the order they were found, one list per group.

Group and constrained beam search score a hypothesis in double precision, as Python does, drop the worst when the list
is full and stop by comparing with what is still attainable. The lists are short and change only when a beam ends, so
they are plain Python; a step sends its candidates over in one copy.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .history import History
from .progress import Recorder
from .stopping import Stopping

__all__ = ["BeamOutput", "Hypothesis", "NBest", "all_stop", "write_out"]


@dataclass(frozen=True)
class Hypothesis:
    """A finished sequence: its score, its token ids [T] without the EOS, and the beam each token came from."""

    score: float
    token_ids: Tensor
    beam_indices: tuple[int, ...] | None


@dataclass(frozen=True)
class BeamOutput:
    """Sequences [B * R, T], best first for each item; scores [B * R] float32; beam_indices [B * R, T] or None."""

    token_ids: Tensor
    scores: Tensor
    beam_indices: Tensor | None


@dataclass
class NBest:
    """The best ``size`` hypotheses of one group.

    >>> best = NBest(size=1, length_penalty=1.0)
    >>> best.add(torch.tensor([7]), -4.0, length=2); best.add(torch.tensor([8]), -1.0, length=1)
    >>> best.found[0].token_ids, best.is_done(-0.5, length=1), best.is_done(-2.0, length=1)
    (tensor([8]), False, True)
    """

    size: int
    length_penalty: float
    early_stopping: bool | str = False
    max_new_tokens: int | None = None
    found: list[Hypothesis] = field(default_factory=list)
    worst: float = 1e9

    def add(
        self, token_ids: Tensor, logprob: float, *, length: int, beam_indices: tuple[int, ...] | None = None
    ) -> None:
        """Take a hypothesis of ``length`` new tokens if it is among the best; ``logprob`` is the sum over them."""
        score = logprob / length**self.length_penalty
        if len(self.found) >= self.size and not score > self.worst:
            return
        self.found.append(Hypothesis(score, token_ids, beam_indices))
        if len(self.found) <= self.size:
            self.worst = min(score, self.worst)
            return
        order = sorted(range(len(self.found)), key=lambda index: (self.found[index].score, index))
        self.worst = self.found[order[1]].score
        del self.found[order[0]]

    def is_done(self, best_logprob: float, *, length: int) -> bool:
        """Whether no running beam can still improve the list; ``length`` new tokens have been generated.

        ``early_stopping`` True asks nothing more than a full list. False compares with the best running beam at its
        present length, anything else ("never") at ``max_new_tokens`` if longer hypotheses are favoured.
        """
        if len(self.found) < self.size:
            return False
        if self.early_stopping is True:
            return True
        if self.early_stopping is not False and self.length_penalty > 0.0 and self.max_new_tokens is not None:
            length = self.max_new_tokens
        return bool(self.worst >= best_logprob / length**self.length_penalty)


def write_out(
    groups: list[list[Hypothesis]],
    *,
    num_return_sequences: int,
    eos_token_id: Tensor | None,
    pad_token_id: int | None,
    max_length: int | None,
    device: torch.device,
) -> BeamOutput:
    """The best hypotheses of every item as tensors: each followed by one EOS where there is room, then by padding.

    groups: per item its hypotheses in the order found, all groups one after another.
    """
    chosen = [hypothesis for found in groups for hypothesis in _best(found, num_return_sequences)]
    lengths = [len(hypothesis.token_ids) for hypothesis in chosen]
    width = max(lengths) + (eos_token_id is not None)
    width = width if max_length is None else min(width, max_length)
    if min(lengths) != max(lengths) and pad_token_id is None:
        raise ValueError("pad_token_id must be given when hypotheses differ in length; got None")
    token_ids = torch.full((len(chosen), width), pad_token_id or 0, dtype=torch.long, device=device)
    for row, hypothesis in enumerate(chosen):
        end = lengths[row]
        token_ids[row, :end] = hypothesis.token_ids
        if eos_token_id is not None and end < width:
            token_ids[row, end] = eos_token_id[0]
    scores = torch.tensor([hypothesis.score for hypothesis in chosen], dtype=torch.float32, device=device)
    return BeamOutput(token_ids, scores, _traces(chosen, width, device))


def all_stop(
    stopping: Stopping, token_ids: Tensor, tokens: list[int], history: History, recorder: Recorder | None
) -> bool:
    """Whether every row ends with these tokens [B * K], which are ``tokens`` on the host."""
    if not stopping.criteria and stopping.row_max_length is None and stopping.row_eos_token_id is None:
        return stopping.everywhere(history.length) or stopping.all_end(tokens)
    return bool(
        stopping.finished(
            token_ids, history.length, ids=lambda: history.ids.contiguous(), scores=getattr(recorder, "scores", None)
        ).all()
    )


def _best(found: list[Hypothesis], count: int) -> list[Hypothesis]:
    """The ``count`` best; of equal scores the later found."""
    ranked = sorted(found, key=lambda hypothesis: hypothesis.score)[::-1]
    if len(ranked) < count:
        raise ValueError(
            f"num_return_sequences must be at most the number of hypotheses found; got {count} for {len(ranked)}"
        )
    return ranked[:count]


def _traces(chosen: list[Hypothesis], width: int, device: torch.device) -> Tensor | None:
    """Beam indices [N, width] filled with -1, or None where the hypotheses carry none."""
    if chosen[0].beam_indices is None:
        return None
    beam_indices = torch.full((len(chosen), width), -1, dtype=torch.long, device=device)
    for row, hypothesis in enumerate(chosen):
        if hypothesis.beam_indices is not None:
            beam_indices[row, : len(hypothesis.beam_indices)] = torch.tensor(hypothesis.beam_indices, device="cpu")
    return beam_indices
