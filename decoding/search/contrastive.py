"""Contrastive search: of the most probable tokens, the one whose hidden state is least like those before it.

Source: Su et al. 2022, arXiv:2202.06417. Tokens are those of transformers 4.55.4. Axes: B rows, K candidates per row,
S tokens so far, H hidden size.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .decode_loop import process
from .history import History
from .progress import Progress, Recorder
from .score_rules import RuleProcess, ScoreRule
from .step_model import HiddenStepModel, expansion
from .stopping import Stopping

__all__ = ["contrastive_search", "degeneration_penalty"]


def degeneration_penalty(context: Tensor, candidates: Tensor, mask: Tensor) -> Tensor:
    """The greatest cosine between each candidate's hidden state and those of its row so far.

    context: [B, S, H], of length 1 each. candidates: [B, K, H], of any length. mask: [B, S], 0 where a position is
    padding. Returns [B, K].
    >>> degeneration_penalty(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 2.0], [3.0, 0.0]]]), torch.ones(1, 1))
    tensor([[0., 1.]])
    """
    cosines = torch.matmul(_unit(candidates), context.transpose(1, 2))  # [B, K, S]
    hidden_away = (1 - mask.to(cosines.dtype)) * torch.finfo(cosines.dtype).min
    return (cosines + hidden_away[:, None, :]).amax(dim=-1)


def contrastive_search(
    model: HiddenStepModel,
    history: History,
    stopping: Stopping,
    *,
    penalty_alpha: float,
    top_k: int,
    prompt_mask: Tensor | None = None,
    rules: Sequence[ScoreRule] = (),
    pad_token_id: Tensor | None = None,
    recorder: Recorder | None = None,
    on_tokens: Callable[[Tensor], None] | None = None,
    late_stop: bool = False,
) -> Tensor:
    """Append tokens to ``history`` until every row is finished; return its ids, [B, T].

    Each token is the one of the ``top_k`` most probable that maximises ``(1 - penalty_alpha) * probability -
    penalty_alpha * degeneration_penalty``. prompt_mask: [B, P], 0 where the prompt is padding. rules: what the logits
    pass through first, given the token ids. pad_token_id: what finished rows are given, None to let them go on.
    Every step runs the model on B * K rows, one token ahead of the sequence; the row kept is chosen afterwards.
    late_stop: on CUDA, whether any row goes on is heard while the next candidates run, which are then dropped: not for
    a recorder, which would see them, nor for rules that count their calls.
    Reads one device value a step, late or not: whether any row is still unfinished.
    """
    if not 0.0 <= penalty_alpha <= 1.0:
        raise ValueError(f"penalty_alpha must be in [0, 1]; got {penalty_alpha}")
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1; got {top_k}")
    late = late_stop and recorder is None
    progress = Progress(history, stopping, pad_token_id=pad_token_id, recorder=recorder, on_tokens=on_tokens, late=late)
    processors = [RuleProcess(rule, history) for rule in rules]
    logits = model.prefill()
    if top_k > logits.shape[1]:
        raise ValueError(f"top_k must be at most the {logits.shape[1]} tokens of the vocabulary; got {top_k}")
    context = _Context(_unit(model.last_hidden()), prompt_mask)
    while not progress.over:
        probs, candidates = torch.softmax(process(logits, processors, recorder), dim=-1).topk(top_k, dim=-1)
        logits, token_ids = _try_out(model, context, probs, candidates, penalty_alpha)
        progress.hear()
        if progress.over:
            getattr(model, "take_back", lambda: None)()
            break
        progress.append(token_ids)
    return history.ids


def _try_out(
    model: HiddenStepModel, context: "_Context", probs: Tensor, candidates: Tensor, penalty_alpha: float
) -> tuple[Tensor, Tensor]:
    """Run the candidates [B, K] and keep the best of each row: the logits after it [B, V], and the tokens [B]."""
    batch_size, top_k = candidates.shape
    rows = torch.arange(batch_size, device=candidates.device)
    model.select_rows(expansion(batch_size, top_k, candidates.device))
    logits = model.step(candidates.flatten())
    hidden = model.last_hidden().view(batch_size, top_k, -1)
    penalty = degeneration_penalty(context.hidden, hidden, context.mask)
    chosen = ((1.0 - penalty_alpha) * probs - penalty_alpha * penalty).argmax(dim=-1)
    kept = rows * top_k + chosen
    model.select_rows(kept)
    context.append(_unit(hidden[rows, chosen]))
    return logits[kept], candidates[rows, chosen]


class _Context:
    """Unit hidden states [B, S, H] and their mask [B, S], in buffers that grow by doubling."""

    def __init__(self, hidden: Tensor, mask: Tensor | None):
        batch_size, self.length, size = hidden.shape
        room = 2 * self.length + 64
        self._hidden = hidden.new_zeros((batch_size, room, size))
        self._mask = torch.ones((batch_size, room), dtype=torch.long, device=hidden.device)
        self._hidden[:, : self.length] = hidden
        if mask is not None:
            self._mask[:, : self.length] = mask

    @property
    def hidden(self) -> Tensor:
        return self._hidden[:, : self.length]

    @property
    def mask(self) -> Tensor:
        return self._mask[:, : self.length]

    def append(self, hidden: Tensor) -> None:
        if self.length == self._hidden.shape[1]:
            self._hidden = torch.cat((self._hidden, torch.zeros_like(self._hidden)), dim=1)
            self._mask = torch.cat((self._mask, torch.ones_like(self._mask)), dim=1)
        self._hidden[:, self.length] = hidden
        self.length += 1


def _unit(hidden: Tensor) -> Tensor:
    norm: Tensor = hidden.norm(dim=-1, keepdim=True)
    return hidden / norm
